# SPDX-License-Identifier: Apache-2.0
"""A model run by the reference interpreter, one step at a time (``--engine reference``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lumen_mlir import ir
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache
from lumen_mlir.models import Model
from lumen_mlir.reference.interpreter import Interpreter
from lumen_mlir.reference.weights import Weight
from lumen_mlir.run.session_options import check_count
from lumen_mlir.run.step_arguments import check_logits, place, token_ids
from lumen_mlir.storage.mapping import check_unchanged
from lumen_mlir.support.locks import turn_lock


class ReferenceSession:
    """Holds what a step needs: the module, the weights, the RoPE tables and the KV caches.

    Args:
      model: an open model.
      context: capacity of the KV cache in tokens (default: the model's own context length).
      kv_type: "f16", "f32" or "q8_0".
      activations: "exact" or "int8" (see ``Interpreter``).
      module: the model's module at the ``lumen`` or ``fused`` stage, where it has been made already.
    """

    def __init__(
        self,
        model: Model,
        *,
        context: int | None = None,
        kv_type: str = "f16",
        activations: str = "exact",
        module: ir.Module | None = None,
    ):
        self.model = model
        self._lock = turn_lock()
        self.context = model.config.context if context is None else context
        check_count("context", self.context)
        if self.context > model.config.context:
            raise LumenError(f"a context of {context} tokens is not from 1 to {model.config.context}")
        if module is None:
            with ir.Context():
                module = model.module(kv_type=kv_type)
        self.module = module
        self._interpreter = self._open_interpreter(module, activations)
        self._ropes = model.rope_tables(self.context)
        shapes, dtype = model.cache_shapes(self.context, kv_type=kv_type), kv_cache.get(kv_type).dtype
        self._caches = [np.zeros(shape, dtype) for shape in shapes]
        # Of the only sequence, in order.
        self._pages = np.arange(kv_cache.pages(self.context), dtype=np.int32)[None]
        self._by_name = {name: model.weight(name) for name in model.tensors}
        self._weights = [
            self._by_name[name] for name in self._interpreter.weight_names("step") if name is not None
        ]

    def _open_interpreter(self, module: ir.Module, activations: str) -> Interpreter:
        return Interpreter(module, activations=activations)

    def __enter__(self) -> ReferenceSession:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def observe(self, callback: Callable[[str, np.ndarray], None]) -> None:
        """Calls ``callback`` with the tensor's name and the activations, float32 [T, K], of every product
        of a weight in the steps to come (of a module at the ``lumen`` stage)."""
        names = {weight.__array_interface__["data"][0]: name for name, weight in self._by_name.items()}

        def observer(weight: Weight, x: np.ndarray) -> None:
            callback(names[weight.data.__array_interface__["data"][0]], x)

        self._interpreter.observer = observer

    def step(
        self, tokens: np.ndarray | list[int], position: int, first: int = 0, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Runs ``tokens`` at ``position``, ``position`` + 1, … on top of what the KV cache holds before it.

        Returns the logits of the tokens from number ``first`` on: float32 [len(tokens) - first, vocabulary],
        in ``out`` where it is given (of a model without its head, hidden states: [.., width]).
        ``LumenError`` where the tokens do not fit the context, or are none of the vocabulary. Steps of
        several threads run one after the other.
        """
        ids = token_ids(tokens, self.model.config.vocabulary, self.context)
        position, first = place(position, first, len(ids), self.context)
        if out is not None:
            check_logits(out, (len(ids) - first, self.model.row_width))
        # The interpreter does not compute arrays without rows.
        computed = min(first, len(ids) - 1)
        with self._lock:
            rows = np.arange(computed, len(ids), dtype=np.int32)
            positions = np.arange(position, position + len(ids), dtype=np.int32)
            runs = np.array([[0, len(ids), 0]], np.int32)
            where = [positions, self._pages] * len(self.model.config.windows)
            logits, *_ = self._interpreter.call(
                "step", ids.astype(np.int32), positions, rows, runs, *where, *self._ropes, *self._caches,
                *self._weights,
            )  # fmt: skip
        check_unchanged(self.model.file.files)
        logits = logits[first - computed :]
        if out is None:
            return logits
        out[:] = logits
        return out
