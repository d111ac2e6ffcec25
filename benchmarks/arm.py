# SPDX-License-Identifier: Apache-2.0
"""Lumen on 64-bit ARM without such a machine: cycles by llvm-mca, executed instructions by qemu.

    python benchmarks/arm.py kernels [--formats q4_0,q4_k] [--targets armv8.6-a+i8mm] [--tokens 128] [--json]
    python benchmarks/arm.py loops [--formats q4_0,q4_k] [--targets armv8.6-a+i8mm] [--json]
    python benchmarks/arm.py prompt [--shape qwen2.5-0.5b] [--formats q4_0] [--tokens 128] [--json]

``kernels``: the products of Lumen, llama.cpp and KleidiAI with a weight [256, 2048], of 128 tokens and of
one, all built by LLVM of one version. ``loops``: the inner loops of Lumen's products alone. ``prompt``: the
instructions of a whole prompt and of a token behind it, beside llama.cpp.

Needs Debian's clang-22, llvm-22, qemu-user and g++-aarch64-linux-gnu. The sources of the others are read into
build/peers/arm where they are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from aarch64 import cycles, guest, kept, kernels, peers, prompt, tables

from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError
from lumen_mlir.run.program import Program
from lumen_mlir.testing import synthetic

ROWS, COLUMNS, TOKENS = 256, 2048, 128
# Results and activations of more tokens may not fit the memory that kernels.words gives.
MOST_TOKENS = 512
# Tokens of a product that takes a row and a token at a time; all cost the same.
_FEW_TOKENS = 8


def all_formats() -> list[str]:
    """Lumen's, except for f32; those of floats come last."""
    names = [name for name in formats.names() if name != "f32"]
    return sorted(names, key=lambda name: formats.get(name).is_float)


def arm_targets() -> list[str]:
    """The rows of the table of targets that are for 64-bit ARM."""
    return [target.name for target in targets.TARGETS if target.triple.startswith("aarch64")]


def measure_kernels(
    names: list[str],
    wanted: list[str],
    numbers: list[int],
    with_peers: bool = True,
    code: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """A row per format, target, number of tokens and engine.

    ``numbers`` are those of tokens, ``code`` is where the hottest code is written.
    """
    for name in wanted:
        for fmt in names:
            with tempfile.TemporaryDirectory() as folder:
                program = kernels.compiled(fmt, name, ROWS, COLUMNS, max(TOKENS, *numbers))
                measured = kept.measured if code is None else _measured_now
                for tokens in numbers:
                    row = {"target": name, "format": fmt, "tokens": tokens, "engine": "Lumen", "function": ""}
                    key = f"lumen-{name}-{fmt}-{tokens}-{kernels.digest(program)}"
                    yield measured(key, partial(_measure_ours, row, program, Path(folder), code))
                    for kernel in peers.kernels(fmt, name, tokens > 1) if with_peers else ():
                        row |= {"engine": kernel.peer, "function": kernel.function}
                        key = f"{name}-{fmt}-{tokens}-{kernel.function}"
                        theirs = partial(_measure_theirs, row, kernel, Path(folder), code)
                        yield measured(key, theirs, "peer.cpp")


def measure_loops(names: list[str], wanted: list[str]) -> Iterator[dict[str, Any]]:
    """A row per format and target: products in a cycle of the loop that does most of them."""
    for name in wanted:
        for fmt in names:
            program = kernels.compiled(fmt, name, ROWS, COLUMNS, TOKENS)
            key = f"loop-{name}-{fmt}-{kernels.digest(program)}"
            yield kept.measured(key, partial(_measure_loop, name, fmt, program))


def _measure_loop(name: str, fmt: str, program: Program) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        what = kernels.link(program, Path(folder)), kernels.words(program, TOKENS), kernels.FUNCTIONS
        pieces = cycles.cut(guest.trace(*what, Path(folder)))
    loop = max(pieces, key=lambda piece: piece.macs * piece.runs)
    rates = {core.name: round(loop.macs / cycles.cycles(loop.code, core), 2) for core in _cores(name)}
    print(name, fmt, rates, file=sys.stderr)
    return {"target": name, "format": fmt, "group": formats.get(fmt).group, "rates": rates}


def _measured_now(key: str, measure: Callable[[], Any], *sources: str) -> Any:
    return measure()


def _measure_ours(row: dict[str, Any], program: Program, folder: Path, code: Path | None) -> dict[str, Any]:
    what = kernels.link(program, folder), kernels.words(program, row["tokens"]), kernels.FUNCTIONS
    return _measure(row, what, folder, code, row["tokens"])


def _measure_theirs(
    row: dict[str, Any], kernel: peers.Kernel, folder: Path, code: Path | None
) -> dict[str, Any]:
    program = peers.program(kernel, peers.TARGETS[row["target"]])
    tokens = min(row["tokens"], _FEW_TOKENS) if kernel.at_once else row["tokens"]
    words = [str(tokens), str(ROWS), str(COLUMNS)]
    return _measure(row, (program, words, kernel.functions), folder, code, tokens)


def _measure(
    row: dict[str, Any], what: tuple[Path, list[str], str], folder: Path, code: Path | None, tokens: int
) -> dict[str, Any]:
    """The row with what a program did for ``tokens``: it, its arguments and its functions that count."""
    pieces = cycles.cut(guest.trace(*what, folder))
    macs = tokens * ROWS * COLUMNS
    rates = {core.name: round(cycles.rate(pieces, macs, core), 2) for core in _cores(row["target"])}
    mix = {kind: round(count, 1) for kind, count in cycles.mix(pieces, macs).items()}
    result = row | {"rates": rates, "mix": mix}
    print(row["target"], row["format"], row["tokens"], tables.line(result), file=sys.stderr)
    if code is not None:
        hottest = max(pieces, key=lambda piece: piece.executed)
        name = "-".join((row["target"], row["format"], str(row["tokens"]), row["engine"]))
        code.mkdir(parents=True, exist_ok=True)
        (code / f"{name}.s").write_text("\n".join(hottest.code) + "\n", encoding="ascii")
    return result


def _cores(target: str) -> list[cycles.Core]:
    return [core for core in cycles.CORES if core.i8mm or "i8mm" not in target]


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    """With all instructions together."""
    together = {"instructions": round(sum(row["mix"].values()), 1)}
    return {name: value for name, value in row.items() if name != "mix"} | together


def measure_prompts(names: list[str], wanted: list[str], shape: str, tokens: int) -> Iterator[dict[str, Any]]:
    """A row per target and format: the instructions of a prompt, and of a token behind it, in each engine."""
    for name in wanted:
        for fmt in names:
            row: dict[str, Any] = {"target": name, "format": fmt, "shape": shape, "tokens": tokens}
            with tempfile.TemporaryDirectory() as folder:
                row |= prompt.measure(shape, fmt, name, tokens, Path(folder))
            print(row, file=sys.stderr)
            yield row


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("kernels", help="cycles and instructions of products")
    command.add_argument("--formats", default=",".join(all_formats()), help="with commas between them")
    command.add_argument("--targets", default=",".join(arm_targets()), help="with commas between them")
    command.add_argument("--tokens", default=f"{TOKENS},1", help="of a call, with commas between them")
    command.add_argument("--no-peers", dest="peers", action="store_false", help="Lumen alone")
    command.add_argument("--code", type=Path, metavar="FOLDER", help="write the hottest code there")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")
    command = commands.add_parser("loops", help="cycles of the inner loops of products of codes")
    codes = (name for name in all_formats() if not formats.get(name).is_float)
    command.add_argument("--formats", default=",".join(codes), help="with commas between them")
    command.add_argument("--targets", default=",".join(arm_targets()), help="with commas between them")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command = commands.add_parser("prompt", help="executed instructions of a prompt and a token")
    command.add_argument("--shape", default="qwen2.5-0.5b", help="of lumen_mlir.testing.synthetic")
    command.add_argument("--formats", default="q4_0,q8_0", help="with commas between them")
    command.add_argument("--targets", default=",".join(peers.TARGETS), help="with commas between them")
    command.add_argument("--tokens", type=int, default=TOKENS, help="of the prompt (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    names, wanted = options.formats.split(","), options.targets.split(",")
    for name in names:
        if options.command == "prompt" and name not in synthetic.FORMATS:
            parser.error(f"{name} is no format of files; there are {', '.join(synthetic.FORMATS)}")
    try:
        for name in names if options.command != "prompt" else ():
            formats.get(name)
    except LumenError as error:
        parser.error(str(error))
    for name in names if options.command == "loops" else ():
        if formats.get(name).is_float:
            parser.error(f"{name} has no codes")
    for name in wanted:
        if name not in arm_targets():
            parser.error(f"{name} is no target for 64-bit ARM; there are {', '.join(arm_targets())}")
        if options.command == "prompt" and name not in peers.TARGETS:
            parser.error(f"llama.cpp is not built for {name}, but for {', '.join(peers.TARGETS)}")
    numbers = []
    if options.command == "kernels":
        try:
            numbers = [int(word) for word in options.tokens.split(",")]
        except ValueError:
            parser.error(f"{options.tokens!r} are no numbers of tokens")
        if not all(0 < number <= MOST_TOKENS for number in numbers):
            parser.error(f"there are products of 1 to {MOST_TOKENS} tokens, not of {options.tokens}")
    guest.check_tools()
    try:
        if options.command == "kernels":
            found = measure_kernels(names, wanted, numbers, options.peers, options.code)
            rows = [_summary(row) for row in found]
        elif options.command == "loops":
            rows = list(measure_loops(names, wanted))
        else:
            rows = list(measure_prompts(names, wanted, options.shape, options.tokens))
    except LumenError as error:
        sys.exit(f"{parser.prog}: {error}")
    table = {"kernels": tables.kernels, "loops": tables.loops, "prompt": tables.prompts}[options.command]
    peaks = {name: {core.name: cycles.peak(core, "i8mm" in name) for core in _cores(name)} for name in wanted}
    result = {"versions": guest.versions(), "peaks": peaks, "rows": rows}
    print(json.dumps(result) if options.json else table([result]))


if __name__ == "__main__":
    main()
