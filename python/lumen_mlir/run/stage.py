# SPDX-License-Identifier: Apache-2.0
"""Layers of a model as a step of their own, so that several processes or machines share a model.

The first stage takes tokens, the last one gives logits, and in between go hidden states. Each has the
weights, and the keys and values, of its own layers only. What is sent are plain values, which can be pickled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence as Several
from dataclasses import dataclass

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor
from lumen_mlir.run.sequence import Part, Sequence
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.step_arguments import place, token_ids
from lumen_mlir.storage.cache import Cache


@dataclass(frozen=True)
class Work:
    """What a step computes of one sequence.

    Attributes:
      sequence: its number, which whoever drives the stages has chosen.
      tokens: ids of the vocabulary, int32 [T], at least one. All stages are told of them.
      position: of the first token. What the sequence has from there on is forgotten.
      first: logits are wanted from this token on; T for none.
    """

    sequence: int
    tokens: np.ndarray
    position: int
    first: int


class Stage:
    """Some layers of a model, and the keys and values of any number of sequences in them.

    All stages of a model are given the same work, in the same order, with the same options. Then they compute
    what one process computes, bit for bit (on targets that are alike). Where a stage fails in a step, the
    step can be given to all of them once more.

    Args:
      model: an open model, or the path of a GGUF file, with all layers. Weights of others are not read.
      layers: which follow each other; see ``cut``.
      options: how to run them.
      sequences: how many there may be at a time.
      pool: tokens of all sequences that there is room for; None for the context.
      cache: where code and packed weights are kept.

    Attributes:
      model: the layers.
      options, context, capacity: as of ``Executor``.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        layers: range,
        options: SessionOptions | None = None,
        *,
        sequences: int = 1,
        pool: int | None = None,
        cache: Cache | None = None,
    ):
        whole = model if isinstance(model, Model) else Model.open(model)
        check_layers(layers, whole.config.layers)
        self.model = whole.part(layers)
        self._executor = Executor(self.model, options, sequences=sequences, pool=pool, cache=cache)
        self.options, self.context = self._executor.options, self._executor.context
        self.capacity = self._executor.capacity
        self._sequences: dict[int, Sequence] = {}

    def run(self, work: Several[Work], states: np.ndarray | None = None) -> np.ndarray:
        """Runs a step. A sequence that is not known yet begins.

        ``states``: float32 [tokens, width], what the stage before has made of the same work; None for the
        first. Returns hidden states of all tokens, float32 [tokens, width], or of the last stage the logits
        that are wanted, float32 [rows, vocabulary]. Raises ``LumenError`` for tokens that are none or do not
        fit, and ``NoRoomError`` where there is no room for a sequence or its tokens.
        """
        vocabulary = self.model.config.vocabulary
        with self._executor.lock:
            parts = []
            for each in work:
                ids = token_ids(each.tokens, vocabulary, self.options.chunk)
                position, first = place(each.position, each.first, len(ids), self.context)
                parts.append(Part(self._sequence(each.sequence), ids, position, first))
            is_last = self.model.is_last
            rows = sum(len(part.tokens) - (part.first if is_last else 0) for part in parts)
            out = np.empty((rows, self.model.row_width), np.float32)
            self._executor.run(parts, out, states=states)
        return out

    def close(self, sequence: int) -> None:
        """Gives up a sequence; one that is not known is none."""
        with self._executor.lock:
            found = self._sequences.pop(sequence, None)
            if found is not None:
                found.close()

    def _sequence(self, number: int) -> Sequence:
        if number not in self._sequences:
            self._sequences[number] = self._executor.open()
        return self._sequences[number]


def check_layers(layers: range, total: int) -> None:
    """Refuses what are no layers, one behind the other, of a model that has ``total``."""
    is_range = isinstance(layers, range) and layers.step == 1
    if not is_range or not 0 <= layers.start < layers.stop <= total:
        raise LumenError(f"layers are {shown(layers)}; a part of range({total}) was expected")


def cut(model: Model, count: int) -> list[range]:
    """The layers of ``count`` stages, whose weights are about equal in bytes.

    The output matrix counts for the last stage. The embedding table does not count: single rows are read.
    Raises ``LumenError`` where there are fewer layers than stages.
    """
    total = model.config.layers
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= total:
        raise LumenError(f"{shown(count)} stages of a model of {total} layers; 1 to {total} were expected")
    sizes = [0] * total
    for name, info in model.tensors.items():
        if name.startswith("blk."):
            sizes[int(name.split(".")[1])] += info.nbytes
    tied = "output.weight" not in model.tensors
    sizes[-1] += model.tensors["token_embd.weight" if tied else "output.weight"].nbytes
    ends, whole = [0], sum(sizes)
    for stage in range(1, count):
        # The end that is nearest to the share, with a layer left for each stage that follows.
        share = whole * stage / count
        candidates = range(ends[-1] + 1, total - (count - stage) + 1)
        ends.append(min(candidates, key=lambda end: abs(sum(sizes[:end]) - share)))
    return [range(begin, end) for begin, end in zip(ends, [*ends[1:], total], strict=True)]
