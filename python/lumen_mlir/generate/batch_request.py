# SPDX-License-Identifier: Apache-2.0
"""Requests as lines of JSON, and the lines that answer them.

A line has a ``prompt`` or ``messages`` and the parameters of ``LLM.generate``, or it has the form of OpenAI's
batches, whose answers have that form, too.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lumen_mlir.errors import LumenError, did_you_mean, shown
from lumen_mlir.generate import grammar_body, openai_body
from lumen_mlir.generate.parameters import Parameters

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.generate.logprobs import Logprob

# What lines begin with that answer a request.
BEGINNINGS = (b'{"index": ', b'{"id": "batch_req_')

_PARAMETERS = ("max_tokens", *Parameters.__annotations__)
_CHAT = ("tools", "enable_thinking")
_OWN = ("prompt", "messages", "custom_id", *_CHAT, *_PARAMETERS, *grammar_body.FIELDS)
_OPENAI = ("custom_id", "method", "url", "body")


@dataclass
class BatchRequest:
    """A line of a file of requests.

    Attributes:
      index: its number in the file, from 0 on.
      digest: of its text.
      custom_id: what its author calls it.
      model: the name of a model that it asks for, which answers repeat.
      parameters: of ``LLM.generate`` and ``LLM.chat``, with the prompt or the messages.
      url: where a request in OpenAI's form goes, empty where that is wrong; None for another one.
      error: what is wrong with it.
    """

    index: int
    digest: str
    custom_id: str | int | None = None
    model: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    url: str | None = None
    error: LumenError | None = None

    @property
    def key(self) -> tuple[str | int, str]:
        """What is the same in the request and in its answer."""
        return (self.index if self.url is None else str(self.custom_id)), self.digest

    @staticmethod
    def parse(line: str, index: int) -> BatchRequest:
        """The request of a line; what is wrong is its ``error``."""
        encoded = line.strip().encode("utf-8", "surrogatepass")
        request = BatchRequest(index, hashlib.sha256(encoded).hexdigest()[:16])
        try:
            request._read(line)
        except LumenError as error:
            request.error = error
        return request

    def _read(self, line: str) -> None:
        fields = {name: value for name, value in _object(line).items() if value is not None}
        self.custom_id = _custom_id(fields.get("custom_id"))
        if "body" in fields or "url" in fields:
            self.url = ""
            _check_names(fields, _OPENAI)
            if not isinstance(self.custom_id, str):
                raise LumenError("a custom_id is missing")
            self.url = openai_body.check_url(fields)
            self.model, self.parameters = openai_body.parameters(self.url, fields.get("body"))
            return
        fields.pop("custom_id", None)
        _check_names(fields, _OWN)
        if ("prompt" in fields) == ("messages" in fields):
            raise LumenError("a prompt or messages were expected, one of the two")
        if "logit_bias" in fields:
            fields["logit_bias"] = openai_body.biases(fields["logit_bias"])
        for name in _CHAT:
            if name in fields and "prompt" in fields:
                raise LumenError(f"{name} is for messages, and not for a prompt")
        grammar = grammar_body.grammar_of(fields)
        self.parameters = {name: each for name, each in fields.items() if name not in grammar_body.FIELDS}
        if grammar is not None:
            self.parameters["grammar"] = grammar

    def chosen(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Its parameters, with ``defaults`` for what the line leaves open. Raises ``LumenError``.

        A ``seed`` of the defaults is that of the first line; each has the next one.
        """
        if self.error is not None:
            raise self.error
        chosen = {**defaults, **self.parameters}
        if "seed" not in self.parameters and (chosen.get("seed") or 0) > 0:
            chosen["seed"] += self.index
        prompt = chosen.get("prompt")
        if not isinstance(prompt, str) and any(isinstance(each, (str, list)) for each in _items(prompt)):
            raise LumenError("a line has one prompt: a text, or a list of token ids")
        return chosen

    def begin(self, llm: LLM, defaults: Mapping[str, Any]) -> Generation:
        """Its text, to be computed along with others, with ``chosen`` parameters. Raises ``LumenError``."""
        chosen = self.chosen(defaults)
        if "prompt" in chosen:
            generation = llm.generate(chosen.pop("prompt"), **chosen)
        else:
            # Calls of tools are known by their control tokens.
            chosen.setdefault("special", bool(chosen.get("tools")))
            generation = llm.chat(chosen.pop("messages"), **chosen)
        generation.request.patient = True
        generation.begin()
        return generation

    def answer(self, generation: Generation) -> str:
        """The line that tells of a text at its end."""
        records = generation.logprobs
        computed = len(generation.prompt), len(generation.tokens)
        usage = {
            "prompt_tokens": computed[0],
            "completion_tokens": computed[1],
            "total_tokens": sum(computed),
            "prompt_tokens_details": {"cached_tokens": max(computed[0] - generation.evaluated, 0)},
        }
        if self.url is not None:
            body = openai_body.answer(self.url, generation, usage, self.model)
            return self.responded({"id": f"lumen-{self.digest}", **body, "created": int(time.time())})
        more = {} if records is None else {"logprobs": [_record(each, each.top) for each in records]}
        return self.told(generation.output, generation.finish_reason, usage, **more)

    def responded(self, body: Mapping[str, Any]) -> str:
        """The line that answers a request in OpenAI's form with the ``body`` of an answer."""
        response = {"status_code": 200, "request_id": self.digest, "body": body}
        return self._line(response=response, error=None)

    def told(self, text: str, reason: str | None, usage: Mapping[str, Any], **more: Any) -> str:
        """The line that answers another one; ``more`` are fields beside the text."""
        return self._line(text=text, finish_reason=reason, **more, usage=usage)

    def failure(self, error: BaseException) -> str:
        """The line that tells of an error."""
        if self.url is not None:
            return self._line(response=None, error={"code": "invalid_request", "message": str(error)})
        return self._line(error=str(error))

    def _line(self, **fields: Any) -> str:
        if self.url is not None:
            return _text({"id": f"batch_req_{self.digest}", "custom_id": self.custom_id, **fields})
        named = {} if self.custom_id is None else {"custom_id": self.custom_id}
        return _text({"index": self.index, **named, **fields, "request": self.digest})


def key_of_answer(line: bytes) -> tuple[str | int, str] | None:
    """The ``key`` of the request that a line answers; None where it is no answer."""
    try:
        fields = json.loads(line)
        if "index" in fields:
            return int(fields["index"]), str(fields["request"])
        return str(fields["custom_id"]), str(fields["id"]).removeprefix("batch_req_")
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _record(record: Logprob, top: tuple[Logprob, ...] | None = None) -> dict[str, Any]:
    said = {"token": record.token, "text": record.text, "logprob": record.logprob}
    return said if top is None else {**said, "top": [_record(each) for each in top]}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LumenError(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise LumenError(f"a JSON object was expected, not {shown(value)}")
    return value


def _text(fields: dict[str, Any]) -> str:
    # Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, become escapes of JSON.
    text = json.dumps(fields, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _custom_id(value: Any) -> str | int | None:
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return value
    raise LumenError(f"custom_id is {shown(value)}; a text was expected")


def _check_names(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known:
            raise LumenError(f"unknown field {shown(name)}{did_you_mean(name, known)}")


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
