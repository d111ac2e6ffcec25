# SPDX-License-Identifier: Apache-2.0
"""Compiles grammars for the tokens of a model, and keeps them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from time import perf_counter
from typing import Any

from lumen_mlir.errors import LumenError
from lumen_mlir.grammar.grammar import Grammar, GrammarError
from lumen_mlir.grammar.library import library_text, limits
from lumen_mlir.grammar.masks import Masks
from lumen_mlir.grammar.state import GrammarState, reason
from lumen_mlir.grammar.vocabulary import LibraryTokenizer, Vocabulary
from lumen_mlir.support.locks import turn_lock

# Grammars that are kept.
_KEPT = 32
# Seconds that are waited for one, and so many are compiled at a time: what is given up goes on all the same.
_SECONDS, _AT_A_TIME = 10.0, 2
# A text that fails is given a grammar of its own where compiling took less.
_SHORT = 0.25


class CompiledGrammar:
    """A grammar for the tokens of one model. ``LLM.compile_grammar`` makes it; any thread may use it.

    Attributes:
      grammar: what it was made of.
      seconds: that compiling took.
    """

    def __init__(self, compiler: GrammarCompiler, grammar: Grammar, matcher: Any, seconds: float):
        self.compiler, self.grammar, self.seconds = compiler, grammar, seconds
        self._matcher: Any | None = matcher

    def __repr__(self) -> str:
        return f"<CompiledGrammar: {self.grammar!r}>"

    def start(self) -> GrammarState:
        """Of a new text."""
        matcher = self._matcher
        if matcher is None:
            matcher = self._matcher = self.compiler.matcher(self.grammar)
        return GrammarState(matcher.deep_copy(), self.compiler.masks.of, self._own)

    def _own(self) -> Any | None:
        # What made a text fail may be in what all share: new texts begin anew.
        self._matcher = None
        return self.compiler.matcher(self.grammar) if self.seconds < _SHORT else None


class _Job:
    """A grammar that is compiled, or was."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.done = threading.Event()
        self.result: CompiledGrammar | None = None
        self.error: LumenError | None = None


class GrammarCompiler:
    """Of one model. Any number of threads may use it.

    Args:
      vocabulary: its tokens.
      threads: that compute masks.

    Attributes:
      masks: says what may follow in texts of its grammars.

    Raises ``GrammarError`` where llguidance is not installed.
    """

    def __init__(self, vocabulary: Vocabulary, threads: int):
        try:
            import llguidance
        except ImportError:
            raise GrammarError("grammars need llguidance: pip install 'lumen-mlir[serve]'") from None
        self._library = llguidance
        self._holder = LibraryTokenizer(vocabulary)
        self._tokenizer = self._holder.tokenizer
        self._limits = limits()
        self.masks = Masks(-(-self._tokenizer.vocab_size // 32), threads)
        self._lock = turn_lock()
        self._jobs: OrderedDict[Grammar, _Job] = OrderedDict()
        self._free = threading.BoundedSemaphore(_AT_A_TIME)

    def compile(self, grammar: Grammar) -> CompiledGrammar:
        """The grammar, compiled now or before. Raises ``GrammarError`` that says what is wrong, and where."""
        if not isinstance(grammar, Grammar):
            raise GrammarError(f"the grammar is a {type(grammar).__name__}; a Grammar was expected")
        with self._lock:
            job = self._jobs.get(grammar)
            if job is None or (not job.done.is_set() and job.process != os.getpid()):
                job = self._jobs[grammar] = _Job()
                # Of what takes too long, nobody waits for the end.
                work = threading.Thread(
                    target=self._work, args=(job, grammar), name="lumen-grammar", daemon=True
                )
                work.start()
            self._jobs.move_to_end(grammar)
            while len(self._jobs) > _KEPT:
                self._jobs.popitem(last=False)
        if not job.done.wait(_SECONDS):
            raise GrammarError(f"the {grammar.kind} was not compiled in {_SECONDS:g} s; it is too complex")
        if job.result is None:
            raise GrammarError(str(job.error))
        return job.result

    def matcher(self, grammar: Grammar) -> Any:
        """A new ``llguidance.LLMatcher``. Raises ``GrammarError``."""
        text = library_text(grammar)
        matcher = self._library.LLMatcher(self._tokenizer, text, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise GrammarError(f"the {grammar.kind} cannot be used: {reason(matcher.get_error())}")
        return matcher

    def _work(self, job: _Job, grammar: Grammar) -> None:
        try:
            with self._free:
                begin = perf_counter()
                matcher = self.matcher(grammar)
                job.result = CompiledGrammar(self, grammar, matcher, perf_counter() - begin)
        except LumenError as error:
            job.error = error
        except Exception as error:  # of the library: a text that it did not expect
            job.error = GrammarError(f"the {grammar.kind} cannot be used: {reason(str(error))}")
        finally:
            job.done.set()
