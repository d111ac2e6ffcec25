# SPDX-License-Identifier: Apache-2.0
"""What goes to stderr: progress while a model is opened, warnings, and the closing summary."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from lumen_mlir.cli.streams import raw, tell
from lumen_mlir.cli.styles import width

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.gguf.model_file import ModelFile

_TITLES = {
    "load": "reading the model",
    "compile": "compiling",
    "pack": "packing weights",
    "download": "downloading",
    "tune": "measuring",
    "quantize": "quantizing",
    "batch": "answering",
}


class Reporter:
    """Progress bars appear only on a terminal, and only for work that the caches did not save."""

    def __init__(self, quiet: bool = False, verbose: bool = False):
        self.quiet = quiet
        self.verbose = verbose and not quiet
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        logger = logging.getLogger("lumen_mlir")
        logger.handlers = [_WarningHandler() if not quiet else logging.NullHandler()]
        logger.propagate = False

    def say(self, text: str) -> None:
        """One line, unless quiet."""
        if not self.quiet:
            tell(f"lumen: {text}")

    def detail(self, text: str) -> None:
        """One line, if verbose."""
        if self.verbose:
            tell(f"lumen: {text}")

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """A ``lumen_mlir.run.session_options.Progress``; ``note`` stands behind the title."""
        if self.quiet or what == "load":
            return
        if not sys.stderr.isatty():
            if what == "download" and what not in self._tasks:
                from lumen_mlir.gguf.description import size_text

                self._tasks[what] = None
                self.say(f"downloading {size_text(total - done)}")
            return
        if (what == "download") != ("download" in self._tasks):
            self.close()  # what is counted in bytes has columns of its own
        if self._bars is None:
            self._bars = _bars(in_bytes=what == "download")
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(_TITLES.get(what, what), total=total)
        title = f"{_TITLES.get(what, what)} {note}".rstrip()
        self._bars.update(self._tasks[what], completed=done, total=total, description=title)

    def close(self) -> None:
        """Takes the bars away."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._tasks = None, {}

    def open_file(self, model: str | None, **options: Any) -> ModelFile:
        """Opens a model file with the options of ``open_model_file``, and shows the progress."""
        from lumen_mlir.generate.model_source import open_model_file

        try:
            return open_model_file(model, progress=self.progress, **options)
        finally:
            self.close()

    def open(self, model: str | None, **options: Any) -> LLM:
        """Opens a model with ``LLM``'s options, and says what was opened."""
        # Imported here because --dry-run and mistakes in the options should not wait for it.
        from lumen_mlir.generate.llm import LLM

        try:
            # One text at a time: caches of sliding windows need no room for more.
            llm = LLM(model, progress=self.progress, **{"sequences": 1, **options})
        finally:
            self.close()
        self._describe(llm)
        return llm

    def _describe(self, llm: LLM) -> None:
        config = llm.model.config
        self.detail(
            f"{llm.model.file.path}: {config.architecture}, {config.layers} layers of width {config.width}, "
            f"vocabulary {config.vocabulary}, context {llm.context} of {config.context}"
        )
        if llm.engine == "compiled":
            if llm.executor.placement:
                self.say(llm.executor.placement)
            for section in llm.executor.sections:
                program = section.engine.program
                self.detail(
                    f"{program.code_bytes:,} bytes of code, {section.packed_bytes:,} of packed weights, "
                    f"{section.engine.arena_bytes:,} for intermediates"
                )
                self.detail(f"functions {', '.join(program.kernels)}")
        if llm.draft is not None:
            drawn = llm.draft.model.config
            self.detail(
                f"draft {llm.draft.model.file.path}: {drawn.architecture}, {drawn.layers} layers of width "
                f"{drawn.width}"
            )

    def sampling(self, llm: LLM, given: dict[str, Any]) -> None:
        """Which parameters of sampling the model's makers chose, of those that were not ``given``."""
        own = [name for name in llm.sampling.from_model if given.get(name) is None]
        if own:
            chosen = ", ".join(f"{name} {getattr(llm.sampling, name):.4g}" for name in own)
            self.say(f"sampling: {chosen.replace('_', '-')} (the model's own)")

    def summary(self, llm: LLM, generation: Generation) -> None:
        """The closing line: rates, the time of the start, memory. If verbose, its parts and the kernels."""
        timings = llm.timings
        loaded = timings.load + timings.compile + timings.pack
        tokens = counted(len(generation.tokens), "token")
        said = rated(tokens, generation.decoded, generation.decode_seconds)
        count = generation.evaluated
        prompt = rated(f"prompt {count:,}", count, generation.prompt_seconds)
        if generation.guess is not None and generation.guess.proposed:
            said += f" ({generation.guess.right:,} of {generation.guess.proposed:,} guesses right)"
        self.say(f"{said}, {prompt}, loaded in {loaded:.2f} s, {_memory(peak_memory())}")
        if not self.verbose:
            return
        parts = [f"read {timings.load:.2f} s"]
        if llm.engine == "compiled":
            parts.append(f"compile {timings.compile:.2f} s{' (cached)' if timings.compile_cached else ''}")
            parts.append(f"pack {timings.pack:.2f} s{' (cached)' if timings.pack_cached else ''}")
        self.detail(", ".join(parts))
        prompt = counted(len(generation.prompt), "token")
        self.detail(f"prompt of {prompt}, {len(generation.prompt) - count:,} of them kept from before")
        options = llm.options
        self.detail(
            f"kernels {kernels(llm)}, {options.activations} activations, {options.kv_type} KV cache, "
            f"{counted(llm.threads, 'thread')}"
        )


def _bars(in_bytes: bool) -> Any:
    # Imported here because a start that finds everything in the caches shows no bars.
    from rich import progress
    from rich.console import Console

    columns = progress.Progress.get_default_columns()[:3]
    if in_bytes:
        columns += progress.DownloadColumn(), progress.TransferSpeedColumn(), progress.TimeRemainingColumn()
    else:
        columns += (progress.TimeElapsedColumn(),)
    console = Console(file=raw(sys.stderr), width=width(sys.stderr))
    return progress.Progress(*columns, console=console, transient=True)


class _WarningHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(f"lumen: {record.levelname.lower()}: {record.getMessage()}")


def kernels(llm: LLM) -> str:
    """What the compiler chose, in words."""
    if llm.engine != "compiled":
        return "NumPy reference"
    return str(llm.executor.kernels)


def rated(what: str, count: int, seconds: float) -> str:
    """``48 tokens at 812/s``; the rate is that of the ``count`` of them that were measured."""
    if not count or seconds <= 0:
        return what
    rate = count / seconds
    return f"{what} at {rate:,.{0 if rate >= 100 else 1}f}/s"


def _memory(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.1f} GB"


def counted(count: int, noun: str) -> str:
    """``1 thread``, ``2,000 threads``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def peak_memory() -> int:
    """Most bytes that were resident so far (``getrusage`` would count the parent's before ``exec``)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
