# SPDX-License-Identifier: Apache-2.0
"""The models of a server: which there are, and which are loaded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError, did_you_mean, shown
from lumen_mlir.generate.llm import LLM
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.settings import ModelName
from lumen_mlir.support.system import available_memory

logger = logging.getLogger(__name__)

# Seconds between two looks for models that nobody needs any more.
_LOOK = 1.0
# Memory that loading takes, by the size of a file: packed weights and a KV cache.
_NEED = 1.3

Open = Callable[[str | None], LLM]


@dataclass
class Entry:
    """A model of the catalog.

    Attributes:
      name, source: see ``ModelName``.
      state: "unloaded", "loading", "loaded" or "failed".
      error: why loading failed.
      model: while it is loaded.
      users: requests that use it.
      used: when the last of them ended, by the monotonic clock.
      keep: seconds that it stays while nobody asks for it, where a client said so; inf is for ever.
      lock: held while it is loaded or unloaded.
    """

    name: str
    source: str | None
    state: str = "unloaded"
    error: str | None = None
    model: ServedModel | None = None
    users: int = 0
    used: float = 0.0
    keep: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def path(self) -> str | None:
        """The file or folder; None where there is none on this machine."""
        path = embedded_model_path() if self.source is None else self.source
        return os.fspath(path) if os.path.exists(path) else None

    def told(self, error: LumenError) -> LumenError:
        """``error`` as clients are told of it: with the model's name in place of its path."""
        opened = None if self.model is None else os.fspath(self.model.llm.model.file.path)
        text = str(error)
        for path in (opened, self.path):
            if path is not None:
                text = text.replace(path, self.name)
        return error if text == str(error) else Problem.of(error).saying(text)

    @property
    def file_size(self) -> int:
        """Bytes of the file; 0 where they are not known before it is opened."""
        try:
            return os.path.getsize(self.path) if self.path is not None and os.path.isfile(self.path) else 0
        except OSError:
            return 0


class Catalog:
    """Loads models when they are asked for, and lets them go.

    Args:
      models: by their names; the first is that of requests which name none.
      open_model: opens the model of a source; takes long.
      idle: seconds after which one that nobody asks for is unloaded; None for never.
      most: that are loaded at a time; None for as many as there is memory for.
      any_name: requests for other names get the first.
    """

    def __init__(
        self,
        models: Sequence[ModelName],
        open_model: Open,
        *,
        idle: float | None = None,
        most: int | None = None,
        any_name: bool = False,
    ):
        self.entries = {each.name: Entry(each.name, each.source) for each in models}
        self._open_model, self._idle, self._most, self._any_name = open_model, idle, most, any_name

    @property
    def first(self) -> Entry:
        """That of requests which name none."""
        return next(iter(self.entries.values()))

    def find(self, name: str | None) -> Entry:
        """The model of this name. Raises ``Problem`` where there is none."""
        if not name:
            return self.first
        # As ollama writes names without a tag.
        entry = self.entries.get(name) or self.entries.get(name.removesuffix(":latest"))
        if entry is None and self._any_name:
            return self.first
        if entry is None:
            known = ", ".join(self.entries)
            message = (
                f"the model {shown(name)} is not here{did_you_mean(name, self.entries)} (there is {known})"
            )
            raise Problem(404, message, code="model_not_found", field="model")
        return entry

    @contextlib.asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[ServedModel]:
        """The model of this name, which is loaded first where it has to be, and stays meanwhile.

        Raises ``Problem`` where there is none, and where it cannot be loaded.
        """
        entry = self.find(name)
        entry.users += 1
        try:
            yield await self.load(entry)
        except LumenError as error:
            told = entry.told(error)
            if told is error:
                raise
            raise told from error
        finally:
            entry.users -= 1
            entry.used = time.monotonic()

    async def load(self, entry: Entry) -> ServedModel:
        """Loads a model, unless it is loaded. Whoever is cancelled meanwhile lets the others wait on."""
        if entry.model is None:
            async with entry.lock:
                if entry.model is None:
                    # (A thread cannot be cancelled: what it opens is kept.)
                    await asyncio.shield(asyncio.ensure_future(self._load(entry)))
        assert entry.model is not None
        return entry.model

    async def _load(self, entry: Entry) -> None:
        await self._make_room(entry)
        entry.state, entry.error, start = "loading", None, time.perf_counter()
        logger.info("loading %s", entry.name)
        try:
            model = await asyncio.to_thread(self._opened, entry)
        except Exception as error:
            entry.state, entry.error = "failed", str(error)
            logger.error("%s could not be loaded: %s", entry.name, error)
            if isinstance(error, (LumenError, OSError, MemoryError)):
                raise Problem(503, f"the model {entry.name} cannot be loaded: {error}") from error
            raise
        entry.model, entry.state, entry.used = model, "loaded", time.monotonic()
        seconds = time.perf_counter() - start
        logger.info("loaded %s in %.1f s: %s", entry.name, seconds, model.description)

    def _opened(self, entry: Entry) -> ServedModel:
        model = ServedModel(entry.name, self._open_model(entry.source))
        model.prepare()
        return model

    async def unload(self, entry: Entry) -> None:
        """Lets a model go; texts that it is writing end with an error."""
        async with entry.lock:
            model, entry.model, entry.keep = entry.model, None, None
            if model is not None:
                entry.state = "unloaded"
                await model.close()
                logger.info("unloaded %s", entry.name)

    async def _make_room(self, entry: Entry) -> None:
        """Unloads what nobody uses, the longest unused first, until there is room for ``entry``."""
        need = int(entry.file_size * _NEED)
        while True:
            loaded = [other for other in self.entries.values() if other.model is not None]
            free = available_memory()
            crowded = self._most is not None and len(loaded) >= self._most
            if not crowded and (free is None or need <= free or not loaded):
                return
            unused = [other for other in loaded if not other.users]
            if not unused:
                if not crowded:
                    # Whether there is enough is said by who opens it.
                    return
                raise Problem(503, "all models that may be loaded are in use", code="no_room", retry_after=5)
            await self.unload(min(unused, key=lambda other: other.used))

    async def unload_idle(self) -> None:
        """Unloads what nobody asks for, from time to time. Ends when it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            for entry in self.entries.values():
                left = self.seconds_left(entry)
                if entry.model is not None and not entry.users and left is not None and left <= 0:
                    await self.unload(entry)

    def seconds_left(self, entry: Entry) -> float | None:
        """After which a model is unloaded if nobody asks for it; None where it stays."""
        keep = self._idle if entry.keep is None else entry.keep
        if keep is None or keep == math.inf:
            return None
        return keep if entry.users else keep - (time.monotonic() - entry.used)

    async def close(self) -> None:
        """Unloads all."""
        for entry in self.entries.values():
            await self.unload(entry)

    @property
    def loaded(self) -> list[ServedModel]:
        """Those that are."""
        return [entry.model for entry in self.entries.values() if entry.model is not None]
