# SPDX-License-Identifier: Apache-2.0
"""From a module to a program: object code, and what its functions take."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lumen_mlir import ir, pipelines
from lumen_mlir._mlir import __file__ as _EXTENSION
from lumen_mlir.compiler.driver import Compiler, CompilerOptions, stages_of
from lumen_mlir.compiler.launched import compile_launched
from lumen_mlir.compiler.objects import ObjectCompiler, OnObject
from lumen_mlir.compiler.signature import Signature, from_json, read_signatures, to_json
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.storage.cache import Cache
from lumen_mlir.version import __version__

# Counts up when the runtime passes other things to an entry or reads other things of a signature, so that no
# old object is ever called.
ABI_VERSION = 6


@dataclass(frozen=True)
class Program:
    """What the compiler makes of a module.

    Attributes:
      objects: the object files, which are linked with each other.
      signatures: of the public functions.
      kernels: the names of the kernels, as profiles show them.
      seconds: that compiling took.
      profile: the code counts the calls and the time of its kernels.
    """

    objects: tuple[bytes, ...]
    signatures: tuple[Signature, ...]
    kernels: tuple[str, ...]
    seconds: float
    profile: bool = False

    @property
    def code_bytes(self) -> int:
        """Bytes of the objects."""
        return sum(map(len, self.objects))

    def to_bytes(self) -> bytes:
        """One piece of data for the cache: the length of a description, the description, the objects."""
        description = {
            "objects": [len(code) for code in self.objects],
            "signatures": [to_json(signature) for signature in self.signatures],
            "kernels": self.kernels,
            "seconds": self.seconds,
            "profile": self.profile,
        }
        text = json.dumps(description).encode()
        return b"".join((len(text).to_bytes(8, "little"), text, *self.objects))

    @staticmethod
    def from_bytes(data: bytes) -> Program:
        """The program that ``to_bytes`` was called on."""
        end = 8 + int.from_bytes(data[:8], "little")
        description = json.loads(data[8:end])
        ends = [end + size for size in itertools.accumulate(description["objects"], initial=0)]
        return Program(
            objects=tuple(data[begin:end] for begin, end in itertools.pairwise(ends)),
            signatures=tuple(map(from_json, description["signatures"])),
            kernels=tuple(description["kernels"]),
            seconds=description["seconds"],
            profile=description["profile"],
        )


def stages_after(form: str, options: CompilerOptions, target: Target) -> tuple[pipelines.Stage, ...]:
    """The stages that a module in ``form`` has before it. ``LumenError`` where there is no such form."""
    stages = stages_of(options, target)
    names = (pipelines.INPUT, *(stage.name for stage in stages))
    # Behind "vector" there are no buffers left to read the signatures from.
    usable = names[: names.index("vector") + 1]
    if not isinstance(form, str) or form not in usable:
        raise LumenError(f"a module can be compiled from {', '.join(usable)}, not from {shown(form)}")
    return stages[names.index(form) :]


def compiled(
    module: ir.Module | str,
    target: Target,
    options: CompilerOptions,
    form: str = pipelines.INPUT,
    *,
    cache: Cache | None,
    on_stage: Callable[[str], None] | None = None,
    on_signatures: Callable[[tuple[Signature, ...]], None] | None = None,
    on_object: OnObject | None = None,
) -> tuple[Program, bool]:
    """The program of a module for any target, and whether it came from ``cache``, where it is then kept.

    The other arguments and the errors are those of ``engine.compile``.
    """
    stages = stages_after(form, options, target)
    if cache is None:
        return build(module, target, options, form, on_stage, on_signatures, on_object, None), False
    key = key_of(str(module), target, options, stages)
    payload = cache.load("objects", key)
    if payload is not None:
        return Program.from_bytes(payload), True
    program = build(module, target, options, form, on_stage, on_signatures, on_object, cache)
    cache.store("objects", key, program.to_bytes())
    return program, False


def build(
    module: ir.Module | str,
    target: Target,
    options: CompilerOptions,
    form: str,
    on_stage: Callable[[str], None] | None,
    on_signatures: Callable[[tuple[Signature, ...]], None] | None,
    on_object: OnObject | None,
    cache: Cache | None,
) -> Program:
    """Compiles a module; the arguments and errors are those of ``engine.compile``.

    ``cache``: where the objects of kernels are kept, if anywhere.
    """
    begin = time.perf_counter()
    stages = stages_after(form, options, target)
    is_gpu = target.triple.startswith("nvptx")
    if (is_gpu or target.launches) and options.profile:
        raise LumenError("kernels are profiled on CPUs only")
    if isinstance(module, str):
        try:
            module.encode("utf-8")
        except UnicodeEncodeError as error:
            raise LumenError(f"the module's text is not valid Unicode at character {error.start}") from None
        with ir.Context():
            module = ir.Module.parse(module)
    # What a function takes is read where arguments are buffers, before they become words; what it asks of
    # them where there still are ops of the dialect, and kernels.
    cut, names = len(stages) - 1, [stage.name for stage in stages]
    formed = names.index("fused") + 1 if "fused" in names else 0
    to_fused = Compiler(target, options, stages=stages[:formed], on_stage=on_stage)
    split = (
        pipelines.VECTOR_TO_SHADERS if target.has_shaders else pipelines.vector_to_kernels(options.profile)
    )
    to_kernels = Compiler(target, options, stages=(*stages[formed:cut], split), on_stage=on_stage)
    to_objects = ObjectCompiler(target, options, compiler_identity(), cache, on_stage, on_object)
    fused = to_fused.run(module) if formed else module
    analysis = None
    if formed or form == "fused":
        from lumen_mlir.compiler.bound_analysis import BoundAnalysis
        from lumen_mlir.compiler.public_bounds import find_bounds

        analysis = BoundAnalysis(fused)
        analysis.check()
    before = stages[cut - 1].name if cut > formed else pipelines.INPUT
    vector = to_kernels.run(fused, stop_after=before)
    signatures = read_signatures(vector)
    if analysis is not None:
        bounds = find_bounds(analysis, signatures)
        signatures = tuple(replace(signature, bounds=bounds[signature.name]) for signature in signatures)
    if on_signatures is not None:
        on_signatures(signatures)
    functions = (op.operation for op in vector.body.operations)
    objects: tuple[bytes, ...]
    kernels = tuple(op.attributes["sym_name"].value for op in functions if "lumen.kernel" in op.attributes)
    if target.launches and not target.has_shaders:
        objects = compile_launched(vector, target, options, on_stage)
    elif is_gpu:
        # A step is one kernel, which the driver assembles as a whole.
        whole = Compiler(
            target, options, stages=(pipelines.vector_to_llvm(options.profile),), on_stage=on_stage
        )
        objects = (str(whole.emit(vector, "asm")).encode(),)
    else:
        to_kernels.resume(vector, before, source=str(fused))
        objects = to_objects.compile(vector)
    return Program(objects, signatures, kernels, time.perf_counter() - begin, options.profile)


def compiler_identity() -> tuple[object, ...]:
    """What tells compilers apart. A build counts by its file: a new one compiles anew."""
    status = Path(_EXTENSION).stat()
    return (__version__, ABI_VERSION, status.st_size, status.st_mtime_ns)


def key_of(text: str, target: Target, options: CompilerOptions, stages: tuple[pipelines.Stage, ...]) -> str:
    """What the objects of a module depend on."""
    names = [stage.pipeline for stage in stages]
    parts = (text, target.attribute(), asdict(options), names, compiler_identity())
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()
