# SPDX-License-Identifier: Apache-2.0
"""How a model is opened and run: the options, the progress that is told, the times it took."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from lumen_mlir import env
from lumen_mlir.env import MAX_THREADS
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.formats import kv_cache
from lumen_mlir.models import Model
from lumen_mlir.run.device_name import DeviceName
from lumen_mlir.support.threads import default_thread_count

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("download", "load", "compile", "pack"), how much is done, of how much."""

# The largest context that a session takes by itself; a longer one has to be asked for.
DEFAULT_CONTEXT = 32_768
MOST_SEQUENCES = 4096
# Of layers on a GPU: as many as fit, and all.
AUTO, ALL = "auto", "all"


def silent(what: str, done: int, total: int) -> None:
    """A ``Progress`` that nobody watches."""


@dataclass
class Timings:
    """Seconds that opening a model took, and whether code and packed weights came from the cache.

    Weights may be packed while code compiles: ``pack`` is what was waited for them after that.
    """

    load: float = 0.0
    compile: float = 0.0
    pack: float = 0.0
    compile_cached: bool = False
    pack_cached: bool = False


@dataclass(frozen=True)
class SessionOptions:
    """How a model is run.

    Attributes:
      threads: of the team; None for ``LUMEN_THREADS`` or the number of physical cores.
      context: tokens that the KV cache can hold; 0 for the model's own length, None for at most 32,768 of it.
      kv_type: the elements of the KV cache: "f16", "f32", or "q8_0" for half the memory of f16.
      activations: "int8", what quantized weights are multiplied with, or "exact" for float32. With "int8",
        weights in bf16 meet bf16 on targets that have ``bf16_dot``.
      device: what runs it: "cpu", "cuda" for the first GPU, "cuda:1" for the second, …; None for what runs
        code for ``target``.
      target: a name of ``lumen_mlir.compiler.targets``, or "native" for the best one that the device runs.
      gpu_layers: how many of the last layers a GPU computes: a number, "all", or "auto" for as many as fit.
        The CPU computes the others. Without effect where the device is a CPU.
      chunk: most tokens of one step; a longer prompt is computed in several.
      sequences: most texts that are computed at a time; more wait.
      kv_pool: tokens of all texts together that the KV cache has room for; None for ``context``.
      pack_cache: keep packed weights in a file and map it at the next start.
      kv_disk: bytes of keys and values that are kept on disk for prompts that begin alike, also of other
        processes: a number, or a text such as "4G"; 0 for none.
      profile: count the calls and the time of every kernel (``lumen_mlir.measure.profiling``).
    """

    threads: int | None = None
    context: int | None = None
    kv_type: str = "f16"
    activations: str = "int8"
    device: str | None = None
    target: str = "native"
    gpu_layers: int | str = AUTO
    chunk: int = 512
    sequences: int = 16
    kv_pool: int | None = None
    pack_cache: bool = True
    kv_disk: int | str = 0
    profile: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_count("threads", self.threads, MAX_THREADS)
        if self.context is not None and not (type(self.context) is int and self.context == 0):
            check_count("context", self.context)
        check_count("chunk", self.chunk, 65_536)
        check_count("sequences", self.sequences, MOST_SEQUENCES)
        if self.kv_pool is not None:
            check_count("kv_pool", self.kv_pool)
        kv_cache.get(self.kv_type)
        _check_choice("activations", self.activations, ("int8", "exact"))
        if self.device is not None:
            DeviceName.parse(self.device)
        for name in ("pack_cache", "profile"):
            if not isinstance(getattr(self, name), bool):
                raise LumenError(f"{name} is {shown(getattr(self, name))}; True or False was expected")
        _ = self.kv_disk_bytes, self.gpu_layer_count

    @property
    def gpu_layer_count(self) -> int | None:
        """``gpu_layers`` as a number, larger than any model's for all; None where it is open.

        Raises ``LumenError`` where it is neither.
        """
        value: object = self.gpu_layers
        if value == AUTO:
            return None
        if value == ALL or (type(value) is int and value == -1):
            return sys.maxsize
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
            value = int(value)
        if type(value) is not int or value < 0:
            raise LumenError(
                f"gpu_layers is {shown(value)}; a number of layers, {ALL} or {AUTO} was expected"
            )
        return value

    @property
    def kv_disk_bytes(self) -> int:
        """``kv_disk`` in bytes. Raises ``LumenError`` where it is no size."""
        value: object = self.kv_disk
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = env.parse_size(value)
        if type(value) is not int or value < 0:
            raise LumenError(f"kv_disk is {shown(value)}; a size such as 500M or 4G was expected")
        return value

    @staticmethod
    def of(**options: Any) -> SessionOptions:
        """Options by name; ``LumenError`` for a name that is none."""
        names = [field.name for field in fields(SessionOptions)]
        for name in options:
            if name not in names:
                raise LumenError(f"unknown option '{name}'; known are {', '.join(names)}")
        return SessionOptions(**options)

    def context_of(self, model: Model) -> int:
        """The context for ``model``; ``LumenError`` where it is longer than the model's own."""
        most = model.config.context
        if self.context is None:
            return min(most, DEFAULT_CONTEXT)
        if self.context == 0:
            return most
        if self.context > most:
            raise LumenError(
                f"a context of {self.context} tokens is longer than the model's own of {most} tokens"
            )
        return self.context

    def thread_count(self) -> int:
        """The threads of the team."""
        if self.threads is not None:
            return self.threads
        return env.THREADS.get() or default_thread_count()


def check_count(name: str, value: Any, most: int | None = None) -> None:
    """Raises ``LumenError`` where ``value`` is no whole number from 1 to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most and value > most):
        limit = f" and at most {most}" if most else ""
        raise LumenError(f"{name} is {shown(value)}; a whole number of at least 1{limit} was expected")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise LumenError(f"unknown {name} {shown(value)}; known are {', '.join(choices)}")
