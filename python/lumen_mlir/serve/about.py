# SPDX-License-Identifier: Apache-2.0
"""What can be asked about the server and its models: health, properties, metrics."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.generate.sampling import Sampling
from lumen_mlir.serve import json_body
from lumen_mlir.serve.catalog import Entry
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.server import Server
from lumen_mlir.text.chat_messages import ChatError
from lumen_mlir.version import __version__

_METRICS = "text/plain; version=0.0.4; charset=utf-8"


async def health(request: Request) -> Response:
    """``GET /health``: 200 as long as the process answers."""
    return json_body.answer({"status": "ok"})


async def ready(request: Request) -> Response:
    """``GET /ready``: 200 where requests are taken, 503 while the first model is loaded and at the end."""
    server = Server.of(request)
    first = server.catalog.first
    if server.stopping.is_set():
        raise Problem(503, "the server is stopping", code="stopping", retry_after=5)
    if first.state == "loading":
        raise Problem(503, f"the model {first.name} is being loaded", code="loading", retry_after=1)
    if first.state == "failed":
        raise Problem(503, f"the model {first.name} cannot be loaded", code="failed")
    return json_body.answer({"status": "ok"})


async def metrics(request: Request) -> Response:
    """``GET /metrics``: for Prometheus."""
    return Response(Server.of(request).metrics.text(), media_type=_METRICS)


async def models(request: Request) -> Response:
    """``GET /v1/models``."""
    entries = Server.of(request).catalog.entries.values()
    return json_body.answer({"object": "list", "data": [_described(entry) for entry in entries]})


async def model(request: Request) -> Response:
    """``GET /v1/models/NAME``."""
    return json_body.answer(_described(Server.of(request).catalog.find(request.path_params["name"])))


def _described(entry: Entry) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": 0 if entry.model is None else entry.model.created,
        "owned_by": "lumen",
        "status": {"value": entry.state},
    }
    if entry.model is not None:
        described["max_model_len"] = entry.model.llm.context
        described["meta"] = {
            "n_ctx_train": entry.model.llm.model.config.context,
            "n_vocab": entry.model.llm.model.config.vocabulary,
            "n_embd": entry.model.llm.model.config.width,
            "size": entry.model.weight_bytes,
        }
    return described


async def props(request: Request) -> Response:
    """``GET /props?model=NAME``: what a page needs to know of a model, which is loaded for it."""
    server = Server.of(request)
    async with server.catalog.using(request.query_params.get("model")) as found:
        llm = found.llm
        names = (field.name for field in fields(Sampling) if field.name != "from_model")
        defaults = {name: getattr(llm.sampling, name) for name in names}
        try:
            template: str | None = llm.chat_template.source
        except ChatError:
            template = None
        return json_body.answer(
            {
                "model": found.name,
                **found.abilities,
                "context": llm.context,
                "parallel": llm.options.sequences,
                "kv_capacity": found.kv_capacity,
                "sampling": defaults,
                "default_generation_settings": {"n_ctx": llm.context, "params": defaults},
                "total_slots": llm.options.sequences,
                "chat_template": template,
                "build_info": f"lumen {__version__}",
            }
        )
