# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face folder as a model file: GGUF's names, and weights that are made when asked for."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lumen_mlir import formats
from lumen_mlir.errors import quoted
from lumen_mlir.gguf import Metadata, TensorInfo
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.description import name_of
from lumen_mlir.hf import tokenizer
from lumen_mlir.hf.config import HFConfig
from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.files import Weights, check_small_files, config_path, open_files, some
from lumen_mlir.hf.generation import sampling_metadata
from lumen_mlir.hf.safetensors import SafetensorsFile
from lumen_mlir.hf.weights import Computed, FromFiles
from lumen_mlir.models import Architecture, ModelConfig, of_hf_class
from lumen_mlir.storage.mapping import MappedFile
from lumen_mlir.support.guard import guarded

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
        check_small_files(folder)
        config = HFConfig(config_path(folder))
        architecture = of_hf_class(config.model_class, str(config.where))
        # (A name that is no text would be no metadata.)
        name = os.fsencode(name_of(os.path.realpath(folder))).decode("utf-8", "replace")
        entries = config.metadata(architecture, name)
        files = open_files(folder)
        matcher = _Matcher(folder, config, architecture, files)
        recipes = matcher.recipes(Metadata.of(str(config.where), entries))
        types = {name: _kept_type(name, recipe) for name, recipe in recipes.items()}
        matrices = [types[name] for name, recipe in recipes.items() if len(recipe.shape) > 1]
        entries["general.file_type"] = _FILE_TYPES[max(_FILE_TYPES, key=matrices.count)], T.U32
        entries["general.quantization_version"] = 2, T.U32
        entries |= tokenizer.metadata(folder, config, pre_tokenizer)
        entries |= sampling_metadata(folder)
        opened = list({file.path: file for file, _ in files.values()}.values())
        return HFFolder(str(folder), Metadata.of(str(folder), entries), recipes, types, opened)

    def with_types(self, types: dict[str, str]) -> HFFolder:
        """The same model with tensors of other types, converted when they are asked for."""
        return HFFolder(self.path, self.metadata, self._recipes, types, self._files)

    @property
    def files(self) -> Sequence[MappedFile]:
        """What is mapped: whoever uses it checks that it did not change."""
        return [file.mapped for file in self._files]

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
        """A key for caches: 32 hexadecimal digits over the files, samples of weights, and metadata."""
        types = " ".join(info.type for info in self.tensors.values())
        digest = hashlib.blake2b(types.encode(), digest_size=16)
        for file in self._files:
            digest.update(repr(file.identity).encode())
            digest.update(file.sample())
        for key in self.metadata:
            value = self.metadata[key]
            digest.update(f"{key}={value.to_list() if hasattr(value, 'to_list') else value!r}\n".encode())
        return digest.hexdigest()


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
        source = _Described(str(self.config.where), metadata, embedding, divisors)
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
                f"{self.config.model_class} does not use: {some(others)}"
            )


def _kept_type(name: str, recipe: FromFiles | Computed) -> str:
    """Vectors and routers are float32 in every GGUF file; matrices stay what they are."""
    if isinstance(recipe, Computed) or len(recipe.shape) == 1 or "ffn_gate_inp" in name:
        return "f32"
    return recipe.stored_type


def _bytes(type_name: str, shape: tuple[int, ...]) -> int:
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    return formats.get(type_name).row_bytes(shape[-1]) * rows


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
