# SPDX-License-Identifier: Apache-2.0
"""Brings contents into the cache: goes on where a download was interrupted, and checks what came."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lumen_mlir.gguf.description import size_text
from lumen_mlir.hub import settings
from lumen_mlir.hub.cache import CachedRepo
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName
from lumen_mlir.hub.remote import RemoteFile, library, understood

# Bytes that are read at once for a checksum.
_PIECE = 1 << 20

logger = logging.getLogger(__name__)


def check_space(repo: CachedRepo, name: HubName, files: dict[str, RemoteFile]) -> None:
    """Raises ``HubError`` where the disk of the cache has less room than what is missing of ``files``."""
    needed = 0
    for file in files.values():
        with contextlib.suppress(OSError):
            needed -= min(repo.partial(file.checksum).stat().st_size, file.size)
        needed += file.size
    folder = repo.folder
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise HubError(
            f"{name}: {size_text(needed)} are to be downloaded, but {repo.cache} has {size_text(free)} free "
            "(HF_HOME chooses another folder, 'lumen rm' makes room)"
        )


def fetch(
    repo: CachedRepo, name: HubName, commit: str, path: str, file: RemoteFile, progress: Callable[[int], None]
) -> None:
    """Makes the contents of one file a blob of the cache; ``progress`` gets bytes as they come.

    What is there of an earlier try is told at once, and kept when this one is interrupted. Raises
    ``HubError``, and ``OSError`` where the cache cannot be written.
    """
    blob, partial = repo.blob(file.checksum), repo.partial(file.checksum)
    blob.parent.mkdir(parents=True, exist_ok=True)
    with _alone(partial) as stream:
        if repo.has(commit, path, file.checksum, file.size):  # another process was faster
            partial.unlink(missing_ok=True)
            progress(file.size)
            return
        while True:
            begun = _begun(stream, file.size)
            progress(begun)
            wrong = HubError(f"{name}: what came of {path} does not have its checksum; try again")
            try:
                _get(name, commit, path, file.size, stream, begun, progress)
                stream.flush()
                if _matches(partial, file):
                    break
            except _Excess as error:
                wrong = error
            progress(-stream.seek(0, os.SEEK_END))
            stream.truncate(0)
            # Where bytes of an earlier try were the wrong ones, or it cannot be gone on with, it begins anew.
            if not begun:
                raise wrong
        os.fsync(stream.fileno())
        os.replace(partial, blob)


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[BinaryIO]:
    """The file, opened for this process alone: another one that downloads the same is waited for."""
    while True:
        stream = open(partial, "a+b")  # noqa: SIM115 - closed below
        try:
            _lock(stream, partial)
            try:
                # Whoever had the lock may have renamed the file.
                same = os.path.samestat(os.fstat(stream.fileno()), os.stat(partial))
            except FileNotFoundError:
                same = False
            if same:
                try:
                    yield stream
                finally:
                    if stream.seek(0, os.SEEK_END) == 0:
                        partial.unlink(missing_ok=True)  # nothing came
                return
        finally:
            stream.close()


def _lock(stream: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("another process is downloading the same file (%s); waiting for it", path)
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:
        pass  # some network file systems have no locks


def _begun(stream: BinaryIO, size: int) -> int:
    """Bytes of an earlier try, at whose end the stream stands then; more than there can be are dropped."""
    begun = stream.seek(0, os.SEEK_END)
    if begun > size:
        stream.truncate(0)
        begun = stream.seek(0)
    return begun


def _get(
    name: HubName,
    commit: str,
    path: str,
    size: int,
    stream: BinaryIO,
    begun: int,
    progress: Callable[[int], None],
) -> None:
    """Appends what is missing of ``size`` bytes behind the ``begun`` ones."""
    if begun == size:
        return
    hub = library()
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars("huggingface_hub.http_get")
    url = hub.hf_hub_url(name.repo, path, revision=commit, endpoint=settings.endpoint())
    excess = _Excess(f"{name}: more comes of {path} than {size_text(size)}")
    counted = _Counted(stream, size, excess, progress)
    while begun < size:
        failure = None
        try:
            with understood(name):
                # The size is checked here, so that what came stays where it is less.
                http_get(
                    url,
                    counted,  # type: ignore[arg-type]
                    resume_size=begun,
                    headers=build_hf_headers(),
                    displayed_filename=path,
                )
        except _Excess:
            raise
        except HubError as error:
            failure = error
        before, begun = begun, stream.seek(0, os.SEEK_END)
        # A connection that ends is made anew, as long as each brings something.
        if begun <= before:
            reason = failure or HubError(f"{name}: the rest of {path} does not come")
            hint = f"; 'lumen pull {name}' goes on at {size_text(begun)}" if begun else ""
            raise HubError(f"{reason}{hint}")


class _Excess(HubError):
    """More bytes came than a file has."""


class _Counted:
    """A stream that tells how much is written to it, and raises ``excess`` where it is more than ``size``."""

    def __init__(self, stream: BinaryIO, size: int, excess: _Excess, progress: Callable[[int], None]):
        self._stream, self._size, self._excess, self._progress = stream, size, excess, progress

    def write(self, data: bytes) -> int:
        if self._stream.tell() + len(data) > self._size:
            raise self._excess
        self._progress(len(data))
        return self._stream.write(data)

    def truncate(self, size: int | None = None) -> int:
        size = self._stream.tell() if size is None else size
        before = self._stream.seek(0, os.SEEK_END)
        self._stream.truncate(size)
        self._progress(size - before)
        return self._stream.seek(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _matches(path: Path, file: RemoteFile) -> bool:
    """Whether the file has its checksum: SHA-256, or git's, which counts the size in."""
    if path.stat().st_size != file.size:
        return False
    if len(file.checksum) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest() == file.checksum
