# SPDX-License-Identifier: Apache-2.0
"""One model over several machines, as stages of a pipeline: each has some of its layers.

    python examples/ray/pipeline.py MODEL.gguf --stages 2 -p "오늘 본 영화는" -p "이 영화는"

Each stage is a Ray actor with a ``lumen_mlir.run.stage.Stage``. This process cuts texts into tokens and draws
the next ones; hidden states go from stage to stage without it. A single text is computed by one stage after
the other. Several texts keep all stages busy: they are in groups, and while one stage computes a group, the
others compute other groups. The texts are those of one process, token by token.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stage import Stage, Work, cut
from lumen_mlir.text.tokenizer import Tokenizer


@ray.remote
class StageActor:
    """Some layers of a model on some machine, which has the file under the same path."""

    def __init__(self, path: str, layers: range, options: SessionOptions, sequences: int, pool: int):
        self._stage = Stage(path, layers, options, sequences=sequences, pool=pool)

    def run(self, work: list[Work], states: np.ndarray | None = None) -> np.ndarray:
        """See ``Stage.run``."""
        return self._stage.run(work, states)

    def close(self, sequences: list[int]) -> None:
        """Gives up sequences."""
        for sequence in sequences:
            self._stage.close(sequence)

    def layers(self) -> tuple[int, int]:
        """Which it has, once it is open."""
        return self._stage.model.layers.start, self._stage.model.layers.stop

    def node(self) -> str:
        """Where it is."""
        return ray.get_runtime_context().get_node_id()


@dataclass
class Text:
    """A text that is being written.

    Attributes:
      number: of its sequence.
      ids: the prompt and what was drawn.
      prompt: tokens of the prompt.
      sampler: draws.
      done: tokens that are computed, or under way.
    """

    number: int
    ids: list[int]
    prompt: int
    sampler: Sampler
    done: int = 0
    ended: bool = field(default=False)

    def work(self, most: int) -> Work:
        """Its part of the next step, of at most ``most`` tokens."""
        tokens = np.array(self.ids[self.done : self.done + most], np.int32)
        position, self.done = self.done, self.done + len(tokens)
        # Logits are wanted where the next token is drawn.
        return Work(self.number, tokens, position, len(tokens) - (self.done == len(self.ids)))


class Pipeline:
    """Stages of a model as actors, and what writes texts by them.

    Args:
      path: of a GGUF file, on every machine.
      stages: how many.
      options: of each; ``chunk`` is the most tokens of a step.
      texts: how many are written at a time.
      groups: of texts; by default as many as stages.
      resources: of each actor, as Ray has them (``num_cpus``, ``resources``).
    """

    def __init__(
        self,
        path: str,
        stages: int,
        options: SessionOptions,
        texts: int,
        groups: int | None = None,
        resources: Sequence[dict[str, Any]] | None = None,
    ):
        self.model = Model.open(path)
        self.tokenizer = Tokenizer.from_gguf(self.model.file)
        self.context, self._chunk = options.context_of(self.model), options.chunk
        self._texts, self._groups = texts, min(groups or stages, texts)
        if self._chunk < -(-texts // self._groups):
            raise LumenError(f"a step of {self._chunk} tokens has too little room for {texts} texts")
        wanted = resources or [{"num_cpus": 1}] * stages
        self.actors = [
            StageActor.options(**each).remote(path, layers, options, texts, texts * self.context)
            for each, layers in zip(wanted, cut(self.model, stages), strict=True)
        ]
        # Until all are open.
        self.layers = ray.get([actor.layers.remote() for actor in self.actors])

    def write(
        self,
        prompts: Sequence[str | Sequence[int]],
        most: int,
        sampler: Callable[[], Sampler] = lambda: Sampler(temperature=0),
    ) -> list[list[int]]:
        """The tokens behind each prompt, up to an end token or ``most`` of them."""
        texts = [self._text(number, prompt, sampler()) for number, prompt in enumerate(prompts)]
        waiting = iter(texts)
        groups: list[list[Text]] = [[] for _ in range(self._groups)]
        for number, text in zip(range(self._texts), waiting, strict=False):
            groups[number % len(groups)].append(text)
        # What the last stage makes of a step, and the group that it is of.
        running = {self._begin(group): group for group in groups if group}
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            group = running.pop(ready)
            self._draw(group, ray.get(ready), most)
            ended = [text.number for text in group if text.ended]
            if ended:
                for actor in self.actors:
                    actor.close.remote(ended)
                group[:] = [text for text in group if not text.ended]
                # (Actors do what they are told in order: places are free before others begin.)
                group.extend(self._next(waiting, len(ended)))
            if group:
                running[self._begin(group)] = group
        return [text.ids[text.prompt :] for text in texts]

    def _text(self, number: int, prompt: str | Sequence[int], sampler: Sampler) -> Text:
        ids = self.tokenizer.encode(prompt, add_eos=False) if isinstance(prompt, str) else list(prompt)
        if not 0 < len(ids) < self.context:
            raise LumenError(f"prompt {number} has {len(ids)} tokens; 1 to {self.context - 1} were expected")
        sampler.accept(ids)
        return Text(number, ids, len(ids), sampler)

    @staticmethod
    def _next(waiting: Iterator[Text], count: int) -> list[Text]:
        return [text for _, text in zip(range(count), waiting, strict=False)]

    def _begin(self, group: list[Text]) -> Any:
        """Sends a step of a group through all stages."""
        left, work = self._chunk, []
        for number, text in enumerate(group):
            # Each of the others gets a token at least.
            work.append(text.work(left - (len(group) - 1 - number)))
            left -= len(work[-1].tokens)
        states = None
        for actor in self.actors:
            states = actor.run.remote(work, states)
        return states

    def _draw(self, group: list[Text], logits: np.ndarray, most: int) -> None:
        rows = iter(logits)
        for text in group:
            if text.done < len(text.ids):
                continue
            token = text.sampler.sample(next(rows).copy())
            if token in self.tokenizer.end_tokens:
                text.ended = True
                continue
            text.ids.append(token)
            text.ended = len(text.ids) - text.prompt == most or len(text.ids) == self.context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="a GGUF file, under the same path on every machine")
    parser.add_argument("--stages", type=int, default=2, help="machines, or processes, to cut the layers for")
    parser.add_argument("-p", "--prompt", action="append", required=True, help="several are written together")
    parser.add_argument("-n", "--tokens", type=int, default=64, help="to write, at most")
    parser.add_argument("-c", "--context", type=int, help="tokens of a text; by default as many as is usual")
    parser.add_argument("-t", "--threads", type=int, default=1, help="of each stage")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--address", help="of a Ray cluster; by default one is started on this machine")
    options = parser.parse_args()
    ray.init(address=options.address)
    settings = SessionOptions(context=options.context, threads=options.threads)
    resources = [{"num_cpus": options.threads}] * options.stages
    texts = len(options.prompt)
    pipeline = Pipeline(options.model, options.stages, settings, texts, resources=resources)
    for number, (begin, end) in enumerate(pipeline.layers):
        print(f"stage {number}: layers {begin} to {end - 1}")

    def sampler() -> Sampler:
        return Sampler(temperature=options.temperature, seed=options.seed)

    found = pipeline.write(options.prompt, options.tokens, sampler)
    for prompt, tokens in zip(options.prompt, found, strict=True):
        print(prompt + pipeline.tokenizer.decode(tokens))


if __name__ == "__main__":
    main()
