# SPDX-License-Identifier: Apache-2.0
"""Requests as ollama's clients send them."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from lumen_mlir.errors import shown
from lumen_mlir.grammar.grammar import Grammar
from lumen_mlir.serve.chat import ChatAsk
from lumen_mlir.serve.fields import string_of, wrong
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel

# Of Go's durations.
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
# Tokens that ``repeat_penalty`` looks at.
_REPEAT_LAST = 64

_SAME = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "seed", "stop",
)  # fmt: skip


class Options(msgspec.Struct, kw_only=True):
    """How tokens are drawn. What ollama's models are loaded with is the server's to say, and ignored."""

    num_predict: int | None = None
    num_ctx: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    mirostat: int | None = None
    tfs_z: float | None = None

    def sampling(self) -> dict[str, Any]:
        """Parameters of ``LLM.generate``. Raises ``Problem`` for ways to draw that are not here."""
        if self.mirostat:
            raise Problem(400, f"options.mirostat is {self.mirostat}; only 0 is known", field="options")
        if self.tfs_z not in (None, 1):
            raise Problem(400, f"options.tfs_z is {self.tfs_z:g}; only 1 is known", field="options")
        chosen = {name: getattr(self, name) for name in _SAME}
        if self.repeat_last_n == 0:
            chosen["repeat_penalty"] = 1.0
        elif self.repeat_last_n not in (None, _REPEAT_LAST) and self.repeat_penalty not in (None, 1):
            said = f"options.repeat_last_n is {self.repeat_last_n}; 0 or {_REPEAT_LAST} was expected"
            raise Problem(400, said, field="options")
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def max_tokens(self) -> int | None:
        """None for any number."""
        return self.num_predict if self.num_predict is not None and self.num_predict > 0 else None

    def check(self, model: ServedModel) -> None:
        """Raises ``Problem`` where the context is to be longer than it is."""
        if self.num_ctx is not None and self.num_ctx > model.llm.context:
            said = f"options.num_ctx is {self.num_ctx}, but the context is {model.llm.context} tokens"
            raise Problem(400, said, field="options")


class TextBody(msgspec.Struct, kw_only=True):
    """What all texts have in common."""

    model: str
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: int | float | str | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def is_empty(self) -> bool:
        """Only the model is to be loaded, or unloaded."""
        raise NotImplementedError

    @property
    def chosen(self) -> Options:
        """The options."""
        return self.options or Options()

    @property
    def keep(self) -> float | None:
        """Seconds that the model stays afterwards; None where the server says it. Raises ``Problem``."""
        return None if self.keep_alive is None else seconds_of(self.keep_alive)

    def parameters(self) -> dict[str, Any]:
        """Of ``LLM.generate``. Raises ``Problem``."""
        parameters = self.chosen.sampling()
        if self.logprobs or self.top_logprobs:
            parameters["logprobs"] = self.top_logprobs or 0
        return parameters

    def grammar(self) -> Grammar | None:
        """That the answer has to follow. Raises ``Problem``."""
        if isinstance(self.format, dict) and self.format:
            return Grammar.json_schema(self.format)
        if self.format not in (None, "", {}, "json"):
            raise wrong("format", self.format, "json or a JSON Schema")
        return Grammar.json_object() if self.format == "json" else None

    def asked(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> ChatAsk:
        """The answer to ``messages`` that is asked for. Raises ``Problem``."""
        thinking = self.think if isinstance(self.think, bool) else None
        return ChatAsk(
            messages=messages,
            parameters=self.parameters(),
            max_tokens=self.chosen.max_tokens,
            tools=tools,
            thinking=thinking,
            effort=self.think if isinstance(self.think, str) else None,
            grammar=self.grammar(),
        )


class OllamaChatBody(TextBody, kw_only=True):
    """See ollama's reference."""

    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None

    @property
    def is_empty(self) -> bool:
        """See ``TextBody``."""
        return not self.messages

    def ask(self) -> ChatAsk:
        """What is asked for. Raises ``Problem``."""
        found = [_message(f"messages[{index}]", each) for index, each in enumerate(self.messages or ())]
        return self.asked(found, self.tools or None)


def _message(where: str, message: dict[str, Any]) -> dict[str, Any]:
    """A message in the form of OpenAI's."""
    if message.get("images"):
        raise _images(f"{where}.images")
    found = {"role": string_of(where, message, "role"), "content": message.get("content")}
    for name, value in (
        ("name", message.get("tool_name")),
        ("reasoning_content", message.get("thinking")),
        ("tool_calls", message.get("tool_calls")),
        ("tool_call_id", message.get("tool_call_id")),
    ):
        if value:
            found[name] = value
    return found


def _images(where: str) -> Problem:
    return Problem(400, f"{where} are given; the model reads text only", field=where.partition("[")[0])


class GenerateBody(TextBody, kw_only=True):
    """See ollama's reference."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[Any] | None = None

    @property
    def is_empty(self) -> bool:
        """See ``TextBody``."""
        return not self.prompt

    def check(self) -> None:
        """Raises ``Problem`` for what is not here."""
        for name, why in (
            ("suffix", "text is only continued here, not filled in"),
            ("template", "the model's own holds, or none with raw"),
            ("context", "it is not kept; /api/chat takes the messages"),
        ):
            if getattr(self, name):
                raise Problem(400, f"{name} is given; {why}", field=name)
        if self.images:
            raise _images("images")
        if self.raw and self.system:
            raise Problem(400, "system is given, which is no part of a raw prompt", field="system")

    def ask(self) -> ChatAsk:
        """What is asked for, where the prompt is not raw. Raises ``Problem``."""
        messages = [{"role": "user", "content": self.prompt or ""}]
        if self.system:
            messages.insert(0, {"role": "system", "content": self.system})
        return self.asked(messages, None)


def seconds_of(given: int | float | str) -> float:
    """A duration: a number of seconds, or as Go writes it, such as "1h30m"; less than 0 is for ever.

    Raises ``Problem``.
    """
    if not isinstance(given, str):
        seconds = float(given)
    else:
        sign, text = (-1.0, given[1:]) if given.startswith("-") else (1.0, given.removeprefix("+"))
        if re.fullmatch(r"\d{1,12}", text, re.ASCII):
            seconds = sign * float(text)
        elif len(text) < 64 and re.fullmatch(rf"(?:{_DURATION.pattern})+", text, re.ASCII):
            seconds = sign * sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
        else:
            said = f'keep_alive is {shown(given)}; seconds or a duration such as "5m" was expected'
            raise Problem(400, said, field="keep_alive")
    return math.inf if seconds < 0 else seconds
