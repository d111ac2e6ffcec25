# SPDX-License-Identifier: Apache-2.0
"""The parameters of ``LLM.generate`` by name, for type checkers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from lumen_mlir.generate.token_draw import Force
    from lumen_mlir.grammar.compiler import CompiledGrammar
    from lumen_mlir.grammar.grammar import Grammar


class Parameters(TypedDict, total=False):
    """See ``LLM.generate``."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    typical_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    stop: str | Iterable[str] | None
    stop_token_ids: Iterable[int] | None
    logprobs: int | None
    prompt_logprobs: bool
    ignore_eos: bool
    special: bool
    priority: int
    timeout: float | None
    speculate: bool | None
    grammar: Grammar | CompiledGrammar | None
    force: Force | None
    grammar_after: str | None
