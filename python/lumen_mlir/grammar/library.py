# SPDX-License-Identifier: Apache-2.0
"""Grammars in the words of llguidance, and how far it may go with them."""

from __future__ import annotations

import json
from typing import Any

from lumen_mlir.grammar.gbnf import lark_of_gbnf
from lumen_mlir.grammar.grammar import GBNF, JSON_SCHEMA, LARK, REGEX, Grammar, GrammarError

# Between the parts of JSON stands a space, or a new line and what indents it: a text cannot go on with
# nothing but space. A schema may say otherwise in "x-guidance", which is llguidance's.
_SPACE: Any = {"whitespace_pattern": r" |\n[ \t]{0,40}"}


def limits() -> Any:
    """So that a grammar takes 0.1 s at most for a mask, and 50 MB."""
    import llguidance

    return llguidance.LLParserLimits(step_max_items=20_000, max_lexer_states=20_000, verbose_errors=False)


def library_text(grammar: Grammar) -> str:
    """The text that ``llguidance.LLMatcher`` takes. Raises ``GrammarError``."""
    text = _without_lead(grammar)
    if not grammar.lead:
        return text
    # A list of grammars, of which the first refers to the second.
    inner = json.loads(text)["grammars"][0] if text.startswith("{") else {"lark_grammar": text}
    outer = f"%llguidance {{}}\nstart: lead @text\n{grammar.lead}"
    return json.dumps({"grammars": [{"lark_grammar": outer}, {**inner, "name": "text"}]})


def _without_lead(grammar: Grammar) -> str:
    import llguidance

    if grammar.kind == JSON_SCHEMA:
        schema = json.loads(grammar.text)
        if schema is False:
            raise GrammarError(f"the {JSON_SCHEMA} is false, which nothing fits")
        text = "{}" if schema is True else grammar.text
        own = schema is not True and "x-guidance" in schema
        return llguidance.LLMatcher.grammar_from_json_schema(text, defaults=None if own else _SPACE)
    if grammar.kind == REGEX:
        # (The library puts it between slashes, the last of which would be escaped.)
        if (len(grammar.text) - len(grammar.text.rstrip("\\"))) % 2:
            raise GrammarError(
                f"the {REGEX} cannot be used: incomplete escape (at its character {len(grammar.text)})"
            )
        return llguidance.LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == GBNF:
        return lark_of_gbnf(grammar.text)
    if grammar.kind == LARK:
        # The library would read a list of grammars, with options of its own.
        if grammar.text.lstrip().startswith("{"):
            raise GrammarError(f"the {LARK} begins with {{; rules were expected")
        return grammar.text
    raise GrammarError(f"'{grammar.kind}' is no kind of grammar")
