# SPDX-License-Identifier: Apache-2.0
"""Where the hub and its cache are, by the variables of ``huggingface_hub``.

They are read here, too, because importing that package would make every start with an ``hf:`` name slower.
"""

from __future__ import annotations

import os
from pathlib import Path

_TRUE = {"1", "ON", "YES", "TRUE"}


def endpoint() -> str:
    """The address of the hub or of a mirror (``HF_ENDPOINT``), without a slash at the end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether no request may be made (``HF_HUB_OFFLINE``)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in _TRUE


def cache_folder() -> Path:
    """The cache: ``HF_HUB_CACHE``, or ``hub`` in ``HF_HOME``, or in the user's cache folder."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if chosen:
        return _folder(chosen)
    home = os.environ.get("HF_HOME")
    if home:
        return _folder(home) / "hub"
    return _folder(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def _folder(text: str) -> Path:
    return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(text))))
