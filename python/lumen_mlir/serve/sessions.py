# SPDX-License-Identifier: Apache-2.0
"""Texts whose keys and values are saved: ``/sessions``."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.serve import json_body
from lumen_mlir.serve.chat import TemplateFields, prompt_of
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.streams import finished

_SUFFIX = ".session"
# File systems take names of 255 bytes.
_NAME = re.compile(r"\w[\w .-]*")
_MOST_BYTES = 200


class SaveBody(TemplateFields, kw_only=True):
    """The text that is saved: a prompt, or a conversation."""

    model: str | None = None
    prompt: str | list[int] | None = None
    messages: list[dict[str, Any]] | None = None


class RestoreBody(msgspec.Struct, kw_only=True):
    """Whose session it is."""

    model: str | None = None


async def list_sessions(request: Request) -> Response:
    """``GET /sessions``: those that were saved, the latest first."""
    folder = _folder(Server.of(request))
    found: list[dict[str, Any]] = []
    for path in folder.glob(f"*/*{_SUFFIX}"):
        try:
            status = path.stat()
        except OSError:  # somebody erased it meanwhile
            continue
        found.append(
            {
                "name": path.name.removesuffix(_SUFFIX),
                "model": path.parent.name,
                "bytes": status.st_size,
                "saved": int(status.st_mtime),
            }
        )
    found.sort(key=lambda each: (-each["saved"], each["name"]))
    return json_body.answer({"object": "list", "data": found})


async def save(request: Request) -> Response:
    """``POST /sessions/NAME/save``: computes a text, and saves its keys and values."""
    server = Server.of(request)
    body = await json_body.read(request, SaveBody)
    if (body.prompt is None) == (body.messages is None):
        raise Problem(400, "a prompt or messages were expected", field="messages")
    async with server.catalog.using(body.model) as model:
        path = _path(server, model, request.path_params["name"])
        if body.messages is not None:
            ids, _ = await prompt_of(model, body.ask(body.messages))
        else:
            ids = await model.call(model.llm.prompts.of_text, body.prompt)
        notes = msgspec.json.encode({"prompt": body.prompt, "messages": body.messages}).decode()

        def write() -> int:
            path.parent.mkdir(parents=True, exist_ok=True)
            return model.llm.save_text(ids, path, notes)

        size = await finished(request, model.call(write))
        saved = {"name": request.path_params["name"], "model": model.name}
        return json_body.answer({**saved, "tokens": len(ids), "bytes": size})


async def restore(request: Request) -> Response:
    """``POST /sessions/NAME/restore``: what was saved is in the KV cache again, and is sent back."""
    server = Server.of(request)
    body = await json_body.read(request, RestoreBody)
    name = request.path_params["name"]
    async with server.catalog.using(body.model) as model:
        path = _path(server, model, name)
        if not path.is_file():
            raise _missing(name, model.name)
        notes = json.loads(await model.call(model.llm.load_text, path))
        return json_body.answer({"name": name, "model": model.name, **notes})


async def erase(request: Request) -> Response:
    """``DELETE /sessions/NAME?model=NAME``."""
    server, name = Server.of(request), request.path_params["name"]
    entry = server.catalog.find(request.query_params.get("model"))
    path = _session_path(server, entry.name, name)
    try:
        path.unlink()
    except FileNotFoundError:
        raise _missing(name, entry.name) from None
    return json_body.answer({"name": name, "model": entry.name, "deleted": True})


def _missing(name: str, model: str) -> Problem:
    return Problem(404, f"the model {model} has no session {shown(name)}", code="session_not_found")


def _path(server: Server, model: ServedModel, name: str) -> Path:
    return _session_path(server, model.name, name)


def _session_path(server: Server, model: str, name: str) -> Path:
    """The file of a session. Raises ``Problem`` where the name is none."""
    if not _NAME.fullmatch(name) or len(name.encode()) > _MOST_BYTES:
        raise Problem(400, f"the name {shown(name)} has other characters than letters, digits, '.', '-', ' '")
    # (Names of models may have slashes in them.)
    return _folder(server) / re.sub(r"[^\w.-]", "-", model).lstrip(".")[:_MOST_BYTES] / f"{name}{_SUFFIX}"


def _folder(server: Server) -> Path:
    """Where sessions are. Raises ``Problem`` where the server has no place for them."""
    folder = server.settings.session_folder
    if folder is None:
        raise Problem(501, "the server saves no sessions (lumen serve --session-folder)", code="not_enabled")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise LumenError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return Path(folder)
