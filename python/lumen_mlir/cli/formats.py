# SPDX-License-Identifier: Apache-2.0
"""``lumen formats``."""

from __future__ import annotations

import click

from lumen_mlir.cli.table import columns


@click.group(short_help="List the quantization formats, or show one.", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the quantization formats, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_formats)


@command.command("list")
def list_formats() -> None:
    """A table of all formats: what a file stores, and what kernels read after packing."""
    from lumen_mlir import formats

    header = ("name", "ggml id", "block", "bytes", "bits", "packed", "codes", "group", "minimum", "values")
    rows = []
    for name in formats.names():
        fmt = formats.get(name)
        number = "-" if fmt.ggml_type is None else fmt.ggml_type
        if fmt.is_float:
            size = fmt.bytes_per_block
            rows.append((name, number, 1, size, 8 * size, 8 * size, "-", "-", "-", "floats"))
            continue
        bits, packed = f"{fmt.bits_per_weight:.4g}", f"{fmt.packed_bits_per_weight():.4g}"
        minimum, values = "no" if fmt.min is None else "yes", "table" if fmt.table else f"code {fmt.bias:+d}"
        row = (name, number, fmt.block, fmt.bytes_per_block, bits, packed, fmt.bits, fmt.group)
        rows.append((*row, minimum, values if fmt.table or fmt.bias else "code"))
    click.echo(columns([header, *rows], right=range(1, 8)))
    click.echo(
        "\nblock, bytes: weights of a block and their bytes in a file; bits, packed: per weight in a file,"
        "\nand as kernels read them; codes: bits of a code; group: weights that share a scale"
    )


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Show the one description of the format NAME: the Python that defines it and the IR made of it."""
    import inspect

    from lumen_mlir import formats

    fmt = formats.get(name)
    if fmt.is_float:
        click.echo(f"# {fmt.name} is a plain element type: it needs no description")
        return
    click.echo(inspect.getsource(fmt.description).rstrip())
    click.echo("\n" + fmt.emit_ir().rstrip())
