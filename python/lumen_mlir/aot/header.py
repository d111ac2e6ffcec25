# SPDX-License-Identifier: Apache-2.0
"""A C header for the functions of a compiled model: what stands in which slot, and every shape."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lumen_mlir.aot import description
from lumen_mlir.aot.compiled_model import WASM, CompiledModel
from lumen_mlir.compiler.signature import Argument, Signature
from lumen_mlir.errors import one_line
from lumen_mlir.models import ModelConfig
from lumen_mlir.run.packed_weights import pack_function
from lumen_mlir.version import __version__

_TYPES = {
    "f16": "f16", "bf16": "bf16", "f32": "float", "f64": "double", "i8": "uint8_t", "i16": "int16_t",
    "i32": "int32_t", "i64": "int64_t", "index": "int64_t",
}  # fmt: skip

_HEAD = """\
/* {name}: {model}, compiled by Lumen {version} for target {target} ({architecture}).
 *
 * A function takes an array of 64-bit slots: addresses, numbers of rows, and
 * numbers. It runs on every thread of a team (lumen_team_run of lumen.h), which
 * share out its loops. All of its memory comes from the caller:
 *   - arrays are in row-major order, little-endian, and do not overlap;
 *   - "?" is a size that the caller chooses, and passes in the slot behind;
 *   - packed weights and the arena begin at multiples of 64 bytes, other arrays
 *     at multiples of the size of an element;
 *   - nothing is checked: sizes that do not fit write elsewhere.
 * lumen_open of lumen.h does all of this with the weights of a bundle.
"""

_NATIVE_END = """\
 * The code calls lumen_claim and lumen_barrier of liblumen_runtime, and memset
 * and memcpy. Link programs with -z now: lumen_claim keeps all registers.
 */
"""
_WASM_END = """\
 * The team is in the module, and has one worker: four words of 64 bits in its
 * memory, 0, 1, 0 and 0.
 */
"""


def header(compiled: CompiledModel, name: str, prefix: str = "lumen") -> str:
    """The text of the header; ``name``: of its file, such as "model.h". All names begin with ``prefix``."""
    model, target = compiled.model, compiled.target
    macros = prefix.upper()
    guard = f"{macros}_{_macro(name)}"
    end = _WASM_END if target.architecture == WASM else _NATIVE_END
    head = (_HEAD + end).format(
        name=name,
        model=_comment(model.config.name or "a model"),
        version=__version__,
        target=target.name,
        architecture=target.architecture,
    )
    parts = [
        head,
        f"#ifndef {guard}\n#define {guard}\n",
        "#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        "struct lumen_worker;\n",
        "/* What the code is and takes, as lumen_open reads it. */",
        f"extern const char {prefix}_code_text[];\n",
        _constants(compiled, macros),
        _function(compiled.signature, _step_lines(compiled, prefix), prefix),
        *(_function(each, _pack_lines(each), prefix) for each in compiled.packers.signatures),
        "#ifdef __cplusplus\n}\n#endif\n",
        _CODE.replace("$", prefix),
        "#endif\n",
    ]
    return "\n".join(parts)


_CODE = """\
/* What lumen_options.code wants, where lumen.h was included before. */
#ifdef LUMEN_H
static inline lumen_code $_model_code(void) {
  lumen_code code;
  code.text = $_code_text;
  code.step = $_entry_step;
  code.arena_bytes = $_arena_size_step;
  return code;
}
#endif
"""


def _constants(compiled: CompiledModel, macros: str) -> str:
    config = compiled.model.config
    values = {
        "VOCABULARY": (config.vocabulary, "tokens"),
        "MAX_CONTEXT": (config.context, "positions that the model was made for"),
        "MAX_TOKENS": (compiled.options.chunk, "most tokens of one call of the step"),
    }
    return "".join(
        f"#define {macros}_{name} {value} /* {text} */\n" for name, (value, text) in values.items()
    )


# One slot of a function: what its name ends in, and what it is.
_Line = tuple[str, str]


def _function(signature: Signature, lines: Iterator[_Line], prefix: str) -> str:
    """The slots of a function as an enumeration, its arena and its declaration."""
    slots = f"{prefix.upper()}_{_macro(signature.name)}"
    text, names = [], set()
    for number, (ending, meaning) in enumerate(lines):
        name = f"{slots}_{_macro(ending)}"
        while name in names:  # (Names of tensors that differ in other signs than letters.)
            name += "_"
        names.add(name)
        text.append(f"  /* {_comment(meaning)} */\n  {name} = {number},\n")
    entry, arena = (f"{prefix}_{kind}_{signature.name}" for kind in ("entry", "arena_size"))
    text.append(f"  /* {arena} bytes, for intermediates */\n  {slots}_ARENA = {len(text)},\n")
    text.append(f"  {slots}_SLOTS = {len(text)}\n")
    return (
        f"/* The slots of {entry}. */\n"
        f"enum {{\n{''.join(text)}}};\n"
        f"extern const int64_t {arena};\n"
        f"void {entry}(uint64_t *slots, struct lumen_worker *worker);\n"
    )


def _slots(argument: Argument, name: str, meaning: str, size: str = "") -> Iterator[_Line]:
    """The slots of one argument; ``size``: what the sizes are that the caller chooses."""
    if argument.shape is None:
        yield name, f"{_TYPES[argument.element]}: {meaning}"
        return
    sizes = "".join(f"[{'?' if size is None else size}]" for size in argument.shape)
    yield name, f"{_TYPES[argument.element]} {sizes}: {meaning}"
    for count in range(argument.shape.count(None)):
        yield f"{name}_size{count + 1 if count else ''}", f"the ? of {name}: {size}"


def _step_lines(compiled: CompiledModel, prefix: str) -> Iterator[_Line]:
    model, signature = compiled.model, compiled.signature
    config = model.config
    kinds = description.step_kinds(model, signature)
    caches = [(window, part) for window in config.windows for part in ("keys", "values")]
    where = list(config.windows)
    ropes = 0
    for kind, argument in zip(kinds, signature.arguments, strict=True):
        if kind == "tokens":
            yield from _slots(argument, "tokens", "the tokens of this call", "how many there are")
        elif kind == "positions":
            yield from _slots(argument, "positions", "of the tokens, in their sequences", "the tokens")
        elif kind == "rows":
            yield from _slots(
                argument, "rows", "numbers of the tokens whose logits are wanted", "logits' rows"
            )
        elif kind == "runs":
            text = (
                "tokens of one sequence, in a row: the number of the first, how many, the sequence's number"
            )
            yield from _slots(argument, "runs", text, "runs")
        elif kind == "places":
            text = f"where keys and values of the tokens go{_of_window(where[0])}: 64 * page + position % 64"
            yield from _slots(argument, f"places{_number(config, where[0])}", text, "the tokens")
        elif kind == "pages":
            text = f"of each sequence the pages{_of_window(where[0])}, each of 64 positions, in order"
            yield from _slots(argument, f"pages{_number(config, where.pop(0))}", text, "sequences, pages")
        elif kind == "rope":
            text = (
                "row p holds cos(p f) of the frequency f of each pair, then sin(p f), times the magnitude "
                f"({config.ropes[ropes]})"
            )
            yield from _slots(argument, f"rope{ropes}", text, "positions")
            ropes += 1
        elif kind == "cache":
            window, part = caches.pop(0)
            text = f"{part}{_of_window(window)}, in blocks of 16 positions, four to a page; written"
            yield from _slots(argument, f"{part}{_number(config, window)}", text, "blocks")
        elif kind == "weight":
            yield from _slots(argument, argument.name or "", _weight(compiled, argument, prefix))
        else:
            yield from _slots(argument, "logits", "written", "as many as rows")


def _of_window(window: int | None) -> str:
    seen = "all positions" if window is None else f"the last {window} positions"
    return f" of layers that see {seen}"


def _number(config: ModelConfig, window: int | None) -> int:
    return list(config.windows).index(window)


def _weight(compiled: CompiledModel, argument: Argument, prefix: str) -> str:
    """What a weight is; where it is packed, by which function."""
    info = compiled.model.tensors[argument.name or ""]
    shape = " x ".join(map(str, info.shape))
    if argument.tile is None:
        how = "in the layout of files" if len(info.shape) > 1 else "as float"
    else:
        how = f"packed by {prefix}_entry_{pack_function(info.type, argument.tile)}"
    return f"{argument.name}, {info.type} {shape}, {how}"


def _pack_lines(signature: Signature) -> Iterator[_Line]:
    raw, rows, columns, packed = signature.arguments
    yield from _slots(raw, "raw", "a weight in the layout of files", "its bytes")
    yield from _slots(rows, "rows", "of the weight")
    yield from _slots(columns, "columns", "of the weight")
    yield from _slots(packed, "packed", "written", "its bytes, as the slots of the step have them")


def _macro(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", text.upper())


def _comment(text: str) -> str:
    """Text that cannot end a comment."""
    return one_line(text).replace("*/", "* /").replace("/*", "/ *").replace("??/", "? ? /").rstrip("\\")
