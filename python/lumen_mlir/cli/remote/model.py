# SPDX-License-Identifier: Apache-2.0
"""A model of a server, to chat with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lumen_mlir.cli.remote.answer import RemoteAnswer
from lumen_mlir.cli.remote.body import body_of
from lumen_mlir.cli.remote.client import Client, Response
from lumen_mlir.cli.remote.failures import Refused
from lumen_mlir.cli.remote.models import Listed, listed, not_there, properties
from lumen_mlir.cli.repl.model import Answer
from lumen_mlir.cli.report import Reporter, counted, rated
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.generation import ContextError
from lumen_mlir.generate.sampling import Sampling

CHAT = "/v1/chat/completions"


@dataclass
class RemoteOpener:
    """Finds the models of a server; see ``Opener``."""

    client: Client

    def first(self, name: str | None) -> RemoteModel:
        """The model of this name, or the server's first."""
        models = listed(self.client, needed=name is None)
        if name is None and not models:
            raise LumenError(f"{self.client.address}: the server lists no models: pass the name of one")
        return RemoteModel(self.client, models[0].name if name is None else name, models)

    def another(self, name: str) -> RemoteModel:
        """The model of this name."""
        return RemoteModel(self.client, name, listed(self.client, needed=False))


class RemoteModel:
    """See ``Model``. Raises ``LumenError`` where the server has no model ``name``.

    Servers of Lumen and llama.cpp tell what ``properties`` finds; of others only their list of models is
    known.
    """

    longer = "the server's option -c makes it longer"

    def __init__(self, client: Client, name: str, models: Sequence[Listed]):
        self._client, self.name = client, name
        self.names = [model.name for model in models]
        self._listed = next((model for model in models if model.name == name), Listed(name))
        self._properties = properties(client, name)

    @property
    def context(self) -> int | None:
        settings = self._properties.get("default_generation_settings")
        found = settings.get("n_ctx") if isinstance(settings, dict) else None
        return found if type(found) is int and found > 0 else self._listed.context

    @property
    def sampling(self) -> Sampling | None:
        settings = self._properties.get("default_generation_settings")
        told = settings.get("params") if isinstance(settings, dict) else None
        if not isinstance(told, dict):
            return None
        names = [each.name for each in fields(Sampling) if each.name != "from_model"]
        found = {name: told[name] for name in names if isinstance(told.get(name), (int, float))}
        return Sampling(**found)

    @property
    def template(self) -> str:
        found = self._properties.get("chat_template")
        if not isinstance(found, str):
            raise LumenError(f"{self._client.address}: the server does not tell its chat template")
        return found

    @property
    def can_switch_thinking(self) -> bool | None:
        found = self._properties.get("chat_template")
        return "enable_thinking" in found if isinstance(found, str) else None

    def count(self, text: str) -> int | None:
        """See ``Model``."""
        if not self._properties:
            return None
        try:
            told = self._client.post("/tokenize", {"model": self.name, "content": text})
        except Refused:
            return None
        tokens = told.get("tokens") if isinstance(told, dict) else None
        return len(tokens) if isinstance(tokens, list) else None

    def info(self) -> list[tuple[str, str]]:
        """See ``Model``."""
        rows = [("model", self.name), ("server", str(self._client.address)), *self._listed.rows()]
        build = self._properties.get("build_info")
        if isinstance(build, str):
            rows.append(("program", build))
        if self.context is not None:
            trained = self._listed.trained
            of = "" if trained is None else f" of {trained:,}"
            rows.append(("context", f"{self.context:,}{of} tokens"))
        return rows

    def memory(self) -> None:
        """See ``Model``."""

    def prepare(self, reporter: Reporter, sampling: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
        """See ``Model``."""
        body_of({**fixed, **sampling})

    def chat(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> RemoteAnswer:
        """See ``Model``."""
        body = {
            "model": self.name,
            "messages": [self._sent(message) for message in messages],
            **body_of(parameters),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._properties:
            # So that it is known what an answer took that was stopped.
            body["timings_per_token"] = True
        response = self._client.ask("POST", CHAT, body)
        try:
            response.check()
            chunks = response.events() if response.is_stream else _whole(response)
        except BaseException as error:
            self._client.done(response)
            if isinstance(error, Refused):
                raise self._explained(error) from None
            raise
        return RemoteAnswer(
            str(self._client.address),
            chunks,
            lambda: self._client.done(response),
            parameters.get("max_tokens"),
            parameters.get("special", True),
        )

    def _sent(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message as servers take it: the arguments of calls are text, and some refuse unknown fields."""
        sent = dict(message)
        if not self._properties:
            sent.pop("reasoning_content", None)
        if sent.get("tool_calls"):
            sent["tool_calls"] = [_sent_call(call) for call in sent["tool_calls"]]
        return sent

    def _explained(self, error: Refused) -> LumenError:
        if error.code == "context_length_exceeded":
            return ContextError(str(error))
        if error.status == 404 and self.names and self.name not in self.names:
            return not_there(self._client, self.name, self.names)
        return error

    def summarize(self, reporter: Reporter, answer: Answer) -> None:
        """See ``Model``."""
        where, run = f"{self.name} at {self._client.address}", answer.work()
        if run is None:
            reporter.say(where)
            return
        said = rated(counted(run.tokens, "token"), run.decoded, run.decode_seconds)
        prompt = rated(f"prompt {run.computed:,}", run.computed, run.prompt_seconds)
        reporter.say(f"{said}, {prompt}, {where}")

    def close(self) -> None:
        """See ``Model``."""


def _sent_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping) or isinstance(function.get("arguments"), str):
        return dict(call)
    arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def _whole(response: Response) -> Iterator[str]:
    """The answer of a server that does not stream, as the only event."""
    return iter([json.dumps(response.json()), "[DONE]"])
