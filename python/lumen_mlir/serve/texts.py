# SPDX-License-Identifier: Apache-2.0
"""Begins the texts that a request asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from lumen_mlir.generate.generation import Generation, stop_strings
from lumen_mlir.generate.llm import LLM
from lumen_mlir.generate.token_draw import Force
from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.parser import Parser
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.thinking import ThinkingCounter

logger = logging.getLogger(__name__)

# Seeds are smaller.
_SEEDS = 1 << 63


async def begin(
    server: Server,
    model: ServedModel,
    prompt: str | Sequence[int],
    parameters: dict[str, Any],
    *,
    count: int = 1,
    stops: Sequence[str] = (),
    echo: bool = False,
    parser: Callable[[], Parser] | None = None,
    force: Callable[[], Force] | None = None,
    counter: Callable[[], ThinkingCounter] | None = None,
) -> Completion:
    """``count`` texts behind ``prompt``; ``parameters`` are those of ``LLM.generate``.

    ``echo``: the prompt is wanted as text, with log probabilities where the parameters ask for them.
    Text number i has the seed that is asked for and i, so the first is what a request for one gets.
    Raises ``LumenError`` where something is wrong with them.
    """
    if stops:
        parameters = {**parameters, "stop": [*stop_strings(parameters.get("stop")), *stops]}
    if server.settings.request_timeout is not None:
        parameters = {"timeout": server.settings.request_timeout, **parameters}
    if (grammar := parameters.get("grammar")) is not None:
        # Some take seconds: the threads of prompts do not wait for them.
        compiled = await asyncio.to_thread(model.llm.compile_grammar, grammar)
        parameters = {**parameters, "grammar": compiled}
    generations = await model.call(_generations, model.llm, prompt, parameters, count, force)
    parsers = None if parser is None else [parser() for _ in generations]
    prompt_text = ""
    if echo:
        ids = generations[0].prompt
        prompt_text = prompt if isinstance(prompt, str) else model.llm.detokenize(ids, special=True)
    counters = () if counter is None else [counter() for _ in generations]
    completion = Completion(model, generations, server.metrics, parsers, prompt_text, counters)
    if server.settings.log_prompts:
        completion.when_done(lambda: _log(model, generations))
    return completion


def _log(model: ServedModel, generations: Sequence[Generation]) -> None:
    """Writes to the log what was asked and answered."""
    prompt = model.llm.detokenize(generations[0].prompt, special=True)
    texts = [generation.output for generation in generations]
    logger.info("texts", extra={"fields": {"model": model.name, "prompt": prompt, "texts": texts}})


def _generations(
    llm: LLM,
    prompt: str | Sequence[int],
    parameters: dict[str, Any],
    count: int,
    force: Callable[[], Force] | None,
) -> list[Generation]:
    ids = llm.prompts.of_text(prompt)
    seed = parameters.get("seed")
    made = []
    for number in range(count):
        if seed is not None and seed >= 0 and number:
            parameters = {**parameters, "seed": (seed + number) % _SEEDS}
        if force is not None:
            parameters = {**parameters, "force": force()}
        made.append(llm.generate(ids, **parameters))
        # They have the prompt in common.
        parameters = {**parameters, "prompt_logprobs": False}
    return made
