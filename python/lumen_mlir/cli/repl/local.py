# SPDX-License-Identifier: Apache-2.0
"""A chat's model in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lumen_mlir.cli.repl.model import Answer, Work
from lumen_mlir.cli.report import Reporter, peak_memory

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.generate.sampling import Sampling

# Of the end of a prompt: enough for a mark.
_TAIL_TOKENS = 16


class LocalAnswer(Iterator[str]):
    """See ``Answer``.

    Attributes:
      generation: what writes it.
    """

    def __init__(self, llm: LLM, generation: Generation):
        self.generation = generation
        self._llm, self._pieces = llm, iter(generation)

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def finish_reason(self) -> str | None:
        return self.generation.finish_reason

    @property
    def prompt_end(self) -> str:
        return self._llm.detokenize(self.generation.prompt[-_TAIL_TOKENS:], special=True)

    def message(self) -> dict[str, Any] | None:
        """As the model wrote it: it reads its control tokens again."""
        text = self.generation.output
        return {"content": text} if text.strip() else None

    def work(self) -> Work | None:
        """See ``Answer``."""
        run = self.generation
        prompt, tokens = len(run.prompt), len(run.tokens)
        return Work(prompt, run.evaluated, tokens, run.decoded, run.prompt_seconds, run.decode_seconds)

    def close(self) -> None:
        """See ``Answer``."""
        if self.generation.finish_reason is None:
            self.generation.close()


class LocalModel:
    """See ``Model``.

    Attributes:
      llm: it.
    """

    longer = "-c at the start makes it longer"
    names: Sequence[str] = ()

    def __init__(self, llm: LLM):
        self.llm = llm

    @property
    def name(self) -> str:
        return os.fspath(self.llm.model.file.path)

    @property
    def context(self) -> int:
        return self.llm.context

    @property
    def sampling(self) -> Sampling:
        return self.llm.sampling

    @property
    def template(self) -> str:
        return self.llm.chat_template.source

    @property
    def can_switch_thinking(self) -> bool:
        return "enable_thinking" in self.llm.chat_template.variables

    def count(self, text: str) -> int:
        """See ``Model``."""
        return len(self.llm.tokenize(text))

    def info(self) -> list[tuple[str, str]]:
        """See ``Model``."""
        from lumen_mlir.gguf import description

        llm = self.llm
        config, file = llm.model.config, llm.model.file
        return [
            ("model", self.name),
            ("type", description.model_type(file)),
            ("parameters", description.short_count(description.parameter_count(file))),
            ("size", description.size_text(description.tensor_bytes(file))),
            ("layers", f"{config.layers} of width {config.width}"),
            ("vocabulary", f"{config.vocabulary:,} tokens"),
            ("context", f"{llm.context:,} of {config.context:,} tokens"),
            ("KV cache", llm.options.kv_type),
            ("threads", str(llm.threads)),
        ]

    def memory(self) -> int:
        """See ``Model``."""
        return peak_memory()

    def prepare(self, reporter: Reporter, sampling: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
        """See ``Model``."""
        if fixed.get("grammar") is not None:
            self.llm.compile_grammar(fixed["grammar"])
        reporter.sampling(self.llm, dict(sampling))

    def chat(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> LocalAnswer:
        """See ``Model``."""
        return LocalAnswer(self.llm, self.llm.chat(messages, **parameters))

    def summarize(self, reporter: Reporter, answer: Answer) -> None:
        """See ``Model``."""
        assert isinstance(answer, LocalAnswer)
        reporter.summary(self.llm, answer.generation)

    def close(self) -> None:
        """See ``Model``."""
        self.llm.close()
