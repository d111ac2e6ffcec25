# SPDX-License-Identifier: Apache-2.0
"""The fields of sampling that requests of several APIs have, and what they mean to ``LLM.generate``."""

from __future__ import annotations

from typing import Any

import msgspec

from lumen_mlir.generate.grammar_body import FIELDS, grammar_of
from lumen_mlir.generate.openai_body import biases
from lumen_mlir.grammar.grammar import Grammar
from lumen_mlir.serve.problem import Problem

# Texts for one prompt.
_MOST_TEXTS = 128


class SamplingFields(msgspec.Struct, kw_only=True):
    """As OpenAI, llama-server and vLLM call them."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | list[tuple[int, float]] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    priority: int | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None
    json_schema: dict[str, Any] | bool | None = None
    grammar: str | None = None
    regex: str | None = None
    structured_outputs: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_progress: bool | None = None
    timings_per_token: bool | None = None

    def sampling(self) -> dict[str, Any]:
        """Parameters of ``LLM.generate``."""
        penalty = self.repeat_penalty if self.repeat_penalty is not None else self.repetition_penalty
        bias: Any = self.logit_bias
        chosen = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repeat_penalty": penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": dict(bias) if isinstance(bias, list) else None if bias is None else biases(bias),
            "seed": self.seed,
            "stop": self.stop,
            "stop_token_ids": self.stop_token_ids,
            "ignore_eos": self.ignore_eos,
            "priority": self.priority,
        }
        return {name: value for name, value in chosen.items() if value is not None}

    def output_grammar(self) -> Grammar | None:
        """That the text has to follow. Raises ``LumenError``."""
        return grammar_of({name: getattr(self, name) for name in FIELDS})

    @property
    def texts(self) -> int:
        """How many are asked for. Raises ``Problem`` where it is no such number."""
        count = 1 if self.n is None else self.n
        if not 1 <= count <= _MOST_TEXTS:
            raise Problem(400, f"n is {count}; 1 to {_MOST_TEXTS} were expected", field="n")
        return count


class StreamOptions(msgspec.Struct, kw_only=True):
    """How an answer is streamed."""

    include_usage: bool | None = None


def max_tokens(*given: int | None) -> int | None:
    """The first of several fields that is given; None, and less than 0, is no limit. Raises ``Problem``."""
    for count in given:
        if count is not None:
            if count == 0:
                raise Problem(400, "max_tokens is 0; at least 1 was expected", field="max_tokens")
            return None if count < 0 else count
    return None
