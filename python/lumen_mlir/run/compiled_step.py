# SPDX-License-Identifier: Apache-2.0
"""The compiled code of a model: its step, and what packs its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.compiler.signature import Signature
from lumen_mlir.compiler.targets import Target
from lumen_mlir.formats.packing import Tile
from lumen_mlir.models import Model
from lumen_mlir.run import tuning
from lumen_mlir.run.ask import logit_group
from lumen_mlir.run.device import Place, place_of
from lumen_mlir.run.engine import Engine
from lumen_mlir.run.packed_weights import pack_module
from lumen_mlir.run.program import Program, compiled
from lumen_mlir.run.session_options import Progress, SessionOptions, silent
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.storage.cache import Cache

_PROGRESS_STEPS = 100

OnSignatures = Callable[[tuple[Signature, ...]], None]


@dataclass(frozen=True)
class StepProgram:
    """What is compiled for a model's step, for any target; and as ``CompiledStep`` has it."""

    program: Program
    cached: bool
    target: Target
    tuning: Tuning
    tuning_key: str


@dataclass(frozen=True)
class CompiledStep:
    """Code of a model's step, how its products are cut, and what ``lumen tune`` keeps that under."""

    engine: Engine
    tuning: Tuning
    tuning_key: str


def compile_step(
    model: Model,
    options: SessionOptions,
    cache: Cache,
    progress: Progress = silent,
    tuned: Tuning | None = None,
    on_signatures: OnSignatures | None = None,
    place: Place | None = None,
) -> CompiledStep:
    """Compiles the step of ``model``, which needs no weights to be read, and loads it.

    ``tuned`` is as for ``Executor``, ``on_signatures`` as for ``engine.compile``. ``place``: where it runs,
    by default what the options say.
    """
    place = place or place_of(options.device, options.target)
    step = step_program(model, options, place.target, cache, progress, tuned, on_signatures)
    loaded = Engine(step.program, place, options.thread_count(), step.cached)
    return CompiledStep(loaded, step.tuning, step.tuning_key)


def step_program(
    model: Model,
    options: SessionOptions,
    target: Target,
    cache: Cache,
    progress: Progress = silent,
    tuned: Tuning | None = None,
    on_signatures: OnSignatures | None = None,
) -> StepProgram:
    """Compiles the step of ``model`` for ``target``, which need not be this machine's."""
    with ir.Context():
        module = model.module(
            kv_type=options.kv_type, max_tokens=options.chunk, logit_group=selected_group(model, target)
        )
        key = tuning.key(str(module), target, options.activations)
        if tuned is None:
            tuned = tuning.load(cache, key)
        compiler_options = CompilerOptions(
            options.activations,
            profile=options.profile,
            tile_tokens=tuned.tile_tokens,
            block_bytes=tuned.block_bytes,
        )
        # The first half is stages on the module (which of them depends on the target), the second the objects
        # of its kernels.
        stages = ["fused", "loops", "vector", "kernels", "llvm", "asm", "obj"]
        half = _PROGRESS_STEPS // 2

        def tell(done: int, total: int) -> None:
            progress("compile", half * done // total, _PROGRESS_STEPS)

        made, cached = compiled(
            module,
            target,
            compiler_options,
            cache=cache,
            on_stage=lambda name: tell(stages.index(name), len(stages)),
            on_signatures=on_signatures,
            on_object=lambda done, total: tell(total + done, total),
        )
    if not cached:
        progress("compile", _PROGRESS_STEPS, _PROGRESS_STEPS)
    # Before weights are used: what the compiler takes is as much as a small model.
    codegen.release_memory()
    return StepProgram(made, cached, target, tuned, key)


def compile_packers(kinds: Iterable[tuple[str, Tile]], place: Place, cache: Cache, threads: int) -> Engine:
    """Compiles the ``pack_function`` of each type and tile, and loads them."""
    return Engine(packer_program(kinds, place.target, cache), place, threads)


def packer_program(kinds: Iterable[tuple[str, Tile]], target: Target, cache: Cache) -> Program:
    """The ``pack_function`` of each type and tile for ``target``, which need not be this machine's."""
    with ir.Context():
        program, _ = compiled(pack_module(kinds), target, CompilerOptions(), cache=cache)
    codegen.release_memory()
    return program


def selected_group(model: Model, target: Target) -> int:
    """How many logits are a group where a step also gives the largest ones: on GPUs. Elsewhere 0."""
    gives_logits = model.is_last and model.has_head
    return logit_group(model.config.vocabulary) if target.warp > 1 and gives_logits else 0


def step_of(signatures: Iterable[Signature]) -> Signature:
    """What the step of a model takes."""
    return next(signature for signature in signatures if signature.name == "step")
