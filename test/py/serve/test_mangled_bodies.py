# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a body, the answer is one, or says in the form of the API what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import chat_models as models
import pytest

VALUES: list[Any] = [None, 1e300, "x", [None], {"type": 3}]

_FUNCTION = {"name": models.NAME, "description": "날씨", "parameters": models.PARAMETERS}
_CALL = {"id": "a", "type": "function", "function": {"name": models.NAME, "arguments": "{}"}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "caller",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {"role": "assistant", "content": "!", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ],
        "tools": [{"type": "function", "function": _FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": models.NAME}},
        "stop": ["a"],
        "max_tokens": 1,
        "response_format": {"type": "text"},
    },
    "/v1/embeddings": {
        "model": "caller",
        "input": ["?", [1, 2]],
        "encoding_format": "float",
        "dimensions": 8,
    },
    "/api/embed": {
        "model": "caller",
        "input": ["?", "!"],
        "truncate": True,
        "dimensions": 8,
        "options": {"num_ctx": 8},
        "keep_alive": "5m",
    },
    "/v1/messages": {
        "model": "caller",
        "system": [{"type": "text", "text": "x"}],
        "messages": [
            {"role": "user", "content": "?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "x", "signature": ""},
                    {"type": "tool_use", "id": "a", "name": models.NAME, "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}]}
                ],
            },
        ],
        "tools": [{"name": models.NAME, "description": "날씨", "input_schema": models.PARAMETERS}],
        "tool_choice": {"type": "tool", "name": models.NAME, "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1},
        "stop_sequences": ["a"],
        "max_tokens": 1,
    },
    "/v1/responses": {
        "model": "caller",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "?"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]},
            {"type": "function_call", "call_id": "a", "name": models.NAME, "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "x"},
        ],
        "tools": [{"type": "function", **_FUNCTION}],
        "tool_choice": {"type": "function", "name": models.NAME},
        "reasoning": {"effort": "high"},
        "text": {"format": {"type": "text"}},
        "include": ["message.output_text.logprobs"],
        "max_output_tokens": 1,
    },
    "/api/chat": {
        "model": "caller",
        "messages": [
            {"role": "user", "content": "?"},
            {
                "role": "assistant",
                "content": "!",
                "tool_calls": [{"function": {"name": models.NAME, "arguments": {}}}],
            },
            {"role": "tool", "tool_name": models.NAME, "content": "x"},
        ],
        "tools": [{"type": "function", "function": _FUNCTION}],
        "options": {"num_predict": 1, "stop": ["a"], "temperature": 0},
        "think": False,
        "keep_alive": "5m",
    },
    "/api/generate": {
        "model": "caller",
        "prompt": "?",
        "system": "x",
        "format": {"type": "object", "properties": {"a": {"type": "string"}}},
        "options": {"num_predict": 1, "seed": 1},
    },
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers and keys of a body."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with models.serving_both(tmp_path_factory.mktemp("models")) as running:
        yield running


@pytest.mark.parametrize("path", BODIES)
def test_mangled_bodies(server, path):
    body = {**BODIES[path], "stream": False}
    answer = server.post(path, body)
    assert answer.status_code == 200, answer.text
    count = len(list(places(body)))
    for number in range(count):
        for value in VALUES:
            mangled = copy.deepcopy(body)
            container, key = list(places(mangled))[number]
            container[key] = value
            if value is None and key in ("num_predict", "max_output_tokens", "options", "max_tokens"):
                continue  # then there is much to write
            answer = server.post(path, mangled)
            assert answer.status_code in (200, 400, 404), (mangled, answer.text)
            if answer.status_code != 200:
                error = answer.json()["error"]
                said = error if isinstance(error, str) else error["message"]
                assert said and "\n" not in said
