# SPDX-License-Identifier: Apache-2.0
"""From a name to a path: what is on this machine is used, and what is not is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lumen_mlir.errors import LumenError
from lumen_mlir.hub import choice, settings
from lumen_mlir.hub.cache import CachedRepo, Snapshot
from lumen_mlir.hub.choice import Candidate
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName

Progress = Callable[[str, int, int], None]
"""Called with "download", the bytes that are here, and how many there will be."""


@dataclass(frozen=True)
class LocalModel:
    """A model of the hub that is on this machine.

    Attributes:
      path: of the GGUF file (the first part of several) or of the folder.
      format: what the folder is to be quantized to, where the name says so; else None.
      size: bytes of its files.
      downloaded: bytes that were downloaded for it now.
    """

    path: Path
    format: str | None
    size: int
    downloaded: int = 0


def locate(text: str, progress: Progress | None = None, *, folder: bool = False) -> LocalModel:
    """The model that a name of the hub means, downloaded where it is not here yet. Raises ``LumenError``.

    No request is made for what is here. ``folder``: a folder is wanted, not a GGUF file.
    """
    name = HubName.parse(text)
    return find(name, folder=folder) or pull(name, progress, folder=folder)


def find(name: HubName, *, folder: bool = False) -> LocalModel | None:
    """The model of this name in the cache, whole; None where it is not. Makes no request."""
    repo = CachedRepo(name.repo)
    if name.revision is not None:
        commit = repo.commit(name.revision)
        snapshots = [] if commit is None else [repo.snapshot(commit)]
    else:
        snapshots = repo.snapshots()
    for snapshot in snapshots:
        files = snapshot.files()
        try:
            found = choice.choose(_wanted(files, folder), name)
        except HubError:
            continue
        if not found.is_folder or has_tokenizer(found):
            return _local(snapshot, found, name, files)
    return None


def pull(name: HubName, progress: Progress | None = None, *, folder: bool = False) -> LocalModel:
    """The newest version of this name's model, downloaded as far as it is not here. Raises ``LumenError``.

    Where no request may be made (``HF_HUB_OFFLINE``), it is the one that is here.
    """
    if settings.is_offline() and (local := find(name, folder=folder)):
        return local
    # Imported here because most starts download nothing.
    from lumen_mlir.hub import download, remote

    remote.library()
    there = remote.describe(name)
    candidates = _wanted(there.files, folder)
    if folder and not candidates:
        raise HubError(f"{name}: has no model in safetensors; a Hugging Face folder was expected")
    found = choice.choose(candidates, name)
    repo, files = CachedRepo(name.repo), {path: there.files[path] for path in found.files}

    def here(path: str) -> bool:
        return repo.has(there.commit, path, files[path].checksum, files[path].size)

    missing = {path: file for path, file in files.items() if not here(path)}
    total = sum(file.size for file in {file.checksum: file for file in missing.values()}.values())
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None and total:
            progress("download", max(min(done, total), 0), total)

    try:
        if missing:
            download.check_space(repo, name, missing)
            count(0)
        for path, file in files.items():
            if not here(path):
                download.fetch(repo, name, there.commit, path, file, count)
            if repo.blob(file.checksum).exists():
                repo.link(there.commit, path, file.checksum)
        repo.set_commit(name.revision, there.commit)
    except OSError as error:
        where = error.filename or repo.folder
        raise HubError(f"{name}: {where}: {error.strerror or error}") from None
    sizes = {path: file.size for path, file in files.items()}
    local = _local(repo.snapshot(there.commit), found, name, sizes)
    return replace(local, downloaded=total)


def _wanted(files: dict, folder: bool) -> list[Candidate]:
    found = choice.candidates(files)
    return [candidate for candidate in found if candidate.is_folder] if folder else found


def has_tokenizer(found: Candidate) -> bool:
    """Whether the folder was downloaded to be run: other programs may have wanted a part of it."""
    return any(path in ("tokenizer.json", "tokenizer.model") for path in found.files)


def _local(snapshot: Snapshot, found: Candidate, name: HubName, files: dict[str, int]) -> LocalModel:
    path = snapshot.folder if found.is_folder else snapshot.folder / found.files[0]
    size = sum(files[file] for file in found.files)
    return LocalModel(path, name.tag if found.is_folder else None, size)


def agreed_format(name: str, of_name: str | None, given: str | None) -> str | None:
    """The format of the name or the one that was ``given``: they may not differ. Raises ``LumenError``."""
    if of_name and given and of_name.lower() != given.lower():
        raise LumenError(f"{name}: asks for {of_name}, but --format for {given}")
    return given or of_name
