# SPDX-License-Identifier: Apache-2.0
"""Requests of OpenAI's API, made of the parameters of ``LLM.generate`` and ``LLM.chat``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.grammar.grammar import GBNF, JSON_SCHEMA, LARK, REGEX, Grammar

# What is called the same; ``top_k`` and others are no names of OpenAI's, but of many servers.
_SAME = (
    "max_tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "typical_p", "presence_penalty",
    "frequency_penalty", "stop", "stop_token_ids", "ignore_eos", "priority", "tools", "prompt", "messages",
)  # fmt: skip
# Nothing is sent of them: how answers are shown, and what a server decides.
_HERE = ("special", "speculate")


def body_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request with these parameters; those that are None are left out.

    Values are checked by the server. Raises ``LumenError`` for a parameter that the API does not have.
    """
    given = {name: value for name, value in parameters.items() if value is not None and name not in _HERE}
    body = {name: given.pop(name) for name in _SAME if name in given}
    if (seed := given.pop("seed", -1)) != -1:
        body["seed"] = seed
    if "logit_bias" in given:
        biases = given.pop("logit_bias")
        if not isinstance(biases, Mapping):
            raise LumenError(f"logit_bias is {shown(biases)}; ids of tokens with numbers were expected")
        body["logit_bias"] = {str(token): bias for token, bias in biases.items()}
    variables = dict(given.pop("variables", {}))
    if "enable_thinking" in given:
        variables["enable_thinking"] = given.pop("enable_thinking")
    if variables:
        body["chat_template_kwargs"] = variables
    if "grammar" in given:
        body |= _grammar(given.pop("grammar"))
    for name in given:
        raise LumenError(f"a server takes no {name}")
    return body


def _grammar(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind == JSON_SCHEMA:
        schema = {"name": "answer", "schema": json.loads(grammar.text)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if grammar.kind == REGEX:
        return {"guided_regex": grammar.text}
    if grammar.kind in (LARK, GBNF):
        return {"grammar": grammar.text}
    raise LumenError(f"a server takes no {grammar.kind}")
