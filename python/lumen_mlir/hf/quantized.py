# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders that are quantized when they are opened: once, into a GGUF file in the cache.

The file is any GGUF file. An entry beside it has a checksum of each tensor and of what comes before them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lumen_mlir.errors import quoted
from lumen_mlir.gguf import GGUFError, GGUFFile
from lumen_mlir.gguf.description import label
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.folder import HFFolder
from lumen_mlir.hf.safetensors import SafetensorsFile
from lumen_mlir.quantize import quantization
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.checksum import checksum
from lumen_mlir.storage.mapping import map_file
from lumen_mlir.version import __version__

# Goes into the key of cached files: raise it when what is written changes.
_VERSION = 2
# What a model is made from.
_READ = (".json", ".jinja", ".model", ".safetensors")

logger = logging.getLogger(__name__)


def open_quantized(
    path: str | os.PathLike[str],
    format: str,
    pre_tokenizer: str | None = None,
    cache: Cache | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> GGUFFile | HFFolder:
    """The folder ``path`` with its matrices in ``format`` (a mixture such as q4_k_m, or any format).

    The quantized model is kept in ``cache``, so that the next start maps it. Where it cannot be kept, tensors
    are quantized whenever they are asked for. Raises ``LumenError``.
    """
    cache = Cache() if cache is None else cache
    source = path, format, pre_tokenizer
    key = _key(Path(os.fspath(path)), format, pre_tokenizer)
    kept = cache.file("models", key)
    if kept is not None and kept.exists():
        try:
            # Without checksums its writer was interrupted just before the end.
            if (known := cache.load("models", _sums_key(key))) is not None:
                return _KeptFile(kept, key, json.loads(known), *source)
        except GGUFError as error:
            logger.warning("%s; it is made again", error)
    folder = HFFolder.open(path, pre_tokenizer)
    choices = quantization.Choices(format)
    plan = quantization.plan(folder, choices)
    if kept is not None and cache.fits("models", plan.nbytes):
        try:
            quantization.quantize_file(folder, kept, choices, threads=threads, progress=progress)
            written = GGUFFile.open(kept)
            sums = _checksums(written)
            labelled = cache.labelled(label(written, path))
            labelled.store("models", _sums_key(key), json.dumps(sums).encode())
            cache.added(kept)
            return _KeptFile(kept, key, sums, *source)
        except GGUFError as error:  # a full disk, most often
            logger.warning("%s; going on without, which is slow at each start", error)
    return _with_types(folder, plan)


def open_planned(path: str | os.PathLike[str], format: str, pre_tokenizer: str | None = None) -> HFFolder:
    """The folder with the types that ``format`` gives its tensors; they are quantized when asked for."""
    folder = HFFolder.open(path, pre_tokenizer)
    return _with_types(folder, quantization.plan(folder, quantization.Choices(format)))


def _with_types(folder: HFFolder, plan: quantization.Plan) -> HFFolder:
    return folder.with_types({item.info.name: item.type for item in plan.items})


_HEAD = ""
"""Stands for what comes before the tensors, among the checksums of these."""


class _KeptFile(GGUFFile):
    """A file of the cache: tensors are compared with their checksums when they are first asked for."""

    def __init__(
        self, kept: Path, key: str, sums: dict[str, int], path: str | os.PathLike[str], *how: str | None
    ):
        """``how`` the folder ``path`` was quantized is as for ``open_planned``.

        ``GGUFError`` where what comes before the tensors is not what was written.
        """
        file = GGUFFile.open(kept)
        vars(self).update(vars(file))
        self._kept, self._sums = kept, sums
        self._source: tuple[Any, ...] = (path, *how)
        self._sound: dict[str, np.ndarray] = {}
        if checksum(_head(file)) != sums.get(_HEAD):
            raise GGUFError(f"{kept}: is damaged: its checksum differs")
        # For people the model is still the folder.
        self.stand_for(os.fspath(path), key)

    def raw(self, name: str) -> np.ndarray:
        if name not in self._sound:
            data = super().raw(name)
            if checksum(data) != self._sums.get(name):
                self.files[0].check_unchanged()
                logger.warning("%s: tensor %s is damaged; it is made again", self._kept, quoted(name))
                with contextlib.suppress(OSError):
                    self._kept.unlink()
                data = open_planned(*self._source).little_endian(name)
            self._sound[name] = data
        return self._sound[name]


def _checksums(file: GGUFFile) -> dict[str, int]:
    """Of each tensor, and of what comes before them under ``_HEAD``."""
    return {_HEAD: checksum(_head(file)), **{name: checksum(file.raw(name)) for name in file.tensors}}


def _head(file: GGUFFile) -> np.ndarray:
    return np.frombuffer(file.files[0], np.uint8)[: file.data_offset]


def _sums_key(key: str) -> str:
    return f"{key}.sums"


def _key(folder: Path, format: str, pre_tokenizer: str | None) -> str:
    """Another one for other files (by size, time, inode and samples), another format or another version."""
    parts = [__version__, str(_VERSION), format.lower(), str(pre_tokenizer)]
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix in _READ:
                status = path.stat()
                parts.append(
                    f"{path.name} {status.st_size} {status.st_mtime_ns} {status.st_dev} {status.st_ino} "
                    + _sample(path).hex()
                )
    except OSError as error:
        raise HFError(f"{folder}: cannot be read: {error.strerror or error}") from None
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _sample(path: Path) -> bytes:
    """A digest of some bytes of a file: of each tensor, or of every part of a text."""
    if path.suffix == ".safetensors":
        return SafetensorsFile(str(path)).sample()
    if not path.is_file() or path.stat().st_size == 0:
        return b""
    file, (size, *_) = map_file(str(path), "a part of a model", HFError)
    # Small ones are read whole.
    part = 4096 if size <= 1 << 20 else 1 << 14
    return file.sample((begin, min(part, size - begin)) for begin in range(0, size, part))
