# SPDX-License-Identifier: Apache-2.0
"""The measured parts of the pages: which commands measure a part, and how it reads."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aarch64 import tables as arm_tables

from lumen_mlir.cli.table import markdown
from lumen_mlir.measure.svg import COLORS, GREY, Picture

# Names in commands that stand for files: the first is the real model, the others are synthetic.
REAL, SMALL, K_QUANT = "SmolLM2-135M-Instruct.Q4_1.gguf", "qwen2.5-0.5b-q8_0.gguf", "qwen2.5-0.5b-q3_k_m.gguf"
EMBEDDED = "lumen-ko-comments-7m-q8_0.gguf"

_NAMES = {
    REAL.removesuffix(".gguf"): "SmolLM2 135M, Q4_1",
    EMBEDDED.removesuffix(".gguf"): "Korean comments 7M, Q8_0",
    "moe-8x-q4_k_m": "mixture of 8 experts, Q4_K_M",
    "qwen2.5-1.5b-14l-q4_k_m": "1.5B (half of its layers), Q4_K_M",
    "qwen2.5-1.5b-14l-q3_k_m": "1.5B (half of its layers), Q3_K_M",
    "qwen2.5-0.5b-q8_0": "0.5B, Q8_0",
    "qwen2.5-0.5b-q4_0": "0.5B, Q4_0",
    "qwen2.5-0.5b-q3_k_m": "0.5B, Q3_K_M",
}
_REAL_WEIGHTS = {REAL.removesuffix(".gguf"), EMBEDDED.removesuffix(".gguf")}
_ARM = ("armv8.6-a+i8mm", "armv8.2-a+dotprod", "armv8-a")
_VS = "python benchmarks/vs_llama_cpp.py"


@dataclass(frozen=True)
class Part:
    """A part of a page.

    Attributes:
      page: the file under docs/ that has it between two markers.
      commands: run one after the other; each prints JSON, or with ``text`` a Markdown table.
      minutes: the longest that one command may take; what is known by then is used.
      render: Markdown of what the commands printed.
      more: other pages that show it, and how.
      emulated: results depend on tools instead of on the machine; ``versions`` in the output names them. It
        takes so long that it has to be asked for.
    """

    page: str
    commands: tuple[str, ...]
    minutes: float
    render: Callable[[list[Any]], str]
    text: bool = False
    emulated: bool = False
    more: tuple[tuple[str, Callable[[list[Any]], str]], ...] = ()

    @property
    def places(self) -> tuple[tuple[str, Callable[[list[Any]], str]], ...]:
        """All pages that show it, and how."""
        return ((self.page, self.render), *self.more)


def model_name(file: str) -> str:
    return _NAMES.get(file, file)


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def rows_of(outputs: list[Any]) -> list[dict[str, Any]]:
    """All rows that the runs of ``vs_llama_cpp.py`` printed."""
    return [row for output in outputs for row in output["rows"]]


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f})"


def _limits(outputs: list[Any]) -> str:
    best: dict[str, int] = {}
    for output in outputs:
        for held in output["limits"].values():
            best = {name: max(best.get(name, 0), value) for name, value in held.items()}
    return (
        f"On two threads, the machine reads {best['read'] / 1e9:.0f} GB/s and does "
        f"{best['int8'] / 1e9:,.0f} GOP/s of 8-bit products."
    )


def _speed(outputs: list[Any]) -> str:
    files: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows_of(outputs):
        kind = "prompt" if row["test"].startswith("pp") else "decode"
        files.setdefault(row["file"], {})[kind] = row
    lines = []
    for file, tests in files.items():
        cells = [model_name(file), "real" if file in _REAL_WEIGHTS else "random"]
        for kind in ("prompt", "decode"):
            row = tests.get(kind)
            cells += [f"{row['lumen']:,.0f}", f"{row['peer']:,.0f}", _ratio(row)] if row else ["", "", ""]
        lines.append(cells)
    header = (
        "model",
        "weights",
        "prompt: Lumen",
        "llama.cpp",
        "ratio",
        "decode: Lumen",
        "llama.cpp",
        "ratio",
    )
    said = []
    for kind, verb in (("prompt", "reads prompts"), ("decode", "writes")):
        ratios = [tests[kind]["ratio"] for tests in files.values() if kind in tests]
        said += [f"{verb} {_range(ratios)} times as fast"] if ratios else []
    sentence = f"Beside llama.cpp, Lumen {' and '.join(said)}."
    return f"{sentence}\n\n{markdown(header, lines, right=range(2, 8))}\n\n{_limits(outputs)}"


def _tests(outputs: list[Any], name: Callable[[str], str], header: str) -> str:
    lines = [
        (name(row["test"]), f"{row['lumen']:,.1f}", f"{row['peer']:,.1f}", _ratio(row))
        for row in rows_of(outputs)
    ]
    return markdown((header, "Lumen", "llama.cpp", "ratio"), lines, right=(1, 2, 3))


def _long(outputs: list[Any]) -> str:
    def name(test: str) -> str:
        generated, _, depth = test.partition(" @ d")
        return (
            f"writing behind {int(depth):,} tokens" if depth else f"a prompt of {int(generated[2:]):,} tokens"
        )

    ratios = [row["ratio"] for row in rows_of(outputs)]
    sentence = f"With a long context, Lumen is {_range(ratios)} times as fast."
    return f"{sentence}\n\n{_tests(outputs, name, 'test')}"


def _batches(outputs: list[Any]) -> str:
    rows = rows_of(outputs)
    first, last = rows[0]["lumen"], rows[-1]["lumen"]
    sentence = (
        f"{_rows_at_once(rows[-1]['test'])} rows at once give {last / first:.1f} times the tokens of one row."
    )
    return f"{sentence}\n\n{_tests(outputs, _rows_at_once, 'rows at once')}"


def _rows_at_once(test: str) -> str:
    return test.partition(" x ")[2] or "1"


def _starts(outputs: list[Any]) -> str:
    lines = []
    for output in outputs:
        starts = {start["name"]: start for start in output["starts"]}
        cells = [model_name(output["file"].removesuffix(".gguf")), f"{output['bytes'] / 1e6:,.0f}"]
        for name in ("Lumen, empty caches", "Lumen", "llama.cpp"):
            start = starts.get(name)
            cells.append("{median:.2f} ({least:.2f} to {most:.2f})".format_map(start) if start else "")
        for name in ("Lumen", "llama.cpp"):
            cells.append(f"{starts[name]['resident'] / 1e6:,.0f}" if name in starts else "")
        lines.append(cells)
    header = ("model", "file, MB", "Lumen, first: s", "Lumen, next: s", "llama.cpp: s")
    header += ("Lumen: MB resident", "llama.cpp: MB resident")
    medians = {
        name: [start["median"] for output in outputs for start in output["starts"] if start["name"] == name]
        for name in ("Lumen, empty caches", "Lumen")
    }
    sentence = (
        f"The first start takes {_range(medians['Lumen, empty caches'])} seconds, because it compiles the "
        f"model; the next ones take {_range(medians['Lumen'])}."
    )
    return f"{sentence}\n\n{markdown(header, lines, right=range(1, 7))}"


def _kernels(outputs: list[Any]) -> str:
    by_format: dict[str, dict[int, dict[str, Any]]] = {}
    for result in outputs[0]:
        by_format.setdefault(result["format"], {})[result["rows"]] = result
    lines, shares = [], {1: [], 512: []}
    for name, results in by_format.items():
        cells = [name, f"{8 * results[1]['weight_bytes'] / results[1]['n'] / results[1]['k']:.4g}"]
        for rows, unit in ((1, "weight_bytes"), (512, "operations")):
            result = results[rows]
            shares[rows].append(result["share"])
            cells += [f"{result[unit] / min(result['seconds']) / 1e9:,.0f}", f"{result['share']:.0%}"]
        cells.insert(4, {"read": "reading", "int8": "products"}[results[1]["bound"]])
        lines.append(cells)
    header = (
        "format",
        "bits",
        "1 row: GB/s",
        "of the limit",
        "which is",
        "512 rows: GOP/s",
        "of the int8 peak",
    )
    sentence = (
        f"In the median, a format reaches {statistics.median(shares[1]):.0%} of its limit with one row, and "
        f"{statistics.median(shares[512]):.0%} of the int8 peak with 512 rows."
    )
    return f"{sentence}\n\n{markdown(header, lines, right=(1, 2, 3, 5, 6))}"


# The most telling ones first, in case that somebody stops it.
PARTS = {
    "speed": Part(
        "performance.md",
        (
            f"{_VS} {REAL} -p 512 -n 64 -t 2 --flash 0,1",
            f"{_VS} {EMBEDDED} -p 512 -n 64 -t 2 --flash 0,1",
            f"{_VS} --table formats --only '(q8_0|q4_0|q4_k_m|q3_k_m) .* 2t' --flash 0,1 --rounds 3",
            f"{_VS} --table experts --only 2t --flash 0,1 --rounds 3",
        ),
        10,
        _speed,
    ),
    "start": Part(
        "performance.md",
        tuple(
            f"python benchmarks/start.py {model} --cold 3 --rounds 5"
            for model in (EMBEDDED, REAL, SMALL, K_QUANT)
        ),
        2,
        _starts,
    ),
    "kernels": Part(
        "kernel-performance.md",
        ("lumen bench kernels -r 5 --plot docs/images/roofline.svg",),
        5,
        _kernels,
    ),
    "attention": Part(
        "kernel-performance.md",
        ("python benchmarks/attention.py --heads 14 --kv-heads 2 --head-size 64",),
        2,
        lambda outputs: outputs[0],
        text=True,
    ),
    "batches": Part(
        "performance.md",
        (f"{_VS} --table batches --only 'q8_0 .* 2t' --rounds 3",),
        3,
        _batches,
    ),
    "sampling": Part(
        "performance.md",
        ("python benchmarks/sampling.py",),
        2,
        lambda outputs: outputs[0],
        text=True,
    ),
    "long": Part(
        "performance.md",
        (
            f"{_VS} --synthetic qwen2.5-0.5b:q8_0 -p 4096 -n 0 -t 2 --flash 0,1 --rounds 2",
            f"{_VS} --synthetic qwen2.5-0.5b:q8_0 -p 0 -n 16 -d 4096 -t 2 --flash 0,1 --rounds 2",
        ),
        5,
        _long,
    ),
    "arm-kernels": Part(
        "performance-arm.md",
        tuple(f"python benchmarks/arm.py kernels --targets {target}" for target in _ARM),
        60,
        arm_tables.summary,
        emulated=True,
        more=(("performance-arm-tables.md", arm_tables.kernels),),
    ),
    "arm-loops": Part(
        "performance-arm-tables.md",
        ("python benchmarks/arm.py loops --targets armv8.6-a+i8mm",),
        60,
        arm_tables.loops,
        emulated=True,
    ),
    "arm-prompts": Part(
        "performance-arm.md",
        (
            "python benchmarks/arm.py prompt --formats q4_0,q8_0",
            "python benchmarks/arm.py prompt --shape qwen3-0.6b --formats q4_k_s",
        ),
        120,
        arm_tables.prompts,
        emulated=True,
    ),
}


def chart(outputs: list[Any], machine: str) -> str:
    """Two bars per model: how many times as fast as llama.cpp Lumen reads and writes."""
    files: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(outputs):
        files.setdefault(row["file"], []).append(row)
    left, top, line, width = 250, 66, 20, 360
    group = 2 * line + 12
    most = max(row["ratio"] for rows in files.values() for row in rows) * 1.05
    bottom = top + group * len(files)
    picture = Picture(left + width + 150, bottom + 44)
    picture.text(16, 26, "Times as fast as llama.cpp, two threads", 15)
    for number, (name, color) in enumerate((("reading a prompt", COLORS[0]), ("writing", COLORS[2]))):
        picture.rectangle(16 + 150 * number, 38, 11, 11, color, 0.85)
        picture.text(32 + 150 * number, 48, name, 11)
    for value in range(0, int(most) + 1, 1 + int(most) // 10):
        x = left + value / most * width
        picture.line(x, top - 6, x, bottom, GREY)
        picture.text(x, bottom + 14, str(value), 11, "middle")
    for number, (file, rows) in enumerate(files.items()):
        y = top + number * group
        picture.text(left - 10, y + line - 2, model_name(file), 12, "end")
        weights = "real weights" if file in _REAL_WEIGHTS else "random weights"
        picture.text(left - 10, y + line + 12, weights, 10, "end", "#666666")
        for row in sorted(rows, key=lambda row: row["test"].startswith("tg")):
            decode = row["test"].startswith("tg")
            label = f"{row['ratio']:.1f}x, {row['lumen']:,.0f} tokens/s"
            picture.rectangle(
                left, y, row["ratio"] / most * width, line - 4, COLORS[2 if decode else 0], 0.85, label
            )
            picture.text(left + row["ratio"] / most * width + 6, y + 12, label, 11)
            y += line
    same = left + width / most
    picture.line(same, top - 6, same, bottom, "#444444", 1.5)
    picture.text(16, bottom + 36, machine, 10, color="#666666")
    return str(picture)


def parse(part: Part, output: str) -> Any:
    """What a command printed. ``ValueError`` where it is not what the part expects."""
    if part.text:
        return output.strip()
    return json.loads(output[min(i for i in (output.find("{"), output.find("[")) if i >= 0) :])
