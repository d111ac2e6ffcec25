# SPDX-License-Identifier: Apache-2.0
"""Models for tests of servers: one says a text, one reasons and calls a tool."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from server_fixture import Running, serving

from lumen_mlir.testing.scripted import write_scripted
from lumen_mlir.text.answer_delta import Delta

T = TypeVar("T")

TEMPLATE = (
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|end|>{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}{% endif %}"
)
CONTROL = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", "</s>"]
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

ANSWER = ["안녕", "하세요", "! 저는", " 앵무새", "예요 👩‍👩‍👧", "</s>"]
TEXT = "".join(ANSWER[:-1])

REASONED = ["무엇을", " 할까"]
SAID = ["잠시만", "요."]
CALL = ['{"name": "날씨",', ' "arguments": ', '{"도시":', ' "서울 🌤️"', "}}"]
REASONING, CONTENT = "".join(REASONED), "".join(SAID)
NAME, ARGUMENTS, INPUT = "날씨", '{"도시": "서울 🌤️"}', {"도시": "서울 🌤️"}
PARAMETERS = {"type": "object", "properties": {"도시": {"type": "string"}}, "required": ["도시"]}
CALLER_TOKENS = [*["<think>", *REASONED, "</think>"], *SAID, *["<tool_call>", *CALL, "</tool_call>", "</s>"]]


class MarkedParser:
    """Tells apart what stands between ``MARKS``, as the template writes it."""

    reasons = False

    def __init__(self) -> None:
        self._text, self._place, self._call = "", CONTENT, ""

    def feed(self, text: str) -> Sequence[Delta]:
        """See ``AnswerParser``."""
        deltas = []
        # (Marks are tokens, so they come whole.)
        for piece in re.split(f"({'|'.join(MARKS)})", text):
            if piece in MARKS:
                self._place, self._call = piece, ""
            elif piece:
                deltas += self._part(piece)
        return deltas

    def _part(self, text: str) -> list[Delta]:
        if self._place == "<think>":
            return [Delta(reasoning=text)]
        if self._place != "<tool_call>":
            return [Delta(content=text)]
        before, self._call = self._call, self._call + text
        head = re.match(r'\{"name": "(.*?)", "arguments": ', self._call)
        if head is None:
            return []
        deltas = [Delta(name=head[1], id="call_1")] if len(before) < head.end() else []
        # The brace of the call itself comes last.
        new = (
            self._call[head.end() :].removesuffix("}")
            if self._call.endswith("}}")
            else self._call[head.end() :]
        )
        old = before[head.end() :]
        return [*deltas, Delta(arguments=new[len(old) :])] if new[len(old) :] else deltas

    def finish(self) -> Sequence[Delta]:
        """See ``AnswerParser``."""
        return []


def write_models(folder: Path) -> list[str]:
    """The files of both: "parrot" says ``TEXT``, "caller" calls a tool."""
    paths = [folder / "parrot.gguf", folder / "caller.gguf"]
    described = {"control": CONTROL, "user_defined": MARKS, "eos": "</s>", "template": TEMPLATE}
    for path, script in zip(paths, (ANSWER, CALLER_TOKENS), strict=True):
        write_scripted(path, ["<|assistant|>", *script], context=512, **described)
    return [str(path) for path in paths]


@contextlib.contextmanager
def serving_both(folder: Path, **settings: object) -> Iterator[Running]:
    """A server of both models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lumen_mlir.serve.completion.PlainParser", MarkedParser)
        with serving(*write_models(folder), options={"engine": "reference"}, **settings) as running:
            yield running


def call(server: Running, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives in the loop of the server."""
    return asyncio.run_coroutine_threadsafe(work, server._process._loop).result(60)
