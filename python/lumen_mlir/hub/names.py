# SPDX-License-Identifier: Apache-2.0
"""Names of models on the hub: ``hf:USER/REPO[@REVISION][:QUANT]``, and the addresses that people paste."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from lumen_mlir.errors import quoted
from lumen_mlir.hub import settings
from lumen_mlir.hub.errors import HubError

EXAMPLE = "hf:USER/REPO:q4_k_m"

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PREFIXES = ("hf:", *(f"{scheme}{host}/" for scheme in ("https://", "http://", "") for host in _HOSTS))

# What the hub allows in the names of users and of repositories.
_PART = re.compile(r"(?!.*(?:\.\.|--))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?", re.S)
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9_][A-Za-z0-9._+/-]{0,199}", re.S)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")


@dataclass(frozen=True)
class HubName:
    """A model of the hub.

    Attributes:
      repo: ``USER/REPO``.
      revision: a branch, a tag or a commit; None for the newest.
      tag: a format such as ``q4_k_m``, or the name of a file without ``.gguf``; None for the default.
      file: the path of one file in the repository, where an address named it.
    """

    repo: str
    revision: str | None = None
    tag: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        tag = f":{self.file or self.tag}" if self.file or self.tag else ""
        return f"hf:{self.repo}{revision}{tag}"

    @classmethod
    def parse(cls, text: str, bare: bool = False) -> HubName:
        """The model that ``text`` names; ``bare``: also without ``hf:``. Raises ``HubError``."""
        prefix = _prefix(text)
        if prefix is None:
            if not bare:
                raise HubError(f"{quoted(text)} is not a name of the hub; {EXAMPLE} was expected")
            prefix = ""
        # "hf://USER/REPO" is how huggingface_hub itself writes it.
        rest = text[len(prefix) :].removeprefix("//") if prefix == "hf:" else text[len(prefix) :]
        return _address(text, rest) if "/" in prefix else _name(text, rest)


def is_name(text: str) -> bool:
    """Whether ``text`` begins as a name does, and no file is called so."""
    return _prefix(text) is not None and not os.path.lexists(text)


def _prefix(text: str) -> str | None:
    own = f"{settings.endpoint()}/"
    return next((each for each in (*_PREFIXES, own) if text[: len(each)].lower() == each.lower()), None)


def _name(text: str, rest: str) -> HubName:
    """``USER/REPO[@REVISION][:TAG]``; a path of a file may stand behind the repository or as the tag."""
    head, _, tag = rest.partition(":")
    if ":" in rest and not tag:
        raise HubError(f"{quoted(text)}: nothing stands behind ':'; a format such as q4_k_m was expected")
    head, at, revision = head.partition("@")
    parts = head.split("/")
    if parts[2:] and tag:
        raise HubError(f"{quoted(text)}: names a file twice, behind '/' and behind ':'")
    file = "/".join(parts[2:]) or (tag if tag.lower().endswith(".gguf") else "")
    repo = "/".join(parts[:2])
    return _checked(text, repo, revision if at else None, None if file else tag or None, file)


def _address(text: str, rest: str) -> HubName:
    """``USER/REPO``, of an address as it stands in a browser, or as ollama has it, with ``:TAG``."""
    parts = unquote(urlsplit(f"//host/{rest}").path).strip("/").split("/")
    if len(parts) > 3 and parts[2] in ("blob", "resolve", "tree", "raw"):
        if parts[2] == "tree":
            return _checked(text, "/".join(parts[:2]), "/".join(parts[3:]), None, "")
        # Pull requests are the only revisions with slashes that the hub shows.
        length = 3 if parts[3:5] == ["refs", "pr"] else 1
        file = "/".join(parts[3 + length :])
        return _checked(text, "/".join(parts[:2]), "/".join(parts[3 : 3 + length]), None, file)
    if len(parts) == 3 and parts[2] == "tree":
        del parts[2]
    return _name(text, "/".join(parts))


def _checked(text: str, repo: str, revision: str | None, tag: str | None, file: str) -> HubName:
    user, _, name = repo.partition("/")
    if not _PART.fullmatch(user) or not _PART.fullmatch(name):
        raise HubError(f"{quoted(text)}: USER/REPO was expected, as in {EXAMPLE}")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise HubError(f"{quoted(text)}: {quoted(revision)} is not a branch, tag or commit")
    if tag is not None and not _TAG.fullmatch(tag):
        raise HubError(f"{quoted(text)}: {quoted(tag)} is not a format, such as q4_k_m")
    if file and not file.lower().endswith(".gguf"):
        raise HubError(f"{quoted(text)}: {quoted(file)} is not a GGUF file")
    if file and not safe_path(file):
        raise HubError(f"{quoted(text)}: {quoted(file)} is not a path inside a repository")
    return HubName(repo, None if revision == "main" else revision, tag, file or None)


def safe_path(path: str) -> bool:
    """Whether a file's name in a repository is one: it stays in the folder, and steers no terminal."""
    parts = path.split("/")
    fits = len(path) <= 1000 and all(0 < len(part.encode("utf-8", "replace")) <= 255 for part in parts)
    return fits and path.isprintable() and "\\" not in path and not {".", ".."} & set(parts)
