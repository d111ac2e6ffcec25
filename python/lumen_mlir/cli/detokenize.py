# SPDX-License-Identifier: Apache-2.0
"""``lumen detokenize``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.generate import write
from lumen_mlir.cli.tokenize import open_tokenizer
from lumen_mlir.errors import LumenError


@click.command(short_help="Turn tokens into text.")
@shared.model_argument
@click.option("--ids", metavar="IDS", help="The ids, such as '9707 11'.  [default: what stdin has]")
@shared.json_option
@click.option("--special", is_flag=True, help="Print control tokens too.")
@click.option(
    "--clean-spaces", is_flag=True, help="Drop the space before punctuation where the model's family does."
)
@shared.pre_tokenizer_option
def command(
    model: str | None,
    ids: str | None,
    as_json: bool,
    special: bool,
    clean_spaces: bool,
    pre_tokenizer: str | None,
) -> None:
    """Turn token ids of MODEL into text, as they come.

    Ids are numbers with white space or commas between them; brackets are passed over, so JSON lists will do.
    """
    tokenizer = open_tokenizer(model, pre_tokenizer)
    numbers = _numbers([ids] if ids is not None else _lines())
    if as_json or clean_spaces or ids is not None:
        found = list(numbers)
        text = tokenizer.decode(found, special=special, clean_spaces=clean_spaces)
        if as_json:
            texts = [tokenizer.token_text(token) for token in found]
            text = json.dumps({"text": text, "ids": found, "tokens": texts}, ensure_ascii=False)
        write(text + "\n")
        return
    stream = tokenizer.stream(special, begins=True)
    for token in numbers:
        write(stream.feed(token))
    write(stream.finish() + "\n")


def _lines() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace")


def _numbers(texts: Iterator[str] | list[str]) -> Iterator[int]:
    for text in texts:
        for word in re.split(r"[\s,\[\]]+", text):
            if word:
                if not re.fullmatch(r"-?\d{1,18}", word):
                    raise LumenError(f"'{word[:40]}' is no token id: whole numbers were expected")
                yield int(word)
