# SPDX-License-Identifier: Apache-2.0
"""Files of requests, answered by a server: several at a time, each over a connection of its own."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lumen_mlir.cli.remote.body import body_of
from lumen_mlir.cli.remote.client import Client
from lumen_mlir.cli.remote.failures import Refused, Unreachable
from lumen_mlir.cli.remote.model import RemoteOpener
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.generate.batch_request import BatchRequest
from lumen_mlir.generate.openai_body import CHAT, COMPLETIONS
from lumen_mlir.support.arguments import whole_number

# A server that is there again within about a minute is waited for.
_TRIES = 8
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# Seconds of a Retry-After that are waited at most.
_LONGEST_ASKED = 300.0
_AGAIN = (429, 502, 503, 504)
# What would be so for every request.
_FATAL = (401, 403, 404)
_MOST_PARALLEL = 1024


class RemoteAnswers:
    """See ``BatchAnswers``; ``parallel`` requests are sent at a time.

    A request that the server refuses has an answer that says why. One that meets a server that is busy or
    gone is sent again; where that does not help, ``lines`` raises ``LumenError``, and it has no answer.

    Args:
      model: the name that is asked for; None for those of the requests, or the server's first.
      note: is told why a request is sent again.
    """

    def __init__(
        self,
        client: Client,
        model: str | None,
        requests: Iterable[BatchRequest],
        defaults: Mapping[str, Any],
        parallel: int,
        note: Callable[[str], None],
    ):
        self.prompt_tokens = self.tokens = self.failed = 0
        self._client, self._defaults, self._note = client, dict(defaults), note
        self._parallel = min(whole_number("--parallel", parallel, least=1), _MOST_PARALLEL)
        self._model, self._is_given = RemoteOpener(client).first(model).name, model is not None
        self._requests, self._turn = iter(requests), threading.Lock()
        self._stopped = threading.Event()
        self._news: queue.SimpleQueue[tuple[BatchRequest, Any] | str | None] = queue.SimpleQueue()

    def lines(self) -> Iterator[str]:
        """The answers as lines of JSON, in the order in which they are done."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._parallel)]
        for thread in threads:
            thread.start()
        left = len(threads)
        while left:
            news = self._news.get()
            if news is None:
                left -= 1
            elif isinstance(news, str):
                self._note(news)
            else:
                yield self._line(*news)

    def close(self) -> None:
        """Gives up what is not done."""
        self._stopped.set()
        self._client.close()

    def _work(self) -> None:
        """Asks for one request after the other; the thread that writes is told what came of each."""
        try:
            while not self._stopped.is_set():
                with self._turn:
                    request = next(self._requests, None)
                if request is None:
                    return
                try:
                    outcome: Any = self._asked(request)
                except Exception as error:  # whatever it is, the other thread raises it
                    outcome = error
                self._news.put((request, outcome))
        finally:
            self._news.put(None)

    def _asked(self, request: BatchRequest) -> dict[str, Any]:
        """The body of the server's answer. Raises ``LumenError``."""
        parameters = request.chosen(self._defaults)
        path = COMPLETIONS if "prompt" in parameters else CHAT
        model = self._model if self._is_given or request.model is None else request.model
        body = {"model": model, **_body(request, path, parameters)}
        for number in range(_TRIES):
            try:
                answer = self._client.post(path, body, None)
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.status not in _AGAIN:
                    raise
                if number + 1 == _TRIES:
                    raise Unreachable(f"{error}; it was asked {_TRIES} times") from None
                seconds = _wait(number, getattr(error, "retry_after", None))
                self._news.put(f"{error}; asking again in {seconds:.1f} s")
                if self._stopped.wait(seconds):
                    raise
            else:
                return _checked(self._client, answer)
        raise AssertionError("the last try returns or raises")

    def _line(self, request: BatchRequest, outcome: Any) -> str:
        if isinstance(outcome, Exception):
            refused = isinstance(outcome, Refused) and (outcome.status in _FATAL or outcome.status < 400)
            if isinstance(outcome, Unreachable) or refused or not isinstance(outcome, LumenError):
                raise outcome
            self.failed += 1
            return request.failure(outcome)
        usage = _usage(outcome.get("usage"))
        self.prompt_tokens += usage["prompt_tokens"]
        self.tokens += usage["completion_tokens"]
        if request.url is not None:
            return request.responded(outcome)
        choice = outcome["choices"][0]
        message = choice.get("message")
        message = message if isinstance(message, dict) else {"content": choice.get("text")}
        more = {name: message[name] for name in ("reasoning_content", "tool_calls") if message.get(name)}
        parameters = request.chosen(self._defaults)
        reason = _reason(choice.get("finish_reason"), parameters, usage["completion_tokens"])
        return request.told(str(message.get("content") or ""), reason, usage, **more)


def _body(request: BatchRequest, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, without the model. Raises ``LumenError`` for what a server does not do."""
    if parameters.get("special"):
        raise LumenError("a server takes no special")
    count = parameters.pop("logprobs", None)
    if count is not None and request.url is None:
        raise LumenError("a server tells no ids of tokens: logprobs are for lines in OpenAI's form")
    body = body_of(parameters)
    if count is not None:
        body |= {"logprobs": count} if path == COMPLETIONS else {"logprobs": True, "top_logprobs": count}
    if path == COMPLETIONS:
        # Left out, it would be 16.
        body.setdefault("max_tokens", -1)
    return body


def _wait(number: int, asked: float | None) -> float:
    """Seconds until request ``number`` is sent again; ``asked``: what the server said."""
    if asked is not None and math.isfinite(asked):
        return min(asked, _LONGEST_ASKED)
    return min(_FIRST_WAIT * 2**number, _LONGEST_WAIT)


def _checked(client: Client, answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise LumenError(f"{client.address}: the answer has no choices: {one_line(answer, 80)}")
    return answer


def _usage(told: Any) -> dict[str, Any]:
    """The counts of tokens, as the local command has them; 0 for what is not told."""
    told = told if isinstance(told, dict) else {}

    def count(fields: Any, name: str) -> int:
        value = fields.get(name) if isinstance(fields, dict) else None
        return value if type(value) is int else 0

    prompt, written = count(told, "prompt_tokens"), count(told, "completion_tokens")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": count(told.get("prompt_tokens_details"), "cached_tokens")},
    }


def _reason(reason: Any, parameters: Mapping[str, Any], written: int) -> str:
    """The local command's word: servers say "stop" for stop strings and for ends, "length" for two limits."""
    if reason == "length":
        most = parameters.get("max_tokens")
        return "length" if isinstance(most, int) and written >= most else "context"
    return "stop" if reason == "stop" and parameters.get("stop") else "end"
