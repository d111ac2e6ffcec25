# SPDX-License-Identifier: Apache-2.0
"""How a model's makers sample from it: ``generation_config.json`` in GGUF's terms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.metadata import SAMPLING_KEYS
from lumen_mlir.hf.json_files import read_json_if_there

_FIELDS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
}


def sampling_metadata(folder: Path) -> dict[str, tuple[Any, int]]:
    """Key to value and value type of what ``generation_config.json`` says about sampling.

    ``do_sample`` false means the likeliest token each time. What is no number is left out; values out of
    range are told of where they would be used (``sampling.Sampling``).
    """
    config = read_json_if_there(folder / "generation_config.json")
    entries: dict[str, tuple[Any, int]] = {}
    for name, field in _FIELDS.items():
        value = config.get(field)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not _fits(value):
            continue
        if name != "top_k":
            entries[SAMPLING_KEYS[name]] = float(value), T.F32
        elif float(value).is_integer():
            entries[SAMPLING_KEYS[name]] = int(value), T.I32
    if config.get("do_sample") is False:
        entries[SAMPLING_KEYS["temperature"]] = 0.0, T.F32
    return entries


def _fits(value: float) -> bool:
    return math.isfinite(value) and abs(value) < 2**31
