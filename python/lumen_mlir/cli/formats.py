# SPDX-License-Identifier: Apache-2.0
"""``lumen formats``."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import prose, show, table
from lumen_mlir.cli.ir_text import WIDTH, broken
from lumen_mlir.cli.streams import tell
from lumen_mlir.cli.styles import width
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.compiler.targets import Target
    from lumen_mlir.formats import Format
    from lumen_mlir.formats.packing import Component
    from lumen_mlir.formats.quantized import Factor, QuantFormat


@click.group(short_help="List the quantization formats, or show one.", invoke_without_command=True)
@shared.json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the quantization formats, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_formats, as_json=as_json)


@command.command("list")
@shared.json_option
def list_formats(as_json: bool) -> None:
    """A table of all formats: what a file stores, and what kernels read after packing."""
    from lumen_mlir import formats
    from lumen_mlir.compiler import targets

    known, broken = [], []
    for name in formats.names():
        try:
            known.append(formats.get(name))
        except LumenError as error:
            # One package that fails should not hide the others.
            broken.append(str(error))
    if as_json:
        click.echo(json.dumps([_facts(fmt) for fmt in known], indent=2))
    else:
        header = (
            "name", "ggml id", "bits", "packed", "block", "bytes", "group", "code", "scale", "minimum",
            "targets",
        )  # fmt: skip
        show([header, *map(_row, known)], right=range(1, 7), header=True, spare=(10, 9, 1, 3))
        click.echo()
        show([*_LEGEND, ("targets", ", ".join(target.name for target in targets.TARGETS))])
    for message in broken:
        tell(f"lumen: warning: {message}")


_LEGEND = (
    ("bits", "per weight in a file: 8 * bytes / block"),
    ("packed", "bits per weight as kernels read them on the widest target, in tiles of 16 rows"),
    ("group", "weights that share a scale (and a minimum)"),
    ("code", "what is stored per weight, and the value it stands for"),
    ("scale", "f16/256 * i8/32: a float per 256 weights times an integer per 32 of them"),
    ("minimum", "what is subtracted: weight = scale * value - minimum"),
)


@command.command("show")
@click.argument("name")
@click.option("--target", default="native", show_default=True, help="Whose packed layout to draw.")
@shared.json_option
def show_format(name: str, target: str, as_json: bool) -> None:
    """Show the one description of the format NAME.

    These are the Python that defines it, the bytes of a block drawn bit by bit, how kernels find them packed,
    and the IR that every kernel is made from.
    """
    from lumen_mlir import formats
    from lumen_mlir.compiler import targets

    fmt, chosen = formats.get(name), targets.get(target)
    if as_json:
        click.echo(json.dumps({**_facts(fmt), **_details(fmt, chosen)}, indent=2))
    elif fmt.is_float:
        click.echo(f"# {fmt.name} is a plain element type: it needs no description")
    else:
        click.echo("\n\n".join(_sections(fmt, chosen)))


# --- the table ----------------------------------------------------------------------------------------------


def _row(fmt: Format) -> tuple:
    number = "-" if fmt.ggml_type is None else fmt.ggml_type
    numbers = (f"{fmt.bits_per_weight:.4g}", f"{fmt.packed_bits_per_weight():.4g}", fmt.block)
    if fmt.is_float:
        return fmt.name, number, *numbers, fmt.bytes_per_block, "-", "the float itself", "-", "-", "all"
    minimum = "-" if fmt.min is None else _factor(fmt, fmt.min)
    return (
        fmt.name, number, *numbers, fmt.bytes_per_block, fmt.group, _code(fmt), _factor(fmt, fmt.scale),
        minimum, "all",
    )  # fmt: skip


def _code(fmt: QuantFormat) -> str:
    bits = f"{fmt.bits} bit{'s' if fmt.bits > 1 else ''}"
    if fmt.table is not None:
        return f"{bits}, one of {len(set(fmt.table))}"
    return bits if not fmt.bias else f"{bits} {'-' if fmt.bias < 0 else '+'} {abs(fmt.bias)}"


def _factor(fmt: QuantFormat, factor: Factor) -> str:
    sizes = ("row" if fmt.of_rows(factor) else fmt.block, fmt.group)
    return " * ".join(f"{kind}/{size}" for kind, size in zip(factor.types, sizes, strict=True) if kind)


def _facts(fmt: Format) -> dict[str, Any]:
    """What the table says, for scripts."""
    from lumen_mlir import formats
    from lumen_mlir.compiler import targets

    facts: dict[str, Any] = {
        "name": fmt.name,
        "ggml_type": fmt.ggml_type,
        "origin": formats.origin(fmt),
        "bits_per_weight": fmt.bits_per_weight,
        "packed_bits_per_weight": fmt.packed_bits_per_weight(),
        "block": fmt.block,
        "bytes_per_block": fmt.bytes_per_block,
        "bytes_per_row": 0 if fmt.is_float else fmt.header_bytes,
        "targets": [target.name for target in targets.TARGETS],
    }
    if fmt.is_float:
        return facts
    factors = {"scale": None, "min": None}
    for name, factor in fmt.factors:
        kinds = (None if kind is None else kind.name for kind in factor.types)
        factors[name] = dict(zip(("per_block", "per_group"), kinds, strict=True))
    code = {"bits": fmt.bits, "bias": fmt.bias, "table": fmt.table}
    return {**facts, "group": fmt.group, "code": code, **factors, "fingerprint": fmt.fingerprint}


# --- one format ---------------------------------------------------------------------------------------------


def _sections(fmt: QuantFormat, target: Target) -> Iterator[str]:
    from lumen_mlir import formats
    from lumen_mlir.cli.drawing import block_lines, draw
    from lumen_mlir.compiler import targets

    number = "" if fmt.ggml_type is None else f", ggml type {fmt.ggml_type}"
    row = f" and {fmt.header_bytes} bytes per row" if fmt.header_bytes else ""
    head = (
        f"{fmt.name}: {fmt.bits_per_weight:.4g} bits per weight, {fmt.block} weights in a block of "
        f"{fmt.bytes_per_block} bytes{row}{number}; described by {formats.origin(fmt)}"
    )
    yield f"{prose(head)}\n\n{prose(_formula(fmt))}"
    source, place = source_of(fmt)
    yield f"# Description{f' ({place})' if place else ''}\n\n{source}"
    drawn = "row of one block" if fmt.header_bytes else "block"
    lines = "One line per byte: its offset, its field, and what its bits hold, the highest bit first."
    yield (
        f"# A {drawn} in the file\n\n{prose(lines)}\n{prose(_legend(fmt))}\n\n"
        f"{draw(block_lines(fmt), width(sys.stdout))}"
    )
    yield f"# Packed for {target.name}\n\n{_packed(fmt, target)}"
    rows = [
        (each.name, each.arithmetic, tile.rows, f"{fmt.packed_bits_per_weight(tile.rows):.4g}")
        for each in targets.TARGETS
        # (Products are the same where a step of a GPU is launches.)
        if each.has_shaders or not each.launches
        for tile in [each.tile(fmt)]
    ]
    header = ("target", "codes are multiplied by", "rows of a tile", "packed bits per weight")
    yield (
        "# Targets\n\nKernels exist for all of them:\n\n" + table([header, *rows], right=(2, 3), header=True)
    )
    columns = min(WIDTH, width(sys.stdout) or WIDTH)
    yield f"# IR\n\n{broken(_abridged(fmt.emit_ir().rstrip()), columns)}"


def _abridged(text: str) -> str:
    """IR without the long lists of codebooks (``--json`` has them)."""

    def shorten(match: re.Match) -> str:
        numbers = match[1].split(", ")
        if len(numbers) <= 300:
            return match[0]
        return f"dense<[{', '.join(numbers[:8])}, … {len(numbers)} numbers]>"

    return re.sub(r"dense<\[([^]]*)\]>", shorten, text)


def _formula(fmt: QuantFormat) -> str:
    value = "w" if not fmt.bias else f"(w {'-' if fmt.bias < 0 else '+'} {abs(fmt.bias)})"
    lines = [f"weight[k] = scale * {value if fmt.table is None else 'table[w]'}"]
    if fmt.min is not None:
        lines[0] += " - minimum"
    for name, factor in fmt.factors:
        letter = name[0]
        parts = zip((letter.upper(), f"{letter}[k / {fmt.group}]"), factor.types, strict=True)
        product = " * ".join(f"{text} ({kind})" for text, kind in parts if kind)
        lines.append(f"{'minimum' if name == 'min' else name} = {product}")
    if fmt.table is not None:
        lines.append(f"table = {' '.join(map(str, fmt.table))}")
    return "\n".join(lines)


def _legend(fmt: QuantFormat) -> str:
    parts = ["w5: the code of weight 5" + (", w5[0] its lowest bit" if fmt.bits > 1 else "")]
    for (name, factor), words in zip(fmt.factors, ("scale", "minimum"), strict=False):
        letter = name[0]
        if factor.super is not None:
            parts.append(f"{letter.upper()}: the {words} of the {'row' if fmt.of_rows(factor) else 'block'}")
        if factor.sub is not None:
            weights = f"weights {fmt.group} to {2 * fmt.group - 1}"
            parts.append(f"{letter}1: the {words} of group 1 ({weights})")
    return "\n".join(parts)


def source_of(fmt: QuantFormat) -> tuple[str, str]:
    """The text of a description with the functions of its module that it uses, and where it stands.

    What is defined interactively has no text.
    """
    from lumen_mlir import formats

    try:
        lines, number = inspect.getsourcelines(fmt.description)
        helpers = [inspect.getsource(function) for function in _helpers(fmt)]
    except (OSError, TypeError):
        return "# (its source is not in a file)", ""
    origin = formats.origin(fmt)
    place = origin.removeprefix("file ") if origin.startswith("file ") else fmt.description.__module__
    texts = [textwrap.dedent(text).rstrip() for text in [*helpers, "".join(lines)]]
    return "\n\n\n".join(texts), f"{place}, line {number}"


def _helpers(fmt: QuantFormat) -> list[Callable]:
    """The functions of the description's own file that it calls, those they call first."""
    found: list[Callable] = []

    def visit(function: Callable) -> None:
        for name in function.__code__.co_names:
            helper = function.__globals__.get(name)
            if (
                inspect.isfunction(helper)
                and helper.__module__ == fmt.description.__module__
                and helper not in found
            ):
                visit(helper)
                found.append(helper)

    visit(vars(fmt.description)["decode"])
    return found


def _packed(fmt: QuantFormat, target: Target) -> str:
    from lumen_mlir.cli.drawing import draw, plane_lines
    from lumen_mlir.formats.packing import components

    tile = target.tile(fmt)
    parts = components(fmt, tile.rows, fmt.block, *tile)
    rows = [("component", "offset", "bytes", "array", "holds")]
    drawings = []
    for part in parts:
        shape = " x ".join(map(str, part.shape))
        dtype = {"uint16": "bf16"}.get(str(part.dtype), str(part.dtype))
        if part.kept is not None:
            holds = _holds(fmt, part)
        else:
            holds = f"{_bits(part)} of the codes"
            drawings.append(
                prose(f"{part.name}: the first load of a tile, [row][k mod {tile.step}]\n\n")
                + draw(plane_lines(fmt, part), width(sys.stdout))
            )
        rows.append((part.name, part.offset, part.bytes, f"{shape} {dtype}", holds))
    head = (
        f"What one block of {fmt.block} columns takes of a tile of {tile.rows} rows. A vector has a row "
        "per lane of 32 bits;\na lane holds the codes of four neighbouring columns, which are multiplied "
        f"and added by {target.arithmetic}."
    )
    return "\n\n".join([prose(head), table(rows, right=(1, 2), header=True), *drawings])


def _bits(part: Component, most: int = 8) -> str:
    """Which bits of each value a component holds; values have ``most`` bits."""
    low, width = part.low, min(part.bits, most)
    return f"bit {low}" if width == 1 else f"bits {low}-{low + width - 1}"


def _holds(fmt: QuantFormat, part: Component) -> str:
    kept = fmt.stored[part.kept]
    word = "scale" if part.name.startswith("scale") else "minimum"
    shared = {"row": "the row", "block": "the block", "group": f"each group of {fmt.group}"}[kept.level]
    return f"{_bits(part, kept.bits)} of what the {word} of {shared} is made from"


def _details(fmt: Format, target: Target) -> dict[str, Any]:
    """What ``show`` adds to the table, for scripts."""
    if fmt.is_float:
        return {}
    from lumen_mlir.formats.packing import components
    from lumen_mlir.formats.storage import segments

    tile = target.tile(fmt)
    fields, offset = [], 0
    for name, kind in fmt.fields.items():
        per = "row" if kind.in_header else "block"
        fields.append({"name": name, "type": str(kind), "offset": offset, "bytes": kind.bytes, "per": per})
        offset += kind.bytes
    packed = [
        {"name": c.name, "offset": c.offset, "bytes": c.bytes, "shape": c.shape, "dtype": str(c.dtype)}
        for c in components(fmt, tile.rows, fmt.block, *tile)
    ]
    return {
        "fields": fields,
        "bits": [
            [{"high": s.high, "low": s.low, "holds": s.label, "elements": s.elements} for s in row]
            for row in segments(fmt)
        ],
        "packed": {"target": target.name, "rows": tile.rows, "step": tile.step, "components": packed},
        "source": source_of(fmt)[0],
        "ir": fmt.emit_ir(),
    }
