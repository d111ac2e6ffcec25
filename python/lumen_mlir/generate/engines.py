# SPDX-License-Identifier: Apache-2.0
"""What runs the steps of a model: compiled code, or the interpreter that it is tested against."""

from __future__ import annotations

from typing import Any

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings
from lumen_mlir.storage.cache import Cache

# Sequences besides those of the scheduler: for single steps and for what comes from files.
_SPARE = 2

ENGINES = ("compiled", "reference")


def check_engine(name: Any) -> str:
    """``name``, where it is that of an engine; else ``LumenError``."""
    if not isinstance(name, str) or name not in ENGINES:
        raise LumenError(f"unknown engine {shown(name)}; known are {', '.join(ENGINES)}")
    return name


def open_engine(
    engine: str,
    model: Model,
    options: SessionOptions,
    cache: Cache,
    progress: Progress,
    timings: Timings,
    beside: Any = None,
) -> Any:
    """``engine`` for ``model``: ``run.executor.Executor`` or ``reference.ReferenceSession``.

    ``beside``: one for the same file, whose weights are used. Then prefixes are not kept.
    """
    # Each imports much that the other does not need.
    if engine == "compiled":
        from lumen_mlir.run.executor import Executor

        return Executor(
            model,
            options,
            sequences=options.sequences,
            spare=_SPARE,
            pool=options.kv_pool,
            prefixes=beside is None,
            cache=cache,
            progress=progress,
            timings=timings,
            beside=beside,
        )
    from lumen_mlir.reference import ReferenceSession

    return ReferenceSession(
        model,
        context=options.context_of(model),
        kv_type=options.kv_type,
        activations=options.activations,
    )
