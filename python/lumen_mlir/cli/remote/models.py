# SPDX-License-Identifier: Apache-2.0
"""What a server tells of its models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lumen_mlir.cli.remote.client import ANSWER_SECONDS, Client
from lumen_mlir.cli.remote.failures import NotJsonError, Refused
from lumen_mlir.errors import LumenError, did_you_mean, shown

# A model that is not loaded yet is loaded to tell of it.
_LOAD_SECONDS = 600.0
# Names in a message.
_MOST_NAMES = 20


@dataclass(frozen=True)
class Listed:
    """A model in a server's list.

    Attributes:
      context: tokens; ``trained``: of the model itself; ``vocabulary``: tokens; ``width``: of its layers;
        ``size``: bytes of its weights. None for what is not told.
    """

    name: str
    context: int | None = None
    trained: int | None = None
    vocabulary: int | None = None
    width: int | None = None
    size: int | None = None

    def rows(self) -> list[tuple[str, str]]:
        """What is told, for people."""
        from lumen_mlir.gguf.description import size_text

        rows = []
        if self.size is not None:
            rows.append(("size", size_text(self.size)))
        if self.width is not None:
            rows.append(("width", f"{self.width:,}"))
        if self.vocabulary is not None:
            rows.append(("vocabulary", f"{self.vocabulary:,} tokens"))
        return rows


def listed(client: Client, needed: bool) -> list[Listed]:
    """The models of a server.

    Where it has no list, that is an error only if it is ``needed``. Raises ``LumenError``.
    """
    try:
        told = client.get("/v1/models", ANSWER_SECONDS)
    except Refused as error:
        if needed or error.status not in (404, 405, 501):
            raise
        return []
    data = told.get("data") if isinstance(told, dict) else None
    if not isinstance(data, list):
        raise LumenError(
            f"{client.address}: /v1/models is no list; is it the address of a server of OpenAI's API?"
        )
    found = [each for each in data if isinstance(each, dict) and isinstance(each.get("id"), str)]
    return [_listed(each) for each in found]


def _listed(model: dict[str, Any]) -> Listed:
    meta = model.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    values = (
        model.get("max_model_len"),
        *(meta.get(name) for name in ("n_ctx_train", "n_vocab", "n_embd", "size")),
    )
    return Listed(model["id"], *(value if type(value) is int and value > 0 else None for value in values))


def properties(client: Client, name: str) -> dict[str, Any]:
    """What ``/props`` tells of a model: its template, context and sampling. Empty where it is not there.

    Raises ``LumenError`` where the server says that it has no such model.
    """
    try:
        told = client.get(f"/props?model={quote(name, safe='')}", _LOAD_SECONDS)
    except Refused as error:
        if error.code == "model_not_found" or error.status in (401, 403):
            raise
        return {}
    except NotJsonError:
        # Some servers have a page for people at any path.
        return {}
    if not isinstance(told, dict) or "default_generation_settings" not in told:
        return {}
    return told


def not_there(client: Client, name: str, names: Sequence[str]) -> LumenError:
    """Why a model cannot be asked, with the ``names`` of those that can."""
    known = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    hint = did_you_mean(name, names)
    return LumenError(f"{client.address}: there is no model {shown(name)}{hint} (there are {known})")
