# SPDX-License-Identifier: Apache-2.0
"""``GET /openapi.json``: what can be asked for, as an OpenAPI document."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve import json_body
from lumen_mlir.serve.routes import ROUTES, Route
from lumen_mlir.version import __version__

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


async def openapi(request: Request) -> Response:
    """The document."""
    return json_body.answer(document())


def document() -> dict[str, Any]:
    """The OpenAPI document of all routes."""
    bodies = [route.body for route in ROUTES if route.body is not None]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in ROUTES:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(
            route, schema_of.get(route.body) if route.body else None
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lumen", "version": __version__},
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


# Clients may be told in the forms of other APIs, too.
_ERROR = {"type": "object"}


def _operation(route: Route, body: dict[str, Any] | None) -> dict[str, Any]:
    text = inspect.getdoc(route.endpoint) or ""
    operation: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": text.partition(": ")[2] or text,
        "responses": {str(status): _response(status) for status in _statuses(route)},
    }
    parameters = [_parameter("path", name, True) for name in _PARAMETER.findall(route.path)]
    parameters += [_parameter("query", name, False) for name in route.query]
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _parameter(where: str, name: str, required: bool) -> dict[str, Any]:
    return {"in": where, "name": name, "required": required, "schema": {"type": "string", "minLength": 1}}


def _statuses(route: Route) -> list[int]:
    # (What the guards say belongs to all of them.)
    return [200, *route.statuses, 400, 401, 404, 408, 413, 429, 503, 504]


def _response(status: int) -> dict[str, Any]:
    if status == 200:
        return {"description": "The answer."}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": "Why not.", "content": {"application/json": {"schema": schema}}}
