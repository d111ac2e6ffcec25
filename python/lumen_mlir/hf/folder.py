# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face folder as a model file: GGUF's names, and weights that are made when asked for."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lumen_mlir import formats
from lumen_mlir.gguf import Metadata, TensorInfo
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.errors import quoted
from lumen_mlir.guard import guarded
from lumen_mlir.hf import tokenizer
from lumen_mlir.hf.config import HFConfig
from lumen_mlir.hf.errors import HFError, read_json
from lumen_mlir.hf.safetensors import SafetensorsFile
from lumen_mlir.hf.weights import Computed, FromFiles
from lumen_mlir.models import Architecture, ModelConfig, of_hf_class

# Files that Python's pickle reads: loading one may run whatever its author wrote into it.
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Tensors without a use: tables of the rotary embedding, vision, and heads that guess further tokens.
_UNUSED = (
    "*.rotary_emb.inv_freq",
    "*.attn.attention.rotary.inv_freq",
    "*visual*",
    "*vision*",
    "mtp.*",
    "model.mtp.*",
)
# ``general.file_type`` of files that keep the weights as they are.
_FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32}
# Modules that some files of a class have under another name.
_OTHER_NAMES = ((".mlp.gate.e_score_correction_bias", ".mlp.e_score_correction_bias"),)
# What stands for "model." in the names of models that read images too, and models without an output matrix.
_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "")
# What wrappers of training put around a model, or a part of one, leave in the names.
_WRAPPERS = re.compile(
    r"^(?:module\.|base_model\.model\.)+|(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Small files that are read where they are there. Others are not looked at, weights aside.
_SMALL_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "model.safetensors.index.json",
)  # fmt: skip
_MOST_SMALL_BYTES = 128 << 20

logger = logging.getLogger("lumen_mlir.hf")

Weights = dict[str, tuple[SafetensorsFile, str]]
"""Names of tensors without wrappers, the file that each is in, and its name there."""


class HFFolder:
    """An open folder, used like a ``GGUFFile``.

    Attributes:
      path: of the folder.
      metadata: in GGUF's terms.
      tensors: by GGUF's names, with the types they are given (``offset`` has no meaning).
      kind: what this is, in words.
      stored_type: of most matrices.
    """

    byteorder = "little"

    def __init__(
        self,
        path: str,
        metadata: Metadata,
        recipes: dict[str, FromFiles | Computed],
        types: dict[str, str],
        files: list[SafetensorsFile],
    ):
        self.path, self.metadata, self._recipes, self._files = path, metadata, recipes, files
        self.tensors = {
            name: TensorInfo(
                name, _shape_in_files(recipe.shape), types[name], 0, _bytes(types[name], recipe.shape)
            )
            for name, recipe in recipes.items()
        }
        matrices = [types[name] for name, recipe in recipes.items() if len(recipe.shape) > 1]
        self.stored_type = max(set(matrices), key=matrices.count)
        self.kind = f"Hugging Face folder, {len(files)} safetensors file" + ("" if len(files) == 1 else "s")

    @staticmethod
    def open(path: str | os.PathLike[str], pre_tokenizer: str | None = None) -> HFFolder:
        """Reads everything but the weights, which keep their types.

        Raises ``LumenError`` where something is missing, contradictory or unknown.
        """
        folder = Path(os.fspath(path))
        with guarded(folder, HFError):
            return HFFolder._open(folder, pre_tokenizer)

    @staticmethod
    def _open(folder: Path, pre_tokenizer: str | None) -> HFFolder:
        _check_small_files(folder)
        config = HFConfig(_config_path(folder))
        architecture = of_hf_class(config.model_class, str(config.path))
        # (A name that is no text would be no metadata.)
        name = os.fsencode(os.path.basename(os.path.realpath(folder))).decode("utf-8", "replace")
        entries = config.metadata(architecture, name)
        files = _open_files(folder)
        matcher = _Matcher(folder, config, architecture, files)
        recipes = matcher.recipes(Metadata.of(str(config.path), entries))
        types = {name: _kept_type(name, recipe) for name, recipe in recipes.items()}
        matrices = [types[name] for name, recipe in recipes.items() if len(recipe.shape) > 1]
        entries["general.file_type"] = _FILE_TYPES[max(_FILE_TYPES, key=matrices.count)], T.U32
        entries["general.quantization_version"] = 2, T.U32
        entries |= tokenizer.metadata(folder, config, pre_tokenizer)
        opened = list({file.path: file for file, _ in files.values()}.values())
        return HFFolder(str(folder), Metadata.of(str(folder), entries), recipes, types, opened)

    def with_types(self, types: dict[str, str]) -> HFFolder:
        """The same model with tensors of other types, converted when they are asked for."""
        return HFFolder(self.path, self.metadata, self._recipes, types, self._files)

    @property
    def size(self) -> int:
        """Bytes of the files with weights."""
        return sum(file.size for file in self._files)

    def tensor(self, name: str) -> TensorInfo:
        """The description of tensor ``name``; ``HFError`` where there is none."""
        if name not in self.tensors:
            raise HFError(f"{self.path}: no tensor {quoted(name)} among {len(self.tensors)} tensors")
        return self.tensors[name]

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """The bytes of tensor ``name`` in its type, some rows (uint8 [rows, bytes per row]) at a time."""
        info = self.tensor(name)
        return self._recipes[name].rows(info.type, info.shape[-1])

    def little_endian(self, name: str) -> np.ndarray:
        """The bytes of tensor ``name`` in its type: uint8, mapped where the files have just these."""
        info = self.tensor(name)
        direct = self._recipes[name].direct(info.type)
        if direct is not None:
            return direct
        whole, done = np.empty(info.nbytes, np.uint8), 0
        for piece in self.pieces(name):
            whole[done : done + piece.size] = piece.reshape(-1)
            done += piece.size
        return whole

    raw = little_endian

    def array(self, name: str) -> np.ndarray:
        """Tensor ``name`` of a float type as float32, in its shape."""
        info = self.tensor(name)
        rows = self._recipes[name].rows("f32", info.shape[-1])
        return np.concatenate([row.reshape(-1).view(np.float32) for row in rows]).reshape(info.shape)

    def release(self, name: str | None = None) -> None:
        """Lets the pages of tensor ``name``, or of all, leave resident memory."""
        for recipe in self._recipes.values() if name is None else [self._recipes[name]]:
            recipe.release()

    def fingerprint(self) -> str:
        """A key for caches: 32 hexadecimal digits over what tells the files apart, and the metadata."""
        types = " ".join(info.type for info in self.tensors.values())
        digest = hashlib.blake2b(types.encode(), digest_size=16)
        for file in self._files:
            digest.update(struct.pack("<4Q", *file.identity))
        for key in self.metadata:
            value = self.metadata[key]
            digest.update(f"{key}={value.to_list() if hasattr(value, 'to_list') else value!r}\n".encode())
        return digest.hexdigest()


def _config_path(folder: Path) -> Path:
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


def _check_small_files(folder: Path) -> None:
    """None of the small files may be something that reading never ends of."""
    for name in _SMALL_FILES:
        try:
            status = os.stat(folder / name)
        except (OSError, ValueError):
            continue  # as good as not there
        if not stat.S_ISREG(status.st_mode):
            raise HFError(f"{folder / name}: is not a regular file")
        # Files of the system that never end have no size.
        if not 0 < status.st_size <= _MOST_SMALL_BYTES:
            size = status.st_size
            raise HFError(f"{folder / name}: has {size} bytes; 1 to {_MOST_SMALL_BYTES} were expected")


def _open_files(folder: Path) -> Weights:
    """The tensors of all files with weights, found as ``transformers`` finds them."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        others = [path.name for path in (index, *sorted(folder.glob("model-*.safetensors"))) if path.exists()]
        if others:
            logger.warning("%s: is read alone; left out: %s", single, _some(others))
        return _without_wrappers(folder, _open_all([single]))
    if index.exists():
        return _without_wrappers(folder, _open_sharded(folder, index))
    paths = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if not paths:
        names = sorted(os.listdir(folder))
        pickled = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in _PICKLED)]
        if pickled:
            raise HFError(
                f"{folder}: has only pickled weights ({_some(pickled)}); loading a pickle may run any code, "
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
            f"{folder}: {len(missing)} of {len(names)} files with weights are missing: {_some(missing)}"
        )
    files = {name: SafetensorsFile(str(folder / name)) for name in names}
    for tensor, name in places.items():
        if tensor not in files[name].tensors:
            raise HFError(f"{index}: tensor {quoted(tensor)} should be in {name}, but is not")
    return {tensor: files[name] for tensor, name in places.items()}


def _shape_in_files(shape: tuple[int, ...]) -> tuple[int, ...]:
    """In GGUF files a matrix of one row is a vector."""
    return shape[1:] if len(shape) == 2 and shape[0] == 1 else shape


class _Described:
    """What an architecture has to see to say which tensors it needs (``models.reader.Source``)."""

    def __init__(
        self, path: str, metadata: Metadata, embedding: tuple[int, ...], divisors: dict[str, np.ndarray]
    ):
        self.path, self.metadata, self._divisors = path, metadata, divisors
        shapes = {"token_embd.weight": embedding, **{name: values.shape for name, values in divisors.items()}}
        self.tensors = {name: TensorInfo(name, shape, "f32", 0, 0) for name, shape in shapes.items()}

    def array(self, name: str) -> np.ndarray:
        return self._divisors[name]


class _Matcher:
    """Finds the tensors that an architecture needs among those of the files."""

    def __init__(self, folder: Path, config: HFConfig, architecture: Architecture, files: Weights):
        self.folder, self.config, self.architecture, self.files = folder, config, architecture, files
        self._used: set[str] = set()
        embedding = architecture.hf_name("token_embd.weight")
        # "model." in nearly all classes
        self._usual = self._prefix = embedding.split(".")[0] + "."
        self._prefix = next(
            (p for p in (self._usual, *_PREFIXES) if self._renamed(embedding, p) in files), self._usual
        )

    def recipes(self, metadata: Metadata) -> dict[str, FromFiles | Computed]:
        """How each tensor of the model is made, by GGUF's names in the order of GGUF files."""
        divisors = self.config.rope.divisors()
        embedding = (self.config.integer("vocab_size"), self.config.width)
        source = _Described(str(self.config.path), metadata, embedding, divisors)
        model = self.architecture.config(source)
        found: dict[str, FromFiles | Computed] = {name: Computed(values) for name, values in divisors.items()}
        tied = self._tied()
        for spec in self.architecture.tensors(model):
            if spec.name == "output.weight" and tied:
                self._used.add(self._name(spec.name))
                continue
            recipe = self._recipe(spec.name, spec.shape, model)
            if recipe is not None:
                found[spec.name] = recipe
            elif not spec.optional or (spec.name == "output.weight" and not tied):
                raise HFError(
                    f"{self.folder}: no tensor {quoted(self._name(spec.name))} ({_text(spec.shape)}), which "
                    f"{self.config.model_class} needs"
                )
        self._refuse_others(model)
        return found

    def _tied(self) -> bool:
        said = self.config.get("tie_word_embeddings")
        # Classes differ in what holds where nothing is said; the files tell.
        return said if isinstance(said, bool) else self._name("output.weight") not in self.files

    def _name(self, name: str) -> str:
        return self._renamed(self.architecture.hf_name(name), self._prefix)

    def _renamed(self, name: str, prefix: str) -> str:
        """``name`` where the model is a part of another, or alone: "model." gives way to ``prefix``."""
        if name.startswith(self._usual):
            return prefix + name.removeprefix(self._usual)
        # The output matrix lies beside the model.
        return prefix.removesuffix("model.") + name if prefix == "language_model.model." else name

    def _recipe(self, name: str, shape: tuple[int, ...], model: ModelConfig) -> FromFiles | None:
        stored = self._name(name)
        for usual, other in _OTHER_NAMES:
            if stored not in self.files and stored.replace(usual, other) in self.files:
                stored = stored.replace(usual, other)
        names = [stored.format(index) for index in range(shape[0])] if "{}" in stored else [stored]
        present = [each for each in names if each in self.files]
        if not present:
            return None
        if len(present) < len(names):
            lost = next(each for each in names if each not in self.files)
            raise HFError(f"{self.folder}: no tensor {quoted(lost)}, one of {len(names)} experts'")
        expected = shape[1:] if "{}" in stored else shape
        types = {self._checked(each, expected) for each in names}
        if len(types) > 1:
            raise HFError(f"{self.folder}: tensors like {quoted(names[0])} are of the types {sorted(types)}")
        self._used.update(names)
        module, kind = name.split(".")[-2:]
        turns = self.architecture.rope_style == "norm" and module in ("attn_q", "attn_k") and len(shape) <= 2
        heads = (model.heads if module == "attn_q" else model.kv_heads) if turns else 0
        parts = [self.files[each] for each in names]
        return FromFiles(parts, shape, heads)

    def _checked(self, name: str, shape: tuple[int, ...]) -> str:
        """The type of tensor ``name``, whose shape must be ``shape``."""
        file, stored = self.files[name]
        found = file.tensors[stored].shape
        if found != shape:
            raise HFError(
                f"{file.path}: tensor {quoted(stored)} is {_text(found)}; "
                f"by config.json it should be {_text(shape)}"
            )
        return file.type_name(stored)

    def _refuse_others(self, model: ModelConfig) -> None:
        """Weights that would be left out without a word make another model."""
        layers = range(model.layers, model.layers + model.extra_layers + 8)
        beyond = tuple(
            self._renamed(self.architecture.hf_layer.format(index), self._prefix) for index in layers
        )
        others = [
            name
            for name in self.files
            if name not in self._used
            and not any(fnmatch.fnmatch(name, pattern) for pattern in _UNUSED)
            and not (model.extra_layers and name.startswith(beyond))
        ]
        if others:
            raise HFError(
                f"{self.folder}: {len(others)} tensor{'s' if len(others) > 1 else ''} that "
                f"{self.config.model_class} does not use: {_some(others)}"
            )


def _kept_type(name: str, recipe: FromFiles | Computed) -> str:
    """Vectors and routers are float32 in every GGUF file; matrices stay what they are."""
    if isinstance(recipe, Computed) or len(recipe.shape) == 1 or "ffn_gate_inp" in name:
        return "f32"
    return recipe.stored_type


def _bytes(type_name: str, shape: tuple[int, ...]) -> int:
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    return formats.get(type_name).row_bytes(shape[-1]) * rows


def _some(names: list[str]) -> str:
    """The first of ``names``, in words."""
    return ", ".join(map(quoted, names[:3])) + (", …" if len(names) > 3 else "")


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
