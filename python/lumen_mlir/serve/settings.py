# SPDX-License-Identifier: Apache-2.0
"""How a server is run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lumen_mlir.errors import LumenError

# Texts that are computed at a time, where nobody says how many.
PARALLEL = 8


@dataclass(frozen=True)
class ModelName:
    """A model, and what clients call it.

    Attributes:
      name: for clients.
      source: a file, a folder or a model of the hub; None for the model that comes with Lumen.
    """

    name: str
    source: str | None

    @staticmethod
    def parse(text: str | None) -> ModelName:
        """``NAME=MODEL``, or a model alone, whose name is that of its file without the suffix."""
        if text is None:
            from lumen_mlir.data import embedded_model_path

            return ModelName(os.path.basename(embedded_model_path()).removesuffix(".gguf"), None)
        name, equals, source = text.partition("=")
        if equals and "/" not in name and not os.path.exists(text):
            if not name or not source:
                raise LumenError(f"the model is '{text}'; NAME=MODEL was expected")
            return ModelName(name, source)
        base = text.removeprefix("hf:") if text.startswith("hf:") else os.path.basename(text.rstrip("/"))
        return ModelName(base.removesuffix(".gguf") or text, text)

    @staticmethod
    def parse_all(texts: Sequence[str | None]) -> tuple[ModelName, ...]:
        """Those of a command line; without any, the model that comes with Lumen."""
        names = tuple(ModelName.parse(text) for text in texts or (None,))
        for index, each in enumerate(names):
            if any(each.name == other.name for other in names[:index]):
                raise LumenError(f"two models have the name '{each.name}': NAME=MODEL gives another one")
        return names


@dataclass(frozen=True)
class Settings:
    """What holds for a server, whatever models it has.

    Attributes:
      host, port: where it listens; port 0 is any that is free.
      api_keys: of which a client sends one; without any, everybody may ask.
      origins: pages of which a browser may ask ("*": all); by default only its own.
      max_requests: requests that are answered or wait at a time; others get 429.
      max_connections: connections at a time; others get 503.
      max_body: bytes of a request.
      read_timeout: seconds in which a request must have come.
      request_timeout: seconds in which an answer must be done; None for any time.
      grace: seconds that answers may take once the server is told to stop.
      idle: seconds after which a model that nobody asks for is unloaded; None for never.
      max_models: models that are loaded at a time; None for as many as there is memory for.
      any_name: requests that name no model of the server get the first.
      session_folder: where ``/sessions`` saves; None: nothing is saved.
      tls_certificate, tls_key: files in PEM, with which it speaks HTTPS.
      log_prompts: the log has texts in it.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_requests: int = 256
    max_connections: int = 1024
    max_body: int = 64 << 20
    read_timeout: float = 60.0
    request_timeout: float | None = None
    grace: float = 30.0
    idle: float | None = None
    max_models: int | None = None
    any_name: bool = False
    session_folder: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    log_prompts: bool = False
