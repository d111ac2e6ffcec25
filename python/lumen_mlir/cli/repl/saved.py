# SPDX-License-Identifier: Apache-2.0
"""Conversations in files: JSON with the messages, the settings and the model."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from lumen_mlir.cli.repl.settings import NAMES, Settings
from lumen_mlir.cli.text import read_text
from lumen_mlir.errors import LumenError, one_line, shown
from lumen_mlir.generate.conversation import Conversation
from lumen_mlir.storage.atomic_file import replacing

# What tells the files of ``/save`` from others.
_KIND = "lumen chat"


@dataclass(frozen=True)
class Saved:
    """What a file has; ``model`` is what it was held with, where it says so."""

    conversation: Conversation
    settings: Settings
    model: str | None


def save(path: str, saved: Saved) -> None:
    """Writes a file, whole or not at all. Raises ``LumenError``.

    A file that is there is replaced only if it is a saved conversation.
    """
    if os.path.exists(path) and not _is_ours(path):
        raise LumenError(f"{path}: is there already and is no saved conversation; it stays as it is")
    value = {
        "kind": _KIND,
        "model": saved.model,
        "settings": saved.settings.values,
        **saved.conversation.to_json(),
    }
    try:
        with replacing(path) as file:
            file.write(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n")
    except OSError as error:
        raise LumenError(f"{path}: cannot be written: {error.strerror or error}") from None


def _is_ours(path: str) -> bool:
    try:
        value = _read(path)
    except LumenError:
        return False
    return isinstance(value, dict) and value.get("kind") == _KIND


def load(path: str) -> Saved:
    """What ``save`` wrote, or a list of messages as OpenAI's clients have them. Raises ``LumenError``."""
    value = _read(path)
    try:
        conversation = Conversation.from_json(value)
        fields = value if isinstance(value, dict) else {}
        return Saved(conversation, _settings(fields.get("settings")), _model(fields.get("model")))
    except LumenError as error:
        raise LumenError(f"{path}: {error}") from None


def _read(path: str) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise LumenError(f"{path}: is not JSON: line {error.lineno}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise LumenError(f"{path}: is not JSON: {one_line(error)}") from None


def _settings(values: Any) -> Settings:
    if values is None:
        return Settings()
    if not isinstance(values, dict):
        raise LumenError(f"'settings' is {shown(values)}; an object was expected")
    unknown = next((name for name in values if name not in NAMES), None)
    if unknown is not None:
        raise LumenError(f"'settings': there is no setting {shown(unknown)}")
    return Settings(values)


def _model(name: Any) -> str | None:
    if name is not None and not isinstance(name, str):
        raise LumenError(f"'model' is {shown(name)}; a text was expected")
    return name
