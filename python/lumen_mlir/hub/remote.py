# SPDX-License-Identifier: Apache-2.0
"""What a repository on the hub has, asked through ``huggingface_hub``, and what its failures mean."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lumen_mlir.errors import one_line, quoted, shown
from lumen_mlir.hub import settings
from lumen_mlir.hub.cache import COMMIT
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName, safe_path

_LOGIN = "'hf auth login', or HF_TOKEN"
INSTALL = "pip install 'lumen-mlir[hub]'"

# Git's checksum of a small file, or the SHA-256 of a large one.
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# More than any model: what is larger is a mistake, or made up.
_MOST_BYTES = 1 << 46
_MOST_FILES = 100_000
# Failures of the disk, which come while a download is written.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub: its bytes and its checksum, SHA-256 where it has 64 digits, else git's SHA-1."""

    size: int
    checksum: str


@dataclass(frozen=True)
class Repository:
    """The files of one commit, by path."""

    commit: str
    files: dict[str, RemoteFile]


def library() -> ModuleType:
    """``huggingface_hub``, or a ``HubError`` that says how it is installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise HubError(f"models from the hub need the package huggingface_hub: {INSTALL}") from None
    return huggingface_hub


def describe(name: HubName) -> Repository:
    """Asks the hub for the files of ``name``'s repository. Raises ``HubError``."""
    if settings.is_offline():
        raise HubError(
            f"{name}: is not on this machine, and HF_HUB_OFFLINE is set; "
            f"'lumen pull {name}' downloads it where that is not"
        )
    with understood(name):
        api = library().HfApi(endpoint=settings.endpoint())
        info = api.model_info(name.repo, revision=name.revision or "main", files_metadata=True, timeout=30)
    return _checked(name, info)


def _checked(name: HubName, info: Any) -> Repository:
    """The answer of the hub, which may be anything."""
    commit, siblings = getattr(info, "sha", None), getattr(info, "siblings", None) or []
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise HubError(f"{name}: the hub names no commit, but {shown(commit)}")
    if len(siblings) > _MOST_FILES:
        raise HubError(f"{name}: has {len(siblings):,} files; at most {_MOST_FILES:,} were expected")
    files = {}
    for sibling in siblings:
        path, size = sibling.rfilename, sibling.size
        lfs = sibling.lfs or {}
        checksum = lfs.get("sha256") or sibling.blob_id
        if not isinstance(path, str) or not safe_path(path):
            raise HubError(f"{name}: has a file {quoted(str(path))}, which is no path inside a repository")
        if type(size) is not int or not 0 <= size <= _MOST_BYTES:
            raise HubError(f"{name}: {quoted(path)} has a size of {shown(size)} bytes")
        if not isinstance(checksum, str) or not _CHECKSUM.fullmatch(checksum):
            raise HubError(f"{name}: {quoted(path)} has the checksum {shown(checksum)}, which is none")
        files[path] = RemoteFile(size, checksum)
    return Repository(commit, files)


@contextlib.contextmanager
def understood(name: HubName) -> Iterator[None]:
    """Makes every failure of ``huggingface_hub`` and of the network a ``HubError``."""
    try:
        yield
    except (HubError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # of requests, httpx or httpx2, as the version has it
        raise HubError(f"{name}: {_meaning(name, error)}") from None


def _meaning(name: HubName, error: Exception) -> str:
    from huggingface_hub import errors

    where = settings.endpoint()
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"is gated: accept its terms at {where}/{name.repo}, then log in ({_LOGIN})"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"there is no revision {quoted(name.revision or 'main')}"
    if status == 401 and getattr(response, "headers", {}).get("X-Error-Message", "").startswith("Invalid"):
        return f"the hub does not accept your token; log in again ({_LOGIN})"
    if isinstance(error, errors.RepositoryNotFoundError):
        login = "your token may not read it" if _has_token() else f"needs a login ({_LOGIN})"
        return f"there is no such model at {where}, or it is private and {login}"
    if isinstance(error, errors.EntryNotFoundError):
        return "the hub lists a file, but does not have it; try again later"
    if status == 429:
        return "the hub has had too many requests from here; wait some minutes, or log in ('hf auth login')"
    if status == 403:
        return f"the hub refuses access: {_said(error)}"
    if isinstance(status, int):
        return f"{where} answers with status {status}; try again later"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"{settings.cache_folder()}: {error.strerror}"
    if isinstance(error, (AttributeError, KeyError, TypeError, ValueError)):
        return f"{where} does not answer as the hub does ({_said(error)}); HF_ENDPOINT chooses another one"
    return f"{where} cannot be reached ({_said(error)}); HF_ENDPOINT names a mirror"


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(get_token())


def _said(error: Exception) -> str:
    return one_line(error, 160) or type(error).__name__
