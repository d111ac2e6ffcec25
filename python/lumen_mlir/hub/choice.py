# SPDX-License-Identifier: Apache-2.0
"""Which files of a repository are models, and which of them a name means."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lumen_mlir.errors import quoted
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName

DEFAULTS = ("q4_k_m", "q8_0", "q5_k_m", "q4_k_s", "q6_k", "q4_0", "q3_k_m", "bf16", "f16")
"""The formats that are looked for, in this order, where a name says none."""

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.I | re.S)
# A format in the name of a file: Q4_K_M, IQ3_XXS, UD-Q4_K_XL, MXFP4_MOE, F16, ….
_FORMAT = re.compile(
    r"(?:^|(?<=[-._/]))(UD-)?(I?Q\d+(?:_[A-Z0-9]+)*|TQ\d(?:_\d)?|(?:MX|NV)FP4(?:_[A-Z]+)?|BF16|FP?16|FP?32)(?=$|[-.])",
    re.I,
)
# GGUF files that are parts of models, or about them.
_OTHERS = re.compile(r"(?:^|[-._])(?:mmproj|imatrix|vocab|lora|adapter|draft)(?:[-._]|$)", re.I)
_SHOWN = 12


@dataclass(frozen=True)
class Candidate:
    """One model of a repository.

    Attributes:
      files: paths in the repository in the order of their parts; of a folder the weights come last.
      format: such as ``q4_k_m``; None for a folder, or where the file does not say.
      is_folder: a folder with ``config.json`` and safetensors; its files lie at the top.
      missing: how many parts of a split model are not there.
    """

    files: tuple[str, ...]
    format: str | None = None
    is_folder: bool = False
    missing: int = 0

    @property
    def stem(self) -> str:
        """The name of the file without the number of its part and ``.gguf``."""
        name = self.files[0].rpartition("/")[2]
        part = _PART.fullmatch(name)
        return part[1] if part else name[: -len(".gguf")]


def candidates(names: Iterable[str]) -> list[Candidate]:
    """The models that files of these ``names`` are: GGUF files by name, then perhaps the folder itself."""
    groups: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    names = sorted(names)
    for name in names:
        if not name.lower().endswith(".gguf") or _OTHERS.search(name.rpartition("/")[2][: -len(".gguf")]):
            continue
        part = _PART.fullmatch(name)
        key = f"{part[1]}-of-{part[3]}" if part else name
        groups.setdefault(key, []).append(name)
        counts[key] = int(part[3]) if part else 1
    found = [
        Candidate(tuple(files), _format(files[0]), missing=max(counts[key] - len(files), 0))
        for key, files in groups.items()
    ]
    folder = _folder(names)
    return [*found, folder] if folder else found


def choose(found: list[Candidate], name: HubName) -> Candidate:
    """The one that ``name`` means. Raises ``HubError`` where it is none, several, or not complete."""
    chosen = matching(found, name)
    if not found:
        raise HubError(f"hf:{name.repo}: has neither GGUF files nor a model in safetensors")
    if not chosen:
        what = f"no file {quoted(name.file)}" if name.file else f"no {quoted(name.tag or '')}"
        raise HubError(f"hf:{name.repo}: has {what}; there are {_listed(found)}")
    if len(chosen) > 1:
        stems = [candidate.stem for candidate in chosen]
        example = chosen[0].files[0] if len(set(stems)) < len(stems) else stems[0]
        raise HubError(
            f"{name}: could be {_some([candidate.files[0] for candidate in chosen])}; "
            f"name one: {HubName(name.repo, name.revision, example)}"
        )
    if chosen[0].missing:
        raise HubError(f"{name}: {chosen[0].missing} parts of {chosen[0].files[0]} are missing")
    return chosen[0]


def matching(found: list[Candidate], name: HubName) -> list[Candidate]:
    """Those that ``name`` could mean, the best ones only."""
    files = [candidate for candidate in found if not candidate.is_folder]
    folders = [candidate for candidate in found if candidate.is_folder]
    if name.file:
        return _of_file(files, name.file)
    if name.tag is None:
        for format_ in DEFAULTS:
            if chosen := [candidate for candidate in files if candidate.format == format_]:
                return chosen
        return files or folders
    wanted = _normal(name.tag)
    for test in (
        lambda candidate: candidate.stem.lower() == wanted,
        lambda candidate: candidate.format == wanted,
        # Unsloth's own mixtures are called UD-Q4_K_XL.
        lambda candidate: candidate.format == f"ud-{wanted}",
    ):
        if chosen := [candidate for candidate in files if test(candidate)]:
            return chosen
    # A folder is quantized to what the tag says.
    return folders


def _of_file(files: list[Candidate], path: str) -> list[Candidate]:
    """Those with a file at ``path``; ``path`` may be a name only, in any case, and of any part."""
    for same in (
        lambda file: file == path,
        lambda file: file.lower() == path.lower(),
        lambda file: file.rpartition("/")[2].lower() == path.lower(),
    ):
        if chosen := [candidate for candidate in files if any(map(same, candidate.files))]:
            return chosen
    return []


def _format(path: str) -> str | None:
    """The format that the name of a file says, else that of its folder, as ``q4_k_m`` or ``ud-q4_k_xl``."""
    for text in reversed(_PART.sub(r"\1.gguf", path)[: -len(".gguf")].split("/")):
        if found := _FORMAT.findall(text):
            prefix, name = found[-1]
            return (prefix + _normal(name)).lower()
    return None


def _normal(tag: str) -> str:
    tag = tag.lower()
    return {"fp16": "f16", "fp32": "f32"}.get(tag, tag)


def _folder(names: list[str]) -> Candidate | None:
    """The folder of a repository, where it has a model that ``lumen_mlir.hf`` reads."""
    top = [name for name in names if "/" not in name]
    if "config.json" not in top:
        return None
    weights = (
        [name for name in top if name == "model.safetensors"]
        or fnmatch.filter(top, "model*.safetensors")
        or fnmatch.filter(top, "*.safetensors")
    )
    if not weights:
        return None
    # Imported here because few models are folders.
    from lumen_mlir.hf.files import SMALL_FILES, TEMPLATES

    small = [name for name in names if name in SMALL_FILES or fnmatch.fnmatch(name, TEMPLATES)]
    missing = 0
    if part := re.fullmatch(r".*-\d{5}-of-(\d{5})\.safetensors", weights[0], re.S):
        missing = max(int(part[1]) - len(weights), 0)
    return Candidate((*small, *weights), is_folder=True, missing=missing)


def _listed(found: list[Candidate]) -> str:
    """The models in words: formats, and names of files that say none."""
    words = ["safetensors" if each.is_folder else each.format or each.files[0] for each in found]
    return _some(sorted(set(words)))


def _some(words: list[str]) -> str:
    rest = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + rest
