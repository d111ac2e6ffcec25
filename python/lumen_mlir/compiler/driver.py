# SPDX-License-Identifier: Apache-2.0
"""The compiler driver: runs the stages of ``lumen_mlir.pipelines`` and the code generator."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lumen_mlir import ir, pipelines
from lumen_mlir._mlir import codegen
from lumen_mlir.errors import LumenCompileError, LumenError, MLIRError, describe, one_line, shown
from lumen_mlir.passmanager import PassManager
from lumen_mlir.pipelines import Stage
from lumen_mlir.storage import failures

CODE_KINDS = ("asm", "obj")
"""What the code generator makes of the last stage, by the names that ``Compiler.emit`` takes."""


class Target(Protocol):
    """What the compiler needs of a target; ``lumen_mlir.compiler.targets`` has them."""

    @property
    def triple(self) -> str: ...

    @property
    def cpu(self) -> str: ...

    @property
    def features(self) -> str: ...

    @property
    def launches(self) -> bool: ...

    @property
    def has_shaders(self) -> bool: ...

    def attribute(self) -> str:
        """The text of the ``#lumen.target<...>`` attribute."""


@dataclass(frozen=True)
class CompilerOptions:
    """``activations``: ``int8`` or ``exact``. ``opt_level``: of LLVM, 0 to 3. ``profile``: the code counts
    the calls and the time of its kernels. ``tile_tokens`` (1 to 32) and ``block_bytes``: how products
    are cut, see ``lumen_mlir.run.tuning``; 0 for the compiler's own choice. They change no result.
    """

    activations: str = "int8"
    opt_level: int = 3
    profile: bool = False
    tile_tokens: int = 0
    block_bytes: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.profile, bool):
            raise LumenError(f"profile is True or False, not {shown(self.profile)}")
        if not isinstance(self.activations, str) or self.activations not in ("int8", "exact"):
            raise LumenError(f"activations are 'int8' or 'exact', not {shown(self.activations)}")
        if type(self.opt_level) is not int or self.opt_level not in range(4):
            raise LumenError(f"the optimization level is 0, 1, 2 or 3, not {shown(self.opt_level)}")
        if type(self.tile_tokens) is not int or self.tile_tokens not in range(33):
            raise LumenError(f"a tile has 1 to 32 tokens, not {shown(self.tile_tokens)}")
        if type(self.block_bytes) is not int or not 0 <= self.block_bytes < 2**31:
            raise LumenError(f"a block of tokens has at least 0 bytes, not {shown(self.block_bytes)}")


class Compiler:
    """Compiles modules of the ``lumen`` form for one target.

    ``stages`` replaces the stages of ``lumen_mlir.pipelines``; ``on_stage`` is called with the name of each
    stage before it runs. Modules given to the methods are not changed.
    """

    def __init__(
        self,
        target: Target,
        options: CompilerOptions | None = None,
        *,
        stages: Sequence[Stage] | None = None,
        on_stage: Callable[[str], None] | None = None,
    ):
        self.target = target
        self.options = options or CompilerOptions()
        self.stages = tuple(stages_of(self.options, target) if stages is None else stages)
        self._on_stage = on_stage or (lambda name: None)

    @property
    def emit_names(self) -> tuple[str, ...]:
        """What ``emit`` can produce, in the order of compilation."""
        return (pipelines.INPUT, *(stage.name for stage in self.stages), *CODE_KINDS)

    def run(self, module: ir.Module, stop_after: str | None = None) -> ir.Module:
        """The module after the stage ``stop_after``, by default the last. Raises ``LumenCompileError``."""
        last = self._index(stop_after) if stop_after else len(self.stages)
        work = self._prepare(module)
        self._run(work, 0, last, work.get_asm(enable_debug_info=True))
        return work

    def resume(self, work: ir.Module, after: str, source: str) -> None:
        """Goes on with a module that ``run`` has stopped at ``after``, and changes it.

        ``source``: the text of what ``run`` was given. Raises ``LumenCompileError``.
        """
        self._run(work, self._index(after), len(self.stages), source)

    def _run(self, work: ir.Module, first: int, last: int, source: str) -> None:
        for done in range(first, last):
            stage = self.stages[done]
            self._on_stage(stage.name)
            try:
                with work.context:
                    manager = PassManager.parse(stage.pipeline)
                    # Once at the end instead of behind each pass, which takes as long as the passes.
                    manager.enable_verifier(False)
                    manager.run(work)
                    work.operation.verify()
            except MLIRError as error:
                open_dialects = work.context.allow_unregistered_dialects
                raise self._stage_error(source, open_dialects, done, error) from error

    def emit(self, module: ir.Module, name: str) -> str | bytes:
        """The module at one of ``emit_names``, as text; ``obj`` as bytes."""
        if name not in CODE_KINDS:
            return str(self.run(module, stop_after=name))
        if self.target.has_shaders:
            raise LumenError("code for Vulkan is a shader for each kernel: its last form is spirv")
        code = self._generate(self.run(module), name)
        return code if name == "obj" else code.decode()

    def compile(self, module: ir.Module) -> bytes:
        """The object file."""
        return self._generate(self.run(module), "obj")

    def compile_text(self, text: str, kernel: str, manager: PassManager) -> bytes:
        """The object file of a module that has its target already, parsed in the current context.

        ``kernel``: how errors call it. ``manager`` has the only stage there is, to be used many times.
        """
        module = ir.Module.parse(text)
        try:
            manager.run(module)
        except MLIRError as error:
            raise self._stage_error(text, False, 0, error, kernel) from error
        return self._generate(module, "obj", kernel)

    def _index(self, name: str) -> int:
        """How many stages run up to and with the one of this name."""
        names = (pipelines.INPUT, *(stage.name for stage in self.stages))
        if name not in names:
            raise LumenError(f"unknown stage {name!r}; there are {', '.join(names)}")
        return names.index(name)

    def _prepare(self, module: ir.Module) -> ir.Module:
        work = module.clone()
        attribute = ir.Attribute.parse(self.target.attribute(), work.context)
        work.operation.attributes["lumen.target"] = attribute
        return work

    def _generate(self, module: ir.Module, kind: str, kernel: str = "") -> bytes:
        self._on_stage(kind)
        target = self.target
        if kind == "obj" and target.triple.startswith("nvptx"):
            raise LumenError(
                "code for NVIDIA's GPUs is assembled by their driver: there is no object file, only asm"
            )
        try:
            return generate_code(module, kind, target, self.options.opt_level)
        except MLIRError as error:
            arguments = [kind, target.triple, target.cpu, target.features, str(self.options.opt_level)]
            command = shlex.join(
                [sys.executable, "-m", "lumen_mlir.compiler.generate_code", "{file}", *arguments]
            )
            text = module.get_asm(enable_debug_info=True)
            raise _compile_error(kind, error, text, command, kernel) from error

    def _stage_error(
        self, source: str, open_dialects: bool, done: int, error: MLIRError, kernel: str = ""
    ) -> LumenCompileError:
        """Compiles up to the stage that failed once more, to show the IR that it was given.

        In a context of its own: the other one may have crashed.
        """
        text = source
        # What cannot be done once more is shown as it was before all stages.
        with contextlib.suppress(MLIRError), ir.Context() as context:
            context.allow_unregistered_dialects = open_dialects
            work = ir.Module.parse(source)
            for stage in self.stages[:done]:
                PassManager.parse(stage.pipeline).run(work)
            text = work.get_asm(enable_debug_info=True)
        stage = self.stages[done]
        command = f"{_lumen_opt()} {{file}} --pass-pipeline={shlex.quote(stage.pipeline)}"
        if open_dialects:
            command += " --allow-unregistered-dialect"
        return _compile_error(stage.name, error, text, command, kernel)


def generate_code(module: ir.Module, kind: str, target: Target, opt_level: int) -> bytes:
    """What LLVM makes of a module behind the last stage: ``kind`` is one of ``CODE_KINDS``.

    All code of a ``Compiler`` comes from here and depends on the arguments alone. Raises ``MLIRError``.
    """
    passes = llvm_passes(opt_level)
    return codegen.emit(module, kind, target.triple, target.cpu, target.features, opt_level, passes=passes)


def llvm_passes(opt_level: int) -> str | None:
    """What ``codegen.emit`` takes as ``passes`` for a level of LLVM."""
    return pipelines.LLVM_PASSES if opt_level else None


def stages_of(options: CompilerOptions, target: Target) -> tuple[Stage, ...]:
    """The stages that a compilation with ``options`` goes through."""
    cut = options.tile_tokens, options.block_bytes
    stages = pipelines.stages(options.activations, options.profile, *cut, launches=target.launches)
    return (*stages[:-1], pipelines.VECTOR_TO_SPIRV) if target.has_shaders else stages


def _lumen_opt() -> str:
    """What a shell calls ``lumen-opt`` by: where it is not on the path, it is beside Python."""
    beside = Path(sys.executable).with_name("lumen-opt")
    if shutil.which("lumen-opt") is None and beside.exists():
        return shlex.quote(str(beside))
    return "lumen-opt"


def _compile_error(
    stage: str, error: MLIRError, text: str, command: str, kernel: str = ""
) -> LumenCompileError:
    """The error with the IR saved; ``{file}`` of the command is replaced by where."""
    message = describe(error.error_diagnostics[0]) if error.error_diagnostics else error.message
    message = one_line(message)
    file = failures.keep(f"before-{stage}", text)
    command = command.replace("'{file}'", "{file}").replace("{file}", shlex.quote(str(file or "FILE")))
    return LumenCompileError(stage, message, error.error_diagnostics, file, command, kernel)
