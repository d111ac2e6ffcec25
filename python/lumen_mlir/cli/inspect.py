# SPDX-License-Identifier: Apache-2.0
"""``lumen inspect``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import show
from lumen_mlir.cli.report import Reporter

if TYPE_CHECKING:
    from lumen_mlir.gguf.model_file import ModelFile


@click.command(short_help="Show what a model file holds.")
@shared.model_argument
@click.option("--tensors", is_flag=True, help="List the tensors.")
@click.option("--metadata", is_flag=True, help="List the metadata.")
def command(model: str | None, tensors: bool, metadata: bool) -> None:
    """Show what MODEL, a GGUF file or a Hugging Face folder, holds, and whether Lumen can run it."""
    file = Reporter().open_file(model)
    show(list(_facts(file)))
    if metadata:
        keys = [(key, file.metadata.type_name(key), _value(file, key)) for key in file.metadata]
        click.echo()
        show(keys)
    if tensors:
        rows = [
            (info.name, " x ".join(map(str, info.shape)), info.type, f"{info.nbytes:,}", f"{info.offset:,}")
            for info in file.tensors.values()
        ]
        click.echo()
        show([("tensor", "shape", "type", "bytes", "offset"), *rows], right=(3, 4), header=True)


def _facts(file: ModelFile) -> Iterator[tuple[str, str]]:
    from lumen_mlir.gguf import description

    metadata = file.metadata
    yield "file", f"{file.path}, {description.size_text(file.size)}, {file.kind}"
    yield "name", _printable(metadata.label("general.name", "-"))
    yield "architecture", _printable(metadata.label("general.architecture", "-"))
    count = description.short_count(description.parameter_count(file))
    yield "parameters", f"{count} in {len(file.tensors)} tensors"
    yield "type", description.file_type(file)
    for kind, (count, elements, size) in _kinds(file).items():
        bits = 8 * size / elements
        yield (
            f"  {kind}",
            f"{count} tensors, {description.short_count(elements)} weights of {bits:.4g} bits, "
            f"{description.size_text(size)}",
        )
    yield from _hyperparameters(file)
    yield "tokenizer", _tokenizer(file)
    yield "chat template", "yes" if "tokenizer.chat_template" in metadata else "no"


def _kinds(file: ModelFile) -> dict[str, tuple[int, int, int]]:
    """(tensors, weights, bytes) of each type, the largest first."""
    found: dict[str, tuple[int, int, int]] = {}
    for info in file.tensors.values():
        count, elements, size = found.get(info.type, (0, 0, 0))
        found[info.type] = count + 1, elements + math.prod(info.shape), size + info.nbytes
    return dict(sorted(found.items(), key=lambda item: -item[1][2]))


def _hyperparameters(file: ModelFile) -> Iterator[tuple[str, str]]:
    from lumen_mlir.errors import LumenError
    from lumen_mlir.formats.kv_cache import PAGE
    from lumen_mlir.gguf import description
    from lumen_mlir.models import Model

    try:
        config = Model.open(file).config
    except LumenError as error:
        yield "runs", f"no: {str(error).removeprefix(f'{file.path}: ')}"
        return
    yield "runs", "yes"
    yield "context", f"{config.context:,} tokens"
    yield "layers", f"{config.layers} of width {config.width}, feed-forward {config.feed_forward}"
    yield "attention", f"{config.heads} heads, {config.kv_heads} for keys and values, of {config.head_size}"
    for window, layers in config.windows.items():
        if window is not None:
            yield "sliding window", f"{window:,} tokens in {layers} of {config.layers} layers"
    for rope in config.ropes:
        yield "RoPE", str(rope)
    if experts := config.experts:
        shared = f", one of width {experts.shared} for all" if experts.shared else ""
        yield (
            "experts",
            f"{experts.used} of {experts.count} of width {experts.feed_forward} by {experts.gating}{shared}",
        )
    per_token = 2 * 2 * config.windows.get(None, 0) * config.kv_width
    windows = sum(
        2 * 2 * layers * config.kv_width * PAGE * config.cache_pages(window, config.context, 512)
        for window, layers in config.windows.items()
        if window is not None
    )
    bounded = f", {description.size_text(windows)} for sliding windows" if windows else ""
    yield "KV cache", f"{per_token:,} bytes per token (f16){bounded}"


def _tokenizer(file: ModelFile) -> str:
    metadata = file.metadata
    if "tokenizer.ggml.tokens" not in metadata:
        return "none"
    kind = metadata.label("tokenizer.ggml.model", "-")
    pre = metadata.label("tokenizer.ggml.pre", "-")
    count = len(metadata.strings("tokenizer.ggml.tokens"))
    return f"{_printable(kind)}, pre-tokenizer {_printable(pre)}, {count:,} tokens"


def _value(file: ModelFile, key: str) -> str:
    value = file.metadata.label(key) if file.metadata.type_name(key) == "string" else file.metadata[key]
    if isinstance(value, str):
        text = _printable(value[:61])
        return text if len(text) <= 60 else text[:60] + "…"
    if hasattr(value, "__len__"):
        return f"{len(value):,} elements"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """On one line, without characters that steer a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
