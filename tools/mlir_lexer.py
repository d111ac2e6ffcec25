# SPDX-License-Identifier: Apache-2.0
"""Colours of IR on the site: a lexer for Pygments, which has none for MLIR."""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer
from pygments.lexers import LEXERS
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text

__all__ = ["MlirLexer"]  # which Pygments reads


class MlirLexer(RegexLexer):
    """Values, symbols, types, attributes and names of ops; anything else is text."""

    name = "MLIR"
    aliases: ClassVar[list[str]] = ["mlir"]
    tokens: ClassVar[dict] = {
        "root": [
            (r"\s+", Text),
            (r"//.*?$", Comment.Single),
            (r"/\*.*?\*/", Comment.Multiline),
            (r'"(?:\\.|[^"\\])*"', String),
            (r"%[\w$.#-]+", Name.Variable),
            (r"@[\w$.]+", Name.Function),
            (r"\^\w+", Name.Label),
            (r"[!#][a-zA-Z_][\w.]*", Keyword.Type),
            (r"(?:tensor|memref|vector|tuple)(?=<)", Keyword.Type),
            (r"(?:[su]?i\d+|b?f\d+|index|none)\b", Keyword.Type),
            # Sizes of a shape, and the type behind them: 4x?x16xf32.
            (r"(?:(?:\d+|\?)x)+(?=[a-z!])", Number),
            (r"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|0x[0-9a-fA-F]+", Number),
            (r"[a-z_]\w*(?:\.[a-z_][\w.]*)+", Name.Builtin),
            (r"(?:attributes|return|private|public|step|to|else|ins|outs|dense|true|false)\b", Keyword),
            (r"\w+", Text),
            (r"->|=|:", Operator),
            (r"[^\w\s]", Punctuation),
        ]
    }


def register() -> None:
    """Makes ``mlir`` a language of listings."""
    LEXERS["MlirLexer"] = (__name__, "MLIR", ("mlir",), (), ())
