# SPDX-License-Identifier: Apache-2.0
"""A grammar as it is asked for: what kind it is of, and its text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lumen_mlir.errors import LumenError, shown

JSON_SCHEMA, REGEX, LARK, GBNF = "JSON schema", "regular expression", "Lark grammar", "GBNF grammar"

# Rules of Lark have a colon there.
_GBNF_RULE = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.M)

# Characters of a grammar.
_MOST = 1 << 18


class GrammarError(LumenError):
    """A grammar that cannot be compiled, or a text that cannot be written by one."""


@dataclass(frozen=True)
class Grammar:
    """What a text must match from its first character to its last.

    A value: it is not compiled, and two of the same text are equal. ``LLM.compile_grammar`` says whether it
    can be used. The functions below make one, and raise ``GrammarError`` for what is no text, or is longer
    than 262,144 characters.

    Attributes:
      kind: in words, such as "JSON schema".
      text: the schema as JSON, the pattern, or the rules.
      lead: rules in the form of Lark; what stands before the text must match their rule ``lead``.
    """

    kind: str
    text: str
    lead: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise GrammarError(f"the {self.kind} is {shown(self.text)}; text was expected")
        if len(self.text) > _MOST:
            raise GrammarError(f"the {self.kind} has {len(self.text):,} characters; at most {_MOST:,} may be")
        try:
            self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise GrammarError(
                f"the {self.kind} is not valid Unicode: character {error.start} is "
                f"U+{ord(self.text[error.start]):04X}"
            ) from None

    def __repr__(self) -> str:
        return f"<Grammar: {self.kind} {shown(self.text)}>"

    @staticmethod
    def json_schema(schema: str | bool | Mapping[str, Any]) -> Grammar:
        """JSON that fits a schema (draft 2020-12), given as JSON or as what ``json.loads`` makes of it.

        Properties come in the order of the schema.
        """
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError) as error:
                raise GrammarError(f"the {JSON_SCHEMA} is no JSON: {error}") from None
        if not isinstance(schema, (Mapping, bool)):
            raise GrammarError(f"the {JSON_SCHEMA} is {shown(schema)}; an object was expected")
        try:
            # (Escapes, so that halves of surrogate pairs are told of by what reads them.)
            text = json.dumps(schema if isinstance(schema, bool) else dict(schema), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise GrammarError(f"the {JSON_SCHEMA} cannot be written as JSON: {error}") from None
        return Grammar(JSON_SCHEMA, text)

    @staticmethod
    def json_object() -> Grammar:
        """Any object of JSON."""
        return Grammar.json_schema({"type": "object"})

    @staticmethod
    def regex(pattern: str) -> Grammar:
        """A text that a regular expression matches as a whole, in the syntax of Rust's ``regex``."""
        return Grammar(REGEX, pattern)

    @staticmethod
    def choice(texts: Sequence[str]) -> Grammar:
        """One of several texts, which is a regular expression."""
        if isinstance(texts, str) or not isinstance(texts, Sequence) or not texts:
            raise GrammarError(f"the choice is {shown(texts)}; a list of texts was expected")
        for text in texts:
            if not isinstance(text, str):
                raise GrammarError(f"the choice has {shown(text)}; text was expected")
        return Grammar.regex("|".join(map(re.escape, texts)))

    @staticmethod
    def rules(text: str) -> Grammar:
        """A Lark grammar, or a GBNF grammar, whose rules have ``::=`` in them."""
        return Grammar.gbnf(text) if isinstance(text, str) and _GBNF_RULE.search(text) else Grammar.lark(text)

    @staticmethod
    def lark(text: str) -> Grammar:
        """Rules in the form of Lark, as llguidance has it; the first one is ``start``."""
        return Grammar(LARK, text)

    @staticmethod
    def gbnf(text: str) -> Grammar:
        """Rules in the form of llama.cpp; the first one is ``root``."""
        return Grammar(GBNF, text)
