# SPDX-License-Identifier: Apache-2.0
"""The models in the hub's cache that Lumen can run, and how they are removed from it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir.errors import LumenError
from lumen_mlir.hub import choice, pull
from lumen_mlir.hub.cache import CachedRepo, Snapshot, repos
from lumen_mlir.hub.choice import Candidate
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName


@dataclass(frozen=True)
class Listed:
    """A model that is on this machine.

    Attributes:
      name: what to call it; it has a revision where a newer version is here too.
      candidate: its files in the repository.
      path: of the GGUF file, or the folder.
      size: bytes on the disk.
      used: when it was last read, in seconds since 1970.
      snapshots: the commits that have it.
    """

    name: HubName
    candidate: Candidate
    path: Path
    size: int
    used: float
    snapshots: tuple[Snapshot, ...]

    @property
    def format(self) -> str | None:
        """As the name of the file has it; "safetensors" for a folder; None where neither is known."""
        return "safetensors" if self.candidate.is_folder else self.candidate.format

    @property
    def links(self) -> list[Path]:
        """The files in all snapshots."""
        return [each.folder / file for each in self.snapshots for file in self.candidate.files]


def models() -> list[Listed]:
    """All of them, the most recently used first."""
    found = [model for repo in repos() for model in _of_repo(repo)]
    return sorted(found, key=lambda model: (-model.used, str(model.name)))


def partials() -> dict[str, int]:
    """Bytes of interrupted downloads, by repository."""
    sizes = {repo.repo: sum(repo.partials().values()) for repo in repos()}
    return {repo: size for repo, size in sizes.items() if size}


def matching(text: str, every: bool = False) -> list[Listed]:
    """The models that ``text`` names: one, unless ``every``; none if an interrupted download is all there is.

    Raises ``HubError``.
    """
    name = HubName.parse(text, bare=True)
    repo = CachedRepo(name.repo)
    there = list(_of_repo(repo))
    found = there
    if name.revision is not None:
        commit = repo.commit(name.revision)
        found = [model for model in found if any(each.commit == commit for each in model.snapshots)]
    if name.tag or name.file:
        meant = choice.matching([model.candidate for model in found], name)
        found = [model for model in found if model.candidate in meant]
    if not found and not repo.partials():
        known = ", ".join(str(model.name) for model in there)
        hint = f"; there are {known}" if known else " ('lumen list' shows what is)"
        raise HubError(f"{name}: is not on this machine{hint}")
    if len(found) > 1 and not every:
        names = ", ".join(str(model.name) for model in found)
        raise HubError(f"{name}: could be {names}; name one, or pass --all")
    return found


def remove(model: Listed) -> int:
    """Removes a model's files, unless others need them; bytes that became free. Raises ``OSError``."""
    repo = CachedRepo(model.name.repo)
    blobs, freed = {_target(link) for link in model.links}, 0
    for link in model.links:
        with contextlib.suppress(FileNotFoundError):
            freed += 0 if link.is_symlink() else link.stat().st_size
            link.unlink()
    # What another commit or another model has, too, stays.
    needed = {_target(path) for path in _files(repo.folder / "snapshots")}
    for blob in blobs - needed:
        freed += _remove_blob(repo, blob)
    _tidy(repo)
    return freed


def remove_partials(name: str) -> int:
    """Removes interrupted downloads of the repository ``USER/REPO``; their bytes. Raises ``OSError``."""
    repo = CachedRepo(name)
    removed = 0
    for path, size in repo.partials().items():
        with open(path, "rb") as stream, contextlib.suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one that goes on is left alone
            path.unlink()
            removed += size
    _tidy(repo)
    return removed


def _of_repo(repo: CachedRepo) -> Iterator[Listed]:
    """The models of one repository: those of equal contents in several commits are one."""
    seen: dict[tuple, tuple[Candidate, list[Snapshot]]] = {}
    for snapshot in repo.snapshots():
        for candidate in choice.candidates(snapshot.files()):
            if candidate.missing or (candidate.is_folder and not _runs(snapshot.folder, candidate)):
                continue
            contents = tuple(os.path.realpath(snapshot.folder / file) for file in candidate.files)
            seen.setdefault((candidate, contents), (candidate, []))[1].append(snapshot)
    all_ = [candidate for candidate, _ in seen.values()]
    named: set[str] = set()
    for candidate, snapshots in seen.values():
        name = _name(repo, candidate, all_)
        if str(name) in named:
            name = HubName(name.repo, snapshots[0].commit[:12], name.tag, name.file)
        named.add(str(name))
        folder, size, used = snapshots[0].folder, 0, 0.0
        for file in candidate.files:
            with contextlib.suppress(OSError):
                status = os.stat(folder / file)
                size += status.st_size
                used = max(used, status.st_atime)
        path = folder if candidate.is_folder else folder / candidate.files[0]
        yield Listed(name, candidate, path, size, used, tuple(snapshots))


def _name(repo: CachedRepo, candidate: Candidate, all_: list[Candidate]) -> HubName:
    """The shortest name that ``choice.choose`` understands as this candidate."""
    if candidate.is_folder:
        return HubName(repo.repo)
    others = {each.files: each for each in all_ if each.files != candidate.files}.values()
    for tag in (candidate.format, candidate.stem):
        if tag and all(tag not in (each.format, each.stem) for each in others):
            return HubName(repo.repo, tag=tag)
    return HubName(repo.repo, file=candidate.files[0])


def _runs(folder: Path, candidate: Candidate) -> bool:
    """Whether Lumen knows the class of the folder's model: the cache has models of other kinds."""
    # Imported here because few models are folders.
    from lumen_mlir.hf.config import HFConfig
    from lumen_mlir.models import of_hf_class

    if not pull.has_tokenizer(candidate):
        return False
    try:
        of_hf_class(HFConfig(folder / "config.json").model_class)
    except LumenError:
        return False
    return True


def _target(path: Path) -> Path:
    """The blob that a file of a snapshot is a link to; the file itself where there are no links."""
    try:
        return Path(os.path.normpath(path.parent / os.readlink(path)))
    except OSError:
        return path


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _remove_blob(repo: CachedRepo, blob: Path) -> int:
    """Removes one, which must lie in the folder of ``repo``; the bytes that became free."""
    if not blob.is_relative_to(repo.folder):
        return 0
    try:
        # A blob may itself be a link into a store that repositories share: 'hf cache prune' tidies that.
        size = 0 if blob.is_symlink() else blob.stat().st_size
        blob.unlink()
    except FileNotFoundError:
        return 0
    return size


def _tidy(repo: CachedRepo) -> None:
    """Removes folders without files, and notes on a repository of which nothing is left."""
    snapshots = repo.folder / "snapshots"
    for parent, _, _ in sorted(os.walk(snapshots), reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(parent)
    if snapshots.exists() or any(_files(repo.folder / "blobs")):
        return
    locks = repo.cache / ".locks" / repo.folder.name
    for path in (*_files(repo.folder / "refs"), *_files(repo.folder / ".no_exist"), *_files(locks)):
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in (repo.folder, locks):
        for parent, _, _ in sorted(os.walk(folder), reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(parent)
