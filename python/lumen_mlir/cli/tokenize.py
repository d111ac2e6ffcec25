# SPDX-License-Identifier: Apache-2.0
"""``lumen tokenize``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import say, show
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import read_text, text_of

if TYPE_CHECKING:
    from lumen_mlir.text.tokenizer import Tokenizer


@click.command(short_help="Turn text into tokens.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", callback=shared.several_models)
@shared.model_option
@click.option("-p", "--prompt", metavar="TEXT", help="The text.  [default: what stdin has]")
@click.option("-f", "--file", metavar="FILE", help="A file with the text.")
@click.option("--ids", is_flag=True, help="Only the ids, on one line.")
@shared.json_option
@click.option("--bos/--no-bos", default=None, help="Begin with the token that begins a text.")
@click.option(
    "--special/--no-special",
    default=True,
    show_default=True,
    help="Control tokens written in the text, such as <|im_end|>, become their ids.",
)
@click.option(
    "--stats", metavar="FILE", help="Count tokens per word and per Hangul syllable of FILE, for each MODEL."
)
@shared.pre_tokenizer_option
def command(
    models: tuple[str, ...],
    prompt: str | None,
    file: str | None,
    ids: bool,
    as_json: bool,
    bos: bool | None,
    special: bool,
    stats: str | None,
    pre_tokenizer: str | None,
) -> None:
    """Turn text into the tokens of MODEL: its id and its text, one token a line.

    \b
      lumen tokenize model.gguf -p "한국어 문장"
      echo "한국어 문장" | lumen tokenize model.gguf --ids | lumen detokenize model.gguf
      lumen tokenize --stats korean.txt a.gguf b.gguf     which one needs fewer tokens
    """
    from lumen_mlir.errors import LumenError

    if stats is not None:
        _stats(models or (None,), stats, pre_tokenizer, as_json)
        return
    if len(models) > 1:
        raise LumenError(f"{len(models)} models were given; several need --stats FILE")
    tokenizer = open_tokenizer(models[0] if models else None, pre_tokenizer)
    found = tokenizer.encode(text_of(prompt, file), special=special, add_bos=bos)
    if as_json:
        texts = [tokenizer.token_text(token) for token in found]
        click.echo(json.dumps({"ids": found, "tokens": texts}, ensure_ascii=False))
    elif ids:
        click.echo(" ".join(map(str, found)))
    elif found:
        show([(token, _shown(tokenizer, token)) for token in found], right=(0,))


def open_tokenizer(model: str | None, pre_tokenizer: str | None) -> Tokenizer:
    """The tokenizer of a model file; nothing else of it is read."""
    from lumen_mlir.gguf.description import label
    from lumen_mlir.storage.cache import Cache
    from lumen_mlir.text.tokenizer import Tokenizer

    file = Reporter().open_file(model, pre_tokenizer=pre_tokenizer)
    return Tokenizer.from_gguf(file, Cache().labelled(label(file)), pre_tokenizer)


def _shown(tokenizer: Tokenizer, token: int) -> str:
    """The token's text in quotes; bytes that are no whole characters as ``\\xed``."""
    data = tokenizer.token_bytes(token, special=True)
    text = data.decode("utf-8", "backslashreplace")
    return json.dumps(text, ensure_ascii=False).replace("\\\\x", "\\x")


def _stats(models: tuple[str | None, ...], file: str, pre_tokenizer: str | None, as_json: bool) -> None:
    from lumen_mlir.text.token_stats import token_stats

    text = read_text(file)
    results = []
    for model in models:
        tokenizer = open_tokenizer(model, pre_tokenizer)
        results.append((model or "the model of Lumen", len(tokenizer), token_stats(tokenizer, text)))
    if as_json:
        objects = [
            {
                "model": model,
                "vocabulary": size,
                **vars(stats),
                "tokens_per_word": stats.per_word,
                "tokens_per_hangul_syllable": stats.per_syllable,
                "bytes_per_token": stats.bytes_per_token,
            }
            for model, size, stats in results
        ]
        click.echo(json.dumps(objects, ensure_ascii=False, indent=2))
        return
    first = results[0][2]
    say(
        f"{file}: {first.bytes:,} bytes, {first.characters:,} characters, {first.words:,} words, "
        f"{first.hangul:,} Hangul syllables\n"
    )
    header = ("model", "vocabulary", "tokens", "per word", "per Hangul syllable", "bytes per token")
    rows = [
        (
            model,
            f"{size:,}",
            f"{stats.tokens:,}",
            f"{stats.per_word:.3f}",
            "-" if stats.per_syllable is None else f"{stats.per_syllable:.3f}",
            f"{stats.bytes_per_token:.3f}",
        )
        for model, size, stats in results
    ]
    show([header, *rows], right=(1, 2, 3, 4, 5), header=True)
