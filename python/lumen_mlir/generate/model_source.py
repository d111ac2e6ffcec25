# SPDX-License-Identifier: Apache-2.0
"""Opens what people call a model: a GGUF file, its parts, a Hugging Face folder, or a name of the hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.hub import is_hub_name
from lumen_mlir.models import Model
from lumen_mlir.storage.cache import Cache


def open_model_file(
    path: str | os.PathLike[str] | None,
    *,
    format: str | None = None,
    pre_tokenizer: str | None = None,
    cache: Cache | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    read_weights: bool = True,
) -> ModelFile:
    """The model at ``path``; None for the one that comes with the package. Raises ``LumenError``.

    A name such as ``hf:USER/REPO:q4_k_m`` is a model of the Hugging Face Hub. It is downloaded where it is
    not on this machine, and ``progress`` is told ("download", in bytes).

    For folders only: ``format`` (such as q4_k_m) is what the weights are quantized to, by so many
    ``threads``; the result is kept in ``cache``. ``pre_tokenizer`` names the rules that cut text into words,
    where they are not recognized. ``progress`` is told of the work, which is left for later where not to
    ``read_weights``.
    """
    if path is None:
        from lumen_mlir.data import embedded_model_path

        path = embedded_model_path()
    if not isinstance(path, (str, os.PathLike)):
        raise LumenError(f"the path of a model was expected, got {type(path).__name__}")
    for name, value in (("format", format), ("pre_tokenizer", pre_tokenizer)):
        if value is not None and not isinstance(value, str):
            raise LumenError(f"{name} is {shown(value)}; a name was expected")
    if isinstance(path, str) and is_hub_name(path):
        path, format = locate_model(path, format, progress)
    if not os.path.isdir(path):
        file = GGUFFile.open(path)
        if format is not None:
            raise LumenError(
                f"{file.path}: is a GGUF file already; a format ({shown(format)}) is for Hugging Face "
                "folders (lumen quantize writes a GGUF file in another format)"
            )
        return file
    # Imported here because few models are folders.
    from lumen_mlir import hf

    if format is None:
        return hf.HFFolder.open(path, pre_tokenizer)
    if not read_weights:
        return hf.open_planned(path, format, pre_tokenizer)
    return hf.open_quantized(path, format, pre_tokenizer, cache, threads, progress)


def locate_model(
    name: str,
    format: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    folder: bool = False,
) -> tuple[str, str | None]:
    """The path of the hub's model ``name``, and the format that it is to be quantized to, if any.

    ``format`` is the one that was asked for beside the name. Raises ``LumenError``.
    """
    # Imported here because few models have a name of the hub.
    from lumen_mlir.hub import pull

    found = pull.locate(name, progress, folder=folder)
    return str(found.path), pull.agreed_format(name, found.format, format)


def open_model(path: str | os.PathLike[str] | None, **options: Any) -> Model:
    """The model at ``path``, checked; the options are those of ``open_model_file``. Raises ``LumenError``."""
    return Model.open(open_model_file(path, **options))
