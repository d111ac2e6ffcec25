# SPDX-License-Identifier: Apache-2.0
"""An answer of a server, as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lumen_mlir.cli.remote.failures import Unreachable, message_of
from lumen_mlir.cli.repl.marks import Marks
from lumen_mlir.cli.repl.model import Work
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.generate.generation import ContextError

# In which servers of different makers send what was thought.
_THOUGHTS = ("reasoning_content", "reasoning")


class RemoteAnswer(Iterator[str]):
    """See ``Answer``.

    Args:
      url: of the server, for errors.
      chunks: the data of the events; for an answer that came at once, its only one.
      close: ends the connection.
      max_tokens: of the answer, if there is a limit.
      marks: whether marks are shown around what is thought and called.
    """

    prompt_end = ""

    def __init__(
        self,
        url: str,
        chunks: Iterator[str],
        close: Callable[[], None],
        max_tokens: int | None = None,
        marks: bool = True,
    ):
        self.finish_reason: str | None = None
        self._url, self._close, self._max_tokens = url, close, max_tokens
        self._marks = Marks(marks)
        self._content = self._thoughts = ""
        self._calls: list[dict[str, str]] = []
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}
        self._start = time.perf_counter()
        self._first: float | None = None
        self._last = self._start
        self._pieces = self._read(chunks)

    def __next__(self) -> str:
        return next(self._pieces)

    def _read(self, chunks: Iterator[str]) -> Iterator[str]:
        reason, ended = None, False
        for data in chunks:
            if data == "[DONE]":
                ended = True
                break
            chunk = self._parsed(data)
            choice = _first(chunk.get("choices"))
            delta = choice.get("delta") or choice.get("message") or {}
            reason = choice.get("finish_reason") or reason
            if text := self._shown(delta if isinstance(delta, dict) else {}):
                self._last = time.perf_counter()
                self._first = self._last if self._first is None else self._first
                yield text
        if not ended and reason is None:
            raise Unreachable(f"{self._url}: the server went away in the middle of the answer")
        self.finish_reason = self._reason(reason)
        if text := self._marks.end():
            yield text

    def _parsed(self, data: str) -> dict[str, Any]:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            raise LumenError(f"{self._url}: a part of the answer is no JSON: {shown(data)}")
        if chunk.get("error"):
            message, code = message_of(chunk["error"])
            kind = ContextError if code == "context_length_exceeded" else LumenError
            raise kind(f"{self._url}: {message or 'the server failed'}")
        for kept, name in ((self._usage, "usage"), (self._timings, "timings")):
            if isinstance(chunk.get(name), dict):
                kept.update(chunk[name])
        return chunk

    def _shown(self, delta: Mapping[str, Any]) -> str:
        """Keeps what comes next, and gives the text that is shown for it."""
        thought = next((delta[name] for name in _THOUGHTS if isinstance(delta.get(name), str)), "")
        said = delta.get("content")
        said = said if isinstance(said, str) else ""
        self._thoughts += thought
        self._content += said
        text = self._marks.thought(thought) + self._marks.said(said)
        calls = delta.get("tool_calls")
        for part in calls if isinstance(calls, list) else []:
            text += self._call(part if isinstance(part, dict) else {})
        return text

    def _call(self, part: Mapping[str, Any]) -> str:
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        name, arguments = function.get("name"), function.get("arguments")
        text = ""
        if isinstance(name, str) and name:
            number = len(self._calls)
            given = part.get("id")
            identity = given if isinstance(given, str) and given else f"call_{number}"
            self._calls.append({"id": identity, "name": name, "arguments": ""})
            text = self._marks.call(name)
        if isinstance(arguments, str) and self._calls:
            self._calls[-1]["arguments"] += arguments
            text += self._marks.arguments(arguments)
        return text

    def _reason(self, reason: Any) -> str:
        """Servers say "length" for a full context, too."""
        if reason != "length":
            return str(reason or "stop")
        written = _count(self._usage, "completion_tokens")
        reached = self._max_tokens is not None and (written is None or written >= self._max_tokens)
        return "length" if reached else "context"

    def message(self) -> dict[str, Any] | None:
        """Its parts, as the server told them apart. A call that was cut off is none."""
        calls = [call for call in self._calls if _is_object(call["arguments"])]
        if not (self._content.strip() or self._thoughts.strip() or calls):
            return None
        message: dict[str, Any] = {"content": self._content}
        if self._thoughts:
            message["reasoning_content"] = self._thoughts
        if calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"] or "{}"},
                }
                for call in calls
            ]
        return message

    def work(self) -> Work | None:
        """By the server's clock where it tells, else by the time that was waited."""
        computed, tokens = _count(self._timings, "prompt_n"), _count(self._timings, "predicted_n")
        if computed is not None and tokens is not None:
            prompt = computed + (_count(self._timings, "cache_n") or 0)
            seconds = [_number(self._timings, name) / 1e3 for name in ("prompt_ms", "predicted_ms")]
            return Work(prompt, computed, tokens, max(tokens - 1, 0), *seconds)
        whole, tokens = _count(self._usage, "prompt_tokens"), _count(self._usage, "completion_tokens")
        if whole is None or tokens is None:
            return None
        details = self._usage.get("prompt_tokens_details")
        known = (_count(details, "cached_tokens") if isinstance(details, dict) else None) or 0
        first = self._last if self._first is None else self._first
        times = first - self._start, self._last - first
        return Work(whole, max(whole - known, 0), tokens, max(tokens - 1, 0), *times)

    def close(self) -> None:
        """Ends the connection: the server stops writing within a step."""
        self._close()


def _first(choices: Any) -> dict[str, Any]:
    choice = choices[0] if isinstance(choices, list) and choices else {}
    return choice if isinstance(choice, dict) else {}


def _is_object(arguments: str) -> bool:
    try:
        return not arguments.strip() or isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if type(value) is int and value >= 0 else None


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
