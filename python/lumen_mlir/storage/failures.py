# SPDX-License-Identifier: Apache-2.0
"""The IR that a stage of the compiler failed on, for whoever wants to reproduce it; the last few are kept."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from lumen_mlir import env
from lumen_mlir.errors import LumenError
from lumen_mlir.storage.cache import FAILURES, default_folder, temporary_folder
from lumen_mlir.storage.cache_entry import distrust

KEPT = 20


def keep(name: str, text: str) -> Path | None:
    """Writes ``text`` to a new file ``NAME-….mlir`` in the cache folder; None where that is not possible.

    Without a cache it goes to a folder among the temporary files. Older files than the last 20 are removed.
    """
    for folder_of in (_cache_folder, temporary_folder):
        # Nothing here may hide the failure itself.
        with contextlib.suppress(OSError, LumenError):
            return _write(folder_of() / FAILURES, name, text)
    return None


def _cache_folder() -> Path:
    if not env.CACHE_LIMIT.get():
        raise FileNotFoundError("caching is off")
    return env.CACHE_DIR.get() or default_folder()


def _write(folder: Path, name: str, text: str) -> Path:
    for part in (folder.parent, folder):
        with contextlib.suppress(FileExistsError):
            os.makedirs(part, 0o700)
        if distrust(part.stat()):
            raise PermissionError(f"{part} is open to others")
    descriptor, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".mlir", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        os.unlink(path)
        raise
    kept = sorted(folder.glob("*.mlir"), key=lambda each: each.stat().st_mtime_ns, reverse=True)
    for old in kept[KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
    return Path(path)
