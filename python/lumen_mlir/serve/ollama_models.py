# SPDX-License-Identifier: Apache-2.0
"""The models of a server, as ollama describes them."""

from __future__ import annotations

import datetime
import hashlib
import os
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.gguf.description import file_type, parameter_count, short_count
from lumen_mlir.serve import json_body
from lumen_mlir.serve.catalog import Entry
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.text.chat_messages import ChatError
from lumen_mlir.version import __version__

# Seconds that those stay which stay for ever.
_EVER = 100 * 365 * 86400.0


class ShowBody(msgspec.Struct, kw_only=True):
    """``name`` is an older name of ``model``."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


async def ollama_version(request: Request) -> Response:
    """``GET /api/version``: that of Lumen."""
    return json_body.answer({"version": __version__})


async def ollama_tags(request: Request) -> Response:
    """``GET /api/tags``: the models of the server, loaded or not."""
    entries = Server.of(request).catalog.entries.values()
    return json_body.answer({"models": [_described(entry) for entry in entries]})


async def ollama_ps(request: Request) -> Response:
    """``GET /api/ps``: the models that are loaded, and how long they stay."""
    catalog = Server.of(request).catalog
    models = []
    for entry in catalog.entries.values():
        if entry.model is None:
            continue
        left, llm = catalog.seconds_left(entry), entry.model.llm
        seconds = _EVER if left is None else min(max(left, 0), _EVER)
        described = _described(entry)
        models.append(
            {
                **described,
                "size_vram": 0 if (llm.options.device or "cpu") == "cpu" else described["size"],
                "expires_at": _time(time.time() + seconds),
                "context_length": llm.context,
            }
        )
    return json_body.answer({"models": models})


async def ollama_show(request: Request) -> Response:
    """``POST /api/show``: what is known of a model, which is loaded for it."""
    body = await json_body.read(request, ShowBody)
    name = body.model or body.name
    if not name:
        raise Problem(400, "model is missing", field="model")
    catalog = Server.of(request).catalog
    entry = catalog.find(name)
    async with catalog.using(entry.name) as model:
        metadata = model.llm.model.file.metadata
        try:
            template = model.llm.chat_template.source
        except ChatError:
            template = ""
        described = _described(entry)
        info = {
            key: None if metadata.is_array(key) and not body.verbose else _plain(metadata[key])
            for key in metadata
        }
        sampling = model.llm.sampling
        return json_body.answer(
            {
                "modelfile": f"FROM {entry.name}",
                "parameters": "\n".join(f"{each} {getattr(sampling, each)}" for each in sampling.from_model),
                "template": template,
                "license": str(info.get("general.license") or ""),
                "modified_at": described["modified_at"],
                "details": described["details"],
                "model_info": info,
                "capabilities": _capabilities(model),
            }
        )


def _plain(value: Any) -> Any:
    """A value of the metadata, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.to_list() if hasattr(value, "to_list") else value


def _capabilities(model: ServedModel) -> list[str]:
    names = {"tools": "tools", "reasoning": "thinking"}
    return ["completion", *(name for ability, name in names.items() if model.abilities[ability])]


def _described(entry: Entry) -> dict[str, Any]:
    """What all lists say of a model."""
    path, size = entry.path, entry.file_size
    changed = 0.0 if path is None else os.path.getmtime(path)
    # (Nobody reads all weights to tell models apart.)
    known = f"{entry.name}\n{entry.source}\n{size}\n{changed}"
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": _time(changed),
        "size": size or (entry.model.weight_bytes if entry.model else 0),
        "digest": hashlib.sha256(known.encode()).hexdigest(),
        "details": _details(entry.model),
    }


def _time(seconds: float) -> str:
    """Of Unix."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat()


def _details(model: ServedModel | None) -> dict[str, Any]:
    """What its file says; nothing while it is not loaded."""
    if model is None:
        names = ("parent_model", "format", "family", "parameter_size", "quantization_level")
        return {**dict.fromkeys(names, ""), "families": []}
    file, family = model.llm.model.file, model.llm.model.config.architecture
    return {
        "parent_model": "",
        "format": "gguf" if file.kind.startswith("GGUF") else "safetensors",
        "family": family,
        "families": [family],
        "parameter_size": short_count(parameter_count(file)),
        "quantization_level": file_type(file),
    }
