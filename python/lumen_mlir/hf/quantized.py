# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders that are quantized when they are opened: once, into a GGUF file in the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from lumen_mlir import quantization
from lumen_mlir.cache import Cache
from lumen_mlir.gguf import GGUFError, GGUFFile
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.folder import HFFolder
from lumen_mlir.version import __version__

# Goes into the key of cached files: raise it when what is written changes.
_VERSION = 1
# What a model is made from.
_READ = (".json", ".jinja", ".model", ".safetensors")

logger = logging.getLogger("lumen_mlir.hf")


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
    key = _key(Path(os.fspath(path)), format, pre_tokenizer)
    kept = cache.file("models", key)
    if kept is not None and kept.exists():
        try:
            return _opened(kept, path, key)
        except GGUFError as error:
            logger.warning("%s; it is made again", error)
    folder = HFFolder.open(path, pre_tokenizer)
    choices = quantization.Choices(format)
    plan = quantization.plan(folder, choices)
    if kept is not None and cache.fits("models", plan.nbytes):
        try:
            quantization.quantize_file(folder, kept, choices, threads=threads, progress=progress)
            cache.added(kept)
            return _opened(kept, path, key)
        except GGUFError as error:  # a full disk, most often
            logger.warning("%s; going on without, which is slow at each start", error)
    return _with_types(folder, plan)


def open_planned(path: str | os.PathLike[str], format: str, pre_tokenizer: str | None = None) -> HFFolder:
    """The folder with the types that ``format`` gives its tensors; they are quantized when asked for."""
    folder = HFFolder.open(path, pre_tokenizer)
    return _with_types(folder, quantization.plan(folder, quantization.Choices(format)))


def _with_types(folder: HFFolder, plan: quantization.Plan) -> HFFolder:
    return folder.with_types({item.info.name: item.type for item in plan.items})


def _opened(kept: Path, path: str | os.PathLike[str], key: str) -> GGUFFile:
    file = GGUFFile.open(kept)
    # For people the model is still the folder; the file's own time changes whenever it is used.
    file.stand_for(os.fspath(path), key)
    return file


def _key(folder: Path, format: str, pre_tokenizer: str | None) -> str:
    """Another one for other files (by size, time and inode), another format or another version."""
    parts = [__version__, str(_VERSION), format.lower(), str(pre_tokenizer)]
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix in _READ:
                status = path.stat()
                parts.append(
                    f"{path.name} {status.st_size} {status.st_mtime_ns} {status.st_dev} {status.st_ino}"
                )
    except OSError as error:
        raise HFError(f"{folder}: cannot be read: {error.strerror or error}") from None
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
