# SPDX-License-Identifier: Apache-2.0
"""The faults: what is replaced by what, and which tests are likely to see it.

A fault is found by its text, in whatever file that stands, so moving code leaves it alone. Each is one that a
person could make: a comparison that is off by one, a mask that is forgotten, a check that is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FOLDERS = ("dialect", "passes", "runtime", "python")
SUFFIXES = (".cpp", ".h", ".py")
"""Where faults are made, and in what files."""


@dataclass(frozen=True)
class Fault:
    """One change.

    Attributes:
      name: by which it is chosen.
      area: what it is in.
      old: text that stands once in the sources of its language; runs of spaces and line ends count as one.
      new: what stands there instead.
      tests: files of tests, or of lit (by their names), that should see it, the likeliest first.
      cpp: whether it is in C++ (then Lumen has to be built).
    """

    name: str
    area: str
    old: str
    new: str
    tests: tuple[str, ...]
    cpp: bool = False

    def places(self, suffix: str, text: str) -> list[re.Match]:
        """Where the fault's text stands in a source, whose file has this suffix."""
        if suffix not in ((".cpp", ".h") if self.cpp else (".py",)):
            return []
        return list(re.finditer(r"\s+".join(map(re.escape, self.old.split())), text))


def _cpp(name: str, area: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(name, area, old, new, tests, cpp=True)


def _py(name: str, area: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(name, area, old, new, tests)


FAULTS = (
    # --- formats --------------------------------------------------------------------------------------------
    _py(
        "high-scale-bits",
        "unpacking",
        "(low & 15) | ((scale >> 2) & 0x30)",
        "(low & 15) | ((scale >> 2) & 0x10)",
        "test_ggml.py",
    ),
    _py(
        "third-bit",
        "unpacking",
        "unpack(b.hmask, 1) << 2",
        "unpack(b.hmask, 1) << 1",
        "test_ggml.py",
        "test_registry.py",
    ),
    _py(
        "codes-truncated",
        "rounding",
        "out = np.rint(values, out=out)",
        "out = np.trunc(values, out=out)",
        "test_quantize.py",
        "test_quantization.py",
    ),
    _py(
        "nearest-of-a-table",
        "rounding",
        "np.float32(2) * (self.high - self.low)",
        "np.float32(1) * (self.high - self.low)",
        "test_quantize.py",
    ),
    # --- models ---------------------------------------------------------------------------------------------
    _py(
        "yarn-ends",
        "rotary embeddings",
        "plain / self.factor * (1 - kept) + plain * kept",
        "plain / self.factor * kept + plain * (1 - kept)",
        "test_families.py",
        "test_model_config.py",
    ),
    _py(
        "long-rope",
        "rotary embeddings",
        "long = context > self.long.original_context",
        "long = context >= self.long.original_context",
        "test_model_config.py",
        "test_families.py",
        "test_folder.py",
    ),
    # --- generation -----------------------------------------------------------------------------------------
    _cpp(
        "penalty",
        "sampling",
        "value > 0 ? value / repeat : value * repeat",
        "value > 0 ? value / repeat : value / repeat",
        "test_sampling.py",
    ),
    _cpp(
        "nucleus",
        "sampling",
        "if (sum >= target) return i + 1;",
        "if (sum >= target) return i;",
        "test_sampling.py",
    ),
    _cpp(
        "typical-surprise",
        "sampling",
        "scores[i] = std::fabs(double(differences[i]) - expected);",
        "scores[i] = std::fabs(double(differences[i]));",
        "test_sampling.py",
    ),
    _cpp(
        "exact-sums",
        "sampling",
        "power = power < scale.magic ? rounded : power;",
        "power = power < scale.magic ? power : power;",
        "test_sampling.py",
    ),
    _cpp(
        "random-numbers",
        "sampling",
        "getRandom(seed, number)",
        "getRandom(seed, number + 1)",
        "test_sampling.py",
    ),
    _py(
        "equal-logits",
        "sampling",
        'order = np.argsort(-logits[tokens], kind="stable")',
        'order = np.argsort(logits[tokens], kind="stable")[::-1]',
        "test_sampling.py",
    ),
    _py(
        "overlapping-stops",
        "stop strings",
        "min(len(text), len(stop) - 1), 0, -1)",
        "min(len(text), len(stop) - 1), 1, -1)",
        "test_generation.py",
        "test_scripted.py",
    ),
    _py(
        "two-questions",
        "chats",
        "if self.messages and not self.answered: self.messages.pop()",
        "if not self.messages: self.messages.pop()",
        "test_conversation.py",
        "test_session.py",
    ),
    _py(
        "thought-mark-cut",
        "chats",
        "end = len(self._held) - self._beginning_of_a_mark()",
        "end = len(self._held)",
        "test_display.py",
    ),
    _py(
        "files-of-others-replaced",
        "chats",
        "if os.path.exists(path) and not _is_ours(path):",
        "if not os.path.exists(path) and _is_ours(path):",
        "test_saved.py",
    ),
    _py(
        "logprobs-behind-the-ban",
        "log probabilities",
        "said = logits if self._recorder is None or self._banned is None else logits.copy()",
        "said = logits",
        "test_generation.py",
    ),
    _py(
        "softmax-without-sum",
        "log probabilities",
        "(float(logits[token]) - softmax[0]) - softmax[1]",
        "float(logits[token]) - softmax[0]",
        "test_generation.py",
    ),
    _py(
        "end-before-stop-token",
        "stop tokens",
        "if token not in self._ends and token not in self._stops:",
        "if token not in self._ends and (token not in self._stops or self._banned is not None):",
        "test_generation.py",
    ),
    # --- the command line -----------------------------------------------------------------------------------
    _py(
        "broken-strings",
        "printed IR",
        """r'"(?:[^"\\\\]|\\\\.)*"|->""",
        """r'->""",
        "test_ir_text.py",
    ),
    _py(
        "wide-characters",
        "tables",
        """2 if unicodedata.east_asian_width(c) in "WF" else 1""",
        "1",
        "test_terminals.py",
    ),
    # --- files ----------------------------------------------------------------------------------------------
    _py(
        "overlapping-tensors",
        "reader",
        "info.offset < previous.offset + previous.nbytes",
        "info.offset < previous.offset",
        "test_gguf_reader.py",
    ),
    _py(
        "data-section",
        "reader",
        "data_offset = -(-self.position // alignment) * alignment",
        "data_offset = self.position // alignment * alignment",
        "test_gguf_reader.py",
        "test_writer.py",
    ),
    _py(
        "unread-checksum",
        "cache",
        "if digest != found.value():",
        "if digest == b'':",
        "test_cache.py",
        "test_bad_input.py",
    ),
    _py(
        "kernel-by-name",
        "cache",
        "json.dumps((kernel.text, self._recipe))",
        "json.dumps((kernel.name, self._recipe))",
        "test_objects.py",
    ),
    _py("kernel-of-any-level", "cache", "options.opt_level, identity)", "identity)", "test_objects.py"),
    _cpp(
        "loop-of-one-token",
        "products",
        "if (loop.getNumResults() < 2 ||",
        "if (loop.getNumResults() < 1 ||",
        "share-loops.mlir",
    ),
    _cpp(
        "first-sum",
        "products",
        "kOneAndAHalf = 0x1.8p23f;",
        "kOneAndAHalf = 0x1p23f;",
        "test_matrix_kernels.py",
    ),
    _cpp(
        "upper-bits-of-sums",
        "products",
        "int64_t kSumBits = 7;",
        "int64_t kSumBits = 8;",
        "synthesize-product-matrix.mlir",
        "test_matrix_kernels.py",
    ),
    _cpp(
        "negative-code-scales",
        "products",
        "ofBlock(source.getScale(), factors.codeSign < 0)",
        "ofBlock(source.getScale(), false)",
        "synthesize-product-matrix.mlir",
        "test_matrix_kernels.py",
    ),
    _cpp(
        "kernel-with-globals",
        "products",
        "return global.getConstant() && !global.isExternal();",
        "return !global.isExternal();",
        "split-kernels.mlir",
    ),
    _py("foreign-key", "cache", "if name != _name_digest(kind, key):", "if not name:", "test_cache.py"),
    _py(
        "target-in-key",
        "cache",
        "parts = (text, target.attribute(), asdict(options)",
        "parts = (text, asdict(options)",
        "test_engine.py",
        "test_session.py",
        "test_compiler.py",
    ),
    _py(
        "lost-rights", "atomic files", "stat.S_IMODE(before.st_mode) & 0o777", "0o777", "test_atomic_file.py"
    ),
    # --- texts ----------------------------------------------------------------------------------------------
    _py(
        "merge-order",
        "tokenizer",
        "(found[0], place, left, right, found[1])",
        "(found[0], -place, left, right, found[1])",
        "test_tokenizer.py",
        "test_hf_tokenizer.py",
    ),
    _py(
        "stale-merge",
        "tokenizer",
        "if symbols[place] != left or other == count or symbols[other] != right:",
        "if symbols[place] != left or other == count:",
        "test_tokenizer.py",
        "test_hf_tokenizer.py",
    ),
    _py(
        "space-prefix",
        "tokenizer",
        'prefix = prefix and begins and text[0] not in (" ", SPACE)',
        "prefix = prefix and begins",
        "test_sentence_piece.py",
        "test_tokenizer.py",
    ),
    _py(
        "unlimited-templates",
        "templates",
        "return self.made(super().call_binop(context, operator, left, right))",
        "return super().call_binop(context, operator, left, right)",
        "test_template_limits.py",
    ),
    # --- the hub --------------------------------------------------------------------------------------------
    _py(
        "unchecked-download",
        "hub",
        "return digest.hexdigest() == file.checksum",
        "return True",
        "test_download.py",
    ),
    _py(
        "path-out-of-the-cache",
        "hub",
        'not {".", ".."} & set(parts)',
        "bool(parts)",
        "test_names.py",
        "test_download.py",
    ),
    _py(
        "shared-blob-removed",
        "hub",
        "for blob in blobs - needed:",
        "for blob in blobs:",
        "test_hub_commands.py",
    ),
    # --- running --------------------------------------------------------------------------------------------
    _py(
        "shared-memory",
        "arguments",
        "if begin < end and (writes or written):",
        "if begin < end and writes and written:",
        "test_engine.py",
    ),
    _py(
        "control-characters",
        "command line",
        'return _CONTROL.sub(lambda found: f"\\\\x{ord(found[0]):02x}", text)',
        "return text",
        "test_streams.py",
    ),
    _py(
        "arrays-sent-once",
        "runners",
        "copy.holds = wanted if buffer.kept else None",
        "copy.holds = wanted",
        "test_runner.py",
    ),
    _py(
        "kept-arrays-come-back",
        "runners",
        "if buffer.written and not buffer.kept:",
        "if buffer.written:",
        "test_runner.py",
    ),
    _py(
        "other-alignment",
        "runners",
        "(buffer.size, address % _PAGE)",
        "(buffer.size, 0)",
        "test_runner.py",
    ),
    _py(
        "tables-sent-once",
        "devices",
        "self._versions[number] = self._versions.get(number, 0) + 1",
        "self._versions[number] = 0",
        "test_gpu_layers.py",
    ),
    _py(
        "slots-of-all-layers",
        "devices",
        "config.cache_slot(index, self.layers.start)",
        "config.cache_slot(index)",
        "test_section.py",
    ),
    _py(
        "lost-memory-of-a-gpu",
        "devices",
        "self._driver.free(self._blocks[address])",
        "self._driver.free(self._blocks.pop(address))",
        "test_device_errors.py",
    ),
    # --- kernels --------------------------------------------------------------------------------------------
    _cpp(
        "order-of-planes",
        "layout",
        "for (PackedComponent &plane : llvm::reverse(planes)) {",
        "for (PackedComponent &plane : planes) {",
        "test_packing.py",
    ),
    _py(
        "short-pool",
        "windows",
        "return pages(window + tokens - 2) + 1",
        "return pages(window + tokens - 2)",
        "test_sliding_window.py",
        "test_families.py",
    ),
    _cpp(
        "wrong-sequence",
        "pages",
        "Value number = b.toIndex(b.load(pages, {sequence, page}));",
        "Value number = b.toIndex(b.load(pages, {b.index(0), page}));",
        "test_attention.py",
    ),
    _cpp(
        "parts-of-the-shortest",
        "pages",
        "b.forEach(arith::MinUIOp::create(b, parts, count), [&](Value part) {",
        "b.forEach(parts, [&](Value part) {",
        "test_attention.py",
    ),
    _cpp(
        "causal-mask",
        "masks",
        "arith::CmpIPredicate::sle",
        "arith::CmpIPredicate::slt",
        "test_attention.py",
        "test_session.py",
    ),
    _cpp(
        "window-mask",
        "windows",
        "isBehind(arith::CmpIPredicate::sgt,",
        "isBehind(arith::CmpIPredicate::sge,",
        "test_attention.py",
        "test_families.py",
    ),
    _cpp(
        "last-tile",
        "tails",
        "emitRows(n % rows)",
        "emitRows(n % rows - (n % rows > 1))",
        "test_kernels.py",
        "test_session.py",
    ),
    _cpp(
        "rows-of-a-matrix",
        "layout",
        "mask.push_back(step * rows + row + j)",
        "mask.push_back(step * rows + row)",
        "test_matrix_kernels.py",
        "synthesize-product-matrix.mlir",
    ),
    _cpp(
        "factors-of-a-matrix",
        "layout",
        "mask.push_back(lane % tile.getN())",
        "mask.push_back(lane / tile.getN())",
        "test_matrix_kernels.py",
    ),
    _cpp(
        "tokens-of-matrices",
        "tails",
        "b.remainder(count, tile.getLeastTokens())",
        "b.remainder(count, tile.getM())",
        "test_matrix_kernels.py",
    ),
    _cpp(
        "row-of-a-tile",
        "layout",
        "mul(row, rowBytes), block)",
        "mul(lane, rowBytes), block)",
        "test_kernels.py",
        "test_packed_weights.py",
    ),
    _cpp(
        "tiny-activations",
        "rounding",
        "0x1p-120",
        "0x1p-149",
        "test_rows.py",
        "test_nonfinite.py",
    ),
    _cpp(
        "half-way",
        "rounding",
        "kShift = 0x1.8p23f",
        "kShift = 0x1.8p22f",
        "test_rows.py",
        "test_kernels.py",
    ),
    _cpp(
        "equal-experts",
        "routing",
        "vector::CombiningKind::MINUI, candidates)",
        "vector::CombiningKind::MAXUI, candidates)",
        "test_experts.py",
    ),
    _cpp(
        "negated-sums",
        "dot products",
        "arith::SubIOp::create(b, zero, x), x);",
        "x, arith::SubIOp::create(b, zero, x));",
        "test_kernels.py",
        "lower-dot4",
    ),
    _cpp(
        "last-piece",
        "thread team",
        "uint64_t size = (owner + 1) * total / count - first;",
        "uint64_t size = total / count;",
        "test_thread_team.py",
        "test_team_stress.py",
    ),
    _cpp(
        "claimed-twice",
        "thread team",
        "taken = ahead < 0 ? 0 : ahead > 0 ? size : uint32_t(seen);",
        "taken = ahead != 0 ? 0 : uint32_t(seen);",
        "test_thread_team.py",
        "test_team_stress.py",
    ),
    _cpp(
        "subnormal-halves",
        "half precision",
        "float value = bitCast<float>(magnitude) * 0x1p112f;",
        "float value = (bits & 0x7c00) ? bitCast<float>(magnitude) * 0x1p112f : 0.0f;",
        "test_codegen.py",
    ),
    _cpp(
        "short-lives",
        "memory plan",
        "return first <= other.last && other.first <= last;",
        "return first < other.last && other.first < last;",
        "test_memory_plan.py",
        "test_session.py",
    ),
)
