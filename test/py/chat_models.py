# SPDX-License-Identifier: Apache-2.0
"""Models for tests of servers: one says a text, one reasons and calls a tool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from server_fixture import Running, serving

from lumen_mlir.testing.scripted import write_scripted

T = TypeVar("T")

TEMPLATE = (
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|end|>{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
# Of a model that does not think.
PLAIN = TEMPLATE.replace(
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}", ""
).partition("{% if enable_thinking")[0]
CONTROL = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", "</s>"]
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

ANSWER = ["안녕", "하세요", "! 저는", " 앵무새", "예요 👩‍👩‍👧", "</s>"]
TEXT = "".join(ANSWER[:-1])

REASONED = ["무엇을", " 할까"]
SAID = ["잠시만", "요."]
CALL = ['{"name": "날씨",', ' "arguments": ', '{"도시":', ' "서울 🌤️"', "}}"]
REASONING, CONTENT = "".join(REASONED), "".join(SAID)
NAME, ARGUMENTS, INPUT = "날씨", '{"도시": "서울 🌤️"}', {"도시": "서울 🌤️"}
PARAMETERS = {
    "type": "object",
    "properties": {"도시": {"type": "string", "enum": ["부산", "서울 🌤️"]}},
    "required": ["도시"],
}
CALLER_TOKENS = [*["<think>", *REASONED, "</think>"], *SAID, *["<tool_call>", *CALL, "</tool_call>", "</s>"]]


def write_models(folder: Path) -> list[str]:
    """The files of both: "parrot" says ``TEXT``, "caller" calls a tool."""
    paths = [folder / "parrot.gguf", folder / "caller.gguf"]
    described = {"control": CONTROL, "user_defined": MARKS, "eos": "</s>", "context": 512}
    for path, script, template in zip(paths, (ANSWER, CALLER_TOKENS), (PLAIN, TEMPLATE), strict=True):
        write_scripted(path, ["<|assistant|>", *script], template=template, **described)
    return [str(path) for path in paths]


@contextlib.contextmanager
def serving_both(folder: Path, **settings: object) -> Iterator[Running]:
    """A server of both models."""
    with serving(*write_models(folder), options={"engine": "reference"}, **settings) as running:
        yield running


def call(server: Running, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives in the loop of the server."""
    return asyncio.run_coroutine_threadsafe(work, server._process._loop).result(60)


def check_given_up(server: Running, path: str, body: dict[str, Any]) -> None:
    """A text that takes long is not written to its end for a client that goes amid it."""
    name, labels = "vllm:request_success_total", {"finished_reason": "abort"}
    before = server.metric(name, **labels)
    with server.client.stream("POST", path, json=body) as response:
        for line in response.iter_lines():
            if "delta" in line or "response" in line:
                break
    server.wait(lambda: server.metric(name, **labels) == before + 1)
    assert server.server.metrics.open_requests == 0
