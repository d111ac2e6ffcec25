# SPDX-License-Identifier: Apache-2.0
"""The files of a Hugging Face folder: which count, and which tensors they hold."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import stat
from pathlib import Path

from lumen_mlir.errors import quoted
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.json_files import MOST_BYTES, read_json
from lumen_mlir.hf.safetensors import SafetensorsFile

# Files that Python's pickle reads: loading one may run whatever its author wrote into it.
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# What wrappers of training put around a model, or a part of one, leave in the names.
_WRAPPERS = re.compile(
    r"^(?:module\.|base_model\.model\.)+|(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Small files that are read where they are there. Others are not looked at, weights aside.
SMALL_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "model.safetensors.index.json",
)  # fmt: skip
TEMPLATES = "additional_chat_templates/*.jinja"

logger = logging.getLogger(__name__)

Weights = dict[str, tuple[SafetensorsFile, str]]
"""Names of tensors without wrappers, the file that each is in, and its name there."""


def config_path(folder: Path) -> Path:
    """The folder's ``config.json``; an error that says what the folder has instead."""
    path = folder / "config.json"
    if path.exists():
        return path
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise HFError(f"{folder}: cannot be read: {error.strerror or error}") from None
    models = [name for name in names if name.endswith(".gguf")]
    if models:
        raise HFError(f"{folder}: is a folder without 'config.json'; name the file: {folder / models[0]}")
    raise HFError(f"{folder}: no 'config.json'; a folder with a Hugging Face model was expected")


def check_small_files(folder: Path) -> None:
    """None of the small files may be something that reading never ends of."""
    for path in (*(folder / name for name in SMALL_FILES), *folder.glob(TEMPLATES)):
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue  # as good as not there
        if not stat.S_ISREG(status.st_mode):
            raise HFError(f"{path}: is not a regular file")
        # Files of the system that never end have no size.
        if not 0 < status.st_size <= MOST_BYTES:
            size = status.st_size
            raise HFError(f"{path}: has {size} bytes; 1 to {MOST_BYTES} were expected")


def open_files(folder: Path) -> Weights:
    """The tensors of all files with weights, found as ``transformers`` finds them."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        others = [path.name for path in (index, *sorted(folder.glob("model-*.safetensors"))) if path.exists()]
        if others:
            logger.warning("%s: is read alone; left out: %s", single, some(others))
        return _without_wrappers(folder, _open_all([single]))
    if index.exists():
        return _without_wrappers(folder, _open_sharded(folder, index))
    paths = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if not paths:
        names = sorted(os.listdir(folder))
        pickled = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in _PICKLED)]
        if pickled:
            raise HFError(
                f"{folder}: has only pickled weights ({some(pickled)}); loading a pickle may run any code, "
                "so Lumen never does: save the model as safetensors"
            )
        raise HFError(f"{folder}: no weights: 'model.safetensors' was expected")
    return _without_wrappers(folder, _open_all(paths))


def _open_all(paths: list[Path]) -> dict[str, SafetensorsFile]:
    """Tensor name to the file it is in, of all ``paths``."""
    found: dict[str, SafetensorsFile] = {}
    for path in paths:
        file = SafetensorsFile(str(path))
        for name in file.tensors:
            if name in found:
                raise HFError(f"{path}: tensor {quoted(name)} is in {found[name].path} too")
            found[name] = file
    return found


def _without_wrappers(folder: Path, files: dict[str, SafetensorsFile]) -> Weights:
    found: Weights = {}
    for stored, file in files.items():
        name = _WRAPPERS.sub("", stored)
        if name in found:
            raise HFError(f"{folder}: tensors {quoted(found[name][1])} and {quoted(stored)} are the same one")
        found[name] = file, stored
    return found


def _open_sharded(folder: Path, index: Path) -> dict[str, SafetensorsFile]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise HFError(f"{index}: has no 'weight_map' that names a file for each tensor")
    names = sorted(set(places.values()))
    for name in names:
        if os.path.basename(name) != name:
            raise HFError(f"{index}: {quoted(name)} is not a file of this folder")
        if fnmatch.fnmatch(name, "*.safetensors") is False:
            raise HFError(f"{index}: {quoted(name)} is not a safetensors file; others are never loaded")
    missing = [name for name in names if not os.path.exists(folder / name)]
    if missing:
        raise HFError(
            f"{folder}: {len(missing)} of {len(names)} files with weights are missing: {some(missing)}"
        )
    files = {name: SafetensorsFile(str(folder / name)) for name in names}
    for tensor, name in places.items():
        if tensor not in files[name].tensors:
            raise HFError(f"{index}: tensor {quoted(tensor)} should be in {name}, but is not")
    return {tensor: files[name] for tensor, name in places.items()}


def some(names: list[str]) -> str:
    """The first of ``names``, in words."""
    return ", ".join(map(quoted, names[:3])) + (", …" if len(names) > 3 else "")
