# SPDX-License-Identifier: Apache-2.0
"""Which formats there are: built in, defined by scripts and plug-ins, and of installed packages."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import LumenError, did_you_mean, shown
from . import plugins

if TYPE_CHECKING:
    from .described import Format

_PACKAGE = __name__.rpartition(".")[0]

# Modules are imported when one of their formats is first asked for: the codebooks of some are large.
_MODULES = {
    "floats": {"f32": 0, "f16": 1, "bf16": 30},
    "legacy": {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8},
    "kquants": {"q2_k": 10, "q3_k": 11, "q4_k": 12, "q5_k": 13, "q6_k": 14},
    "iquants": {"iq4_nl": 20, "iq4_xs": 23},
    "codebook_quants": {
        "iq3_s": 21, "iq3_xxs": 18, "iq2_s": 22, "iq2_xs": 17, "iq2_xxs": 16, "iq1_s": 19, "iq1_m": 29,
    },
    "mx": {"mxfp4": 39, "nvfp4": 40},
    "ternary": {"tq1_0": 34, "tq2_0": 35, "q1_0": 41, "q2_0": 42},
}  # fmt: skip
_BUILTIN = {name: module for module, formats in _MODULES.items() for name in formats}
_GGML_TYPES = {number: name for formats in _MODULES.values() for name, number in formats.items()}

_REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip
_NOT_WEIGHTS = {
    9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
}  # fmt: skip
_RESERVED = {name.lower() for name in (*_REMOVED.values(), *_NOT_WEIGHTS.values())}

_registered: dict[str, Format] = {}


def register(fmt: Format) -> None:
    """Makes a format known by its name and ggml type id; LumenError if either belongs to another format."""
    number = fmt.ggml_type
    taken = _registered.get(fmt.name) or (_BUILTIN.get(fmt.name) and fmt.name)
    if taken and not _is_builtin(fmt):
        raise LumenError(f"format '{fmt.name}' is already defined")
    if fmt.name in _RESERVED:
        raise LumenError(f"format '{fmt.name}': the name belongs to a type of ggml's")
    if number is not None and not _is_builtin(fmt):
        owner = _GGML_TYPES.get(number) or _REMOVED.get(number) or _NOT_WEIGHTS.get(number)
        owner = owner or next((f.name for f in _registered.values() if f.ggml_type == number), None)
        if owner:
            raise LumenError(f"format '{fmt.name}': ggml type id {number} belongs to {owner}")
    _registered[fmt.name] = fmt


def _is_builtin(fmt: Format) -> bool:
    module = getattr(getattr(fmt, "description", None), "__module__", "")
    return _BUILTIN.get(fmt.name) is not None and module == f"{_PACKAGE}.{_BUILTIN[fmt.name]}"


@cache
def _entry_points() -> dict:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="lumen_mlir.formats")}


def _load_entry_point(name: str) -> Format:
    point = _entry_points()[name]
    try:
        fmt = point.load()
    except Exception as error:
        raise LumenError(f"format '{name}' of entry point '{point.value}' failed to load: {error}") from error
    if getattr(fmt, "name", None) != name or not hasattr(fmt, "dequantize"):
        raise LumenError(f"entry point '{point.value}' is not a format named '{name}'")
    # The decorator registers on definition unless it was told not to.
    if _registered.get(name) is not fmt:
        register(fmt)
    return fmt


def names() -> list[str]:
    """The names of all formats: built in, registered, of plug-ins and of installed packages."""
    plugins.load_environment()
    return [*dict.fromkeys([*_BUILTIN, *_registered, *_entry_points()])]


def is_known(name: str) -> bool:
    """True where ``get(name)`` finds a format; it looks no farther than it must."""
    return isinstance(name, str) and (name in _BUILTIN or name in _registered or name in names())


def origin(fmt: Format) -> str:
    """Where a format comes from: ``Lumen``, ``package NAME VERSION`` or ``file NAME.py``."""
    if fmt.is_float or _is_builtin(fmt):
        return "Lumen"
    point = _entry_points().get(fmt.name)
    if point is not None and point.dist is not None:
        return f"package {point.dist.name} {point.dist.version}"
    module = sys.modules.get(fmt.description.__module__)
    path = getattr(module, "__file__", None)
    return f"file {os.path.basename(path)}" if path else f"module {fmt.description.__module__}"


def get(name: str) -> Format:
    """The format called ``name``; LumenError if there is none."""
    if not isinstance(name, str):
        raise LumenError(f"the name of a format was expected, got {shown(name)}")
    name = name.lower()
    if name in _registered:
        return _registered[name]
    if name in _BUILTIN:
        module = import_module(f".{_BUILTIN[name]}", _PACKAGE)
        return module.FLOATS[name] if _BUILTIN[name] == "floats" else _registered[name]
    plugins.load_environment()
    if name in _registered:
        return _registered[name]
    if name in _entry_points():
        return _load_entry_point(name)
    hint = did_you_mean(name, names()) or f"; known: {', '.join(names())}"
    raise LumenError(f"unknown quantization format {shown(name)}{hint}")


def by_ggml_type(number: int) -> Format:
    """The format with the ggml type id ``number``; LumenError for unknown, removed and non-weight types."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise LumenError(f"the number of a tensor type was expected, got {shown(number)}")
    if number in _GGML_TYPES:
        return get(_GGML_TYPES[number])
    if number in _REMOVED:
        raise LumenError(
            f"tensor type {number} ({_REMOVED[number]}) was removed from ggml; convert the file again with a "
            "current llama.cpp"
        )
    if number in _NOT_WEIGHTS:
        raise LumenError(f"tensor type {number} ({_NOT_WEIGHTS[number]}) is not a weight format")
    plugins.load_environment()
    failures = []
    for name in [*_registered, *_entry_points()]:
        try:
            fmt = get(name)
        except LumenError as error:
            # A broken plug-in matters only if it might have been the one.
            failures.append(str(error))
            continue
        if fmt.ggml_type == number:
            return fmt
    raise LumenError("; ".join([f"unknown tensor type {number}", *failures]))
