# SPDX-License-Identifier: Apache-2.0
"""The cache of ``huggingface_hub``, which other programs share; its documentation describes the layout.

``models--USER--REPO/`` has ``refs/main`` (the commit that this was), ``snapshots/COMMIT/`` with the files of
the repository, and ``blobs/`` with their contents by checksum, which the files are links to.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir.hub import settings
from lumen_mlir.hub.names import safe_path
from lumen_mlir.storage.atomic_file import replacing, temporary_name

COMMIT = re.compile(r"[0-9a-f]{40}")
_FOLDER = re.compile(r"models--((?:(?!--).)+)--((?:(?!--).)+)")
PARTIAL = ".lumen.incomplete"


@dataclass(frozen=True)
class Snapshot:
    """What is here of one commit of a repository."""

    repo: str
    commit: str
    folder: Path

    def files(self) -> dict[str, int]:
        """Paths in the repository and sizes in bytes; links that lead nowhere do not count."""
        found = {}
        for parent, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(parent, name)
                with contextlib.suppress(OSError):
                    found[os.path.relpath(path, self.folder)] = os.stat(path).st_size
        return {name: size for name, size in found.items() if safe_path(name)}


class CachedRepo:
    """The folder of one repository in the cache, there or not."""

    def __init__(self, repo: str, cache: Path | None = None):
        self.repo = repo
        self.cache = cache or settings.cache_folder()
        self.folder = self.cache / f"models--{repo.replace('/', '--')}"

    def blob(self, checksum: str) -> Path:
        """Where contents of this checksum are, or will be."""
        return self.folder / "blobs" / checksum

    def partial(self, checksum: str) -> Path:
        """Where contents are until they are whole. ``huggingface_hub`` uses other names."""
        return self.folder / "blobs" / f"{checksum}{PARTIAL}"

    def partials(self) -> dict[Path, int]:
        """Downloads that were interrupted, and their bytes."""
        found = {}
        with contextlib.suppress(OSError):
            for path in sorted((self.folder / "blobs").glob("*.incomplete")):
                found[path] = path.stat().st_size
        return found

    def snapshot(self, commit: str) -> Snapshot:
        return Snapshot(self.repo, commit, self.folder / "snapshots" / commit)

    def commit(self, revision: str | None) -> str | None:
        """The commit that a revision was when it was last asked for; None where it never was."""
        revision = revision or "main"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = (self.folder / "refs" / revision).read_text("ascii").strip()
            if COMMIT.fullmatch(text):
                return text
        begins = [each.commit for each in self.snapshots() if each.commit.startswith(revision)]
        return begins[0] if len(begins) == 1 and len(revision) >= 7 else None

    def snapshots(self) -> list[Snapshot]:
        """All commits, that of ``main`` first, then the latest downloaded."""
        try:
            folders = [path for path in (self.folder / "snapshots").iterdir() if COMMIT.fullmatch(path.name)]
            folders.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        except OSError:
            return []
        try:
            main = (self.folder / "refs" / "main").read_text("ascii", "replace").strip()
        except OSError:
            main = ""
        folders.sort(key=lambda path: path.name != main)
        return [self.snapshot(path.name) for path in folders]

    def has(self, commit: str, name: str, checksum: str, size: int) -> bool:
        """Whether the contents of file ``name`` of a commit are here."""
        for path in (self.blob(checksum), self.folder / "snapshots" / commit / name):
            with contextlib.suppress(OSError):
                if path.stat().st_size == size:
                    return True
        return False

    def link(self, commit: str, name: str, checksum: str) -> Path:
        """Makes the blob of this ``checksum`` file ``name`` of a commit. Raises ``OSError``.

        On a file system without links the blob itself becomes the file, as with ``huggingface_hub``.
        """
        path, blob = self.folder / "snapshots" / commit / name, self.blob(checksum)
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(blob, path.parent)
        with contextlib.suppress(OSError):
            if os.readlink(path) == target:
                return path
        temporary = temporary_name(path)
        try:
            os.symlink(target, temporary)
        except PermissionError:
            temporary = blob
        os.replace(temporary, path)
        return path

    def set_commit(self, revision: str | None, commit: str) -> None:
        """Notes which commit a branch or tag is now. Raises ``OSError``."""
        revision = revision or "main"
        if revision == commit:
            return
        path = self.folder / "refs" / revision
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(commit.encode("ascii"))


def repos() -> Iterator[CachedRepo]:
    """All repositories of models in the cache, by name."""
    cache = settings.cache_folder()
    try:
        names = sorted(os.listdir(cache))
    except OSError:
        return
    for name in names:
        if match := _FOLDER.fullmatch(name):
            yield CachedRepo(f"{match[1]}/{match[2]}", cache)
