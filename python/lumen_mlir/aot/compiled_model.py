# SPDX-License-Identifier: Apache-2.0
"""The code of a model for a target that need not be this machine's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from lumen_mlir import ir
from lumen_mlir.aot import description
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import generate_code
from lumen_mlir.compiler.signature import Signature, to_json
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run.compiled_step import packer_program, step_of, step_program
from lumen_mlir.run.packed_weights import PackedLayout
from lumen_mlir.run.program import Program
from lumen_mlir.run.session_options import Progress, SessionOptions, silent
from lumen_mlir.run.weight_loader import packed_layout
from lumen_mlir.storage.cache import Cache

WASM = "wasm32"
ARCHITECTURES = ("x86_64", "aarch64", WASM)
"""Those that code is delivered for, by LLVM's names; ``runtime/embed`` runs on all but WebAssembly."""

TEXT_SYMBOL = "lumen_code_text"
"""The symbol of what code says of itself (``description.code_text``)."""


@dataclass(frozen=True)
class CompiledModel:
    """A model's step and what packs its weights, as object files.

    Attributes:
      model, options: what was compiled, and how.
      target: whose machine runs it.
      step: with the function ``step``.
      packers: with a ``pack_function`` for each type and tile.
    """

    model: Model
    options: SessionOptions
    target: Target
    step: Program
    packers: Program

    @cached_property
    def layout(self) -> PackedLayout:
        """Where the packed weights lie."""
        return packed_layout(self.model, self.signature)

    @property
    def signature(self) -> Signature:
        """What the step takes."""
        return step_of(self.step.signatures)

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """All functions: the step, then the packers."""
        return (*self.step.signatures, *self.packers.signatures)

    @cached_property
    def id(self) -> str:
        """Tells code apart: weights belong to the code with the same one."""
        digest = hashlib.blake2b(digest_size=16)
        for code in self.step.objects:
            digest.update(hashlib.blake2b(code).digest())
        digest.update(json.dumps([to_json(self.signature), self.layout.size]).encode())
        return digest.hexdigest()

    @cached_property
    def text(self) -> str:
        """What the code says of itself."""
        return description.code_text(self.model, self.signature, self.target, self.id, self.options.chunk)

    def objects(self, *, packers: bool) -> tuple[bytes, ...]:
        """The object files to link with each other; with the packers or without."""
        text = _text_object(self.text, self.target)
        return (*self.step.objects, *(self.packers.objects if packers else ()), text)

    def symbols(self, *, packers: bool) -> list[str]:
        """The names that users of the objects see."""
        signatures = self.signatures if packers else self.step.signatures
        kinds = ("lumen_entry_", "lumen_arena_size_")
        return [TEXT_SYMBOL, *(f"{kind}{each.name}" for each in signatures for kind in kinds)]


def compile_model(
    model: Model, options: SessionOptions, cache: Cache, progress: Progress = silent
) -> CompiledModel:
    """Compiles a model for ``options.target``. Its weights are not read.

    Raises ``LumenError``, also for a target whose architecture the runtime library does not know.
    """
    target = targets.get(options.target)
    if target.architecture not in ARCHITECTURES:
        raise LumenError(
            f"target {target.name} ({target.architecture}): libraries can be made for "
            f"{', '.join(ARCHITECTURES)} only"
        )
    made = step_program(model, options, target, cache, progress)
    arguments = step_of(made.program.signatures).arguments
    kinds = {(model.tensors[a.name].type, a.tile) for a in arguments if a.name and a.tile}
    packers = packer_program(sorted(kinds), target, cache)
    return CompiledModel(model, options, target, made.program, packers)


def _text_object(text: str, target: Target) -> bytes:
    """An object file with a constant: ``text``, ended by a zero byte."""
    data = text.encode("utf-8") + b"\0"
    escaped = "".join(f"\\{byte:02X}" for byte in data)
    source = (
        f'llvm.mlir.global external constant @{TEXT_SYMBOL}("{escaped}") '
        f"{{addr_space = 0 : i32, alignment = 8 : i64}} : !llvm.array<{len(data)} x i8>"
    )
    with ir.Context():
        return generate_code(ir.Module.parse(source), "obj", target, 0)
