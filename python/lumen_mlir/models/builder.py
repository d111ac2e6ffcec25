# SPDX-License-Identifier: Apache-2.0
"""Turns a configuration and the types of its tensors into the ``lumen`` stage of a module.

``@step`` embeds the tokens, calls one function per layer and computes the logits. Layers whose tensors have
equal types (and which the architecture writes alike) share one function, so that the size of the code does
not grow with the depth of the model.

A module can have some of the layers, too. Then hidden states take the place of what other modules compute:
of the tokens where the first layer is missing, and of the logits where the last one is. A module without its
head ends in the last norm.
"""

from __future__ import annotations

from collections.abc import Mapping

from lumen_mlir import formats, ir
from lumen_mlir.dialects import func, lumen
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.models import architecture
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import FLOAT_TYPES


def tensor_type(info: TensorInfo) -> ir.Type:
    """The argument type of a weight. Vectors are float32 whatever the file holds: loading converts them."""
    if len(info.shape) == 1:
        return lumen.vector_type(info.shape[0])
    rows, columns = info.shape
    return lumen.weight_type(rows, columns, info.type)


class ModuleBuilder:
    """Writes one module; ``build`` is called once, with a context entered."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, TensorInfo],
        kv_type: str,
        layers: range,
        has_head: bool = True,
        logit_group: int = 0,
    ):
        self.architecture = architecture.get(config.architecture)
        self.config = config
        self.tensors = tensors
        self.layers, self.has_head = layers, has_head
        self.logit_group = logit_group
        # Keys and values of the layers of each window.
        self.caches = {
            window: [
                lumen.cache_type(kind, layers, config.kv_heads, config.head_size, kv_type)
                for kind in ("key", "value")
            ]
            for window, layers in config.windows_of(layers).items()
        }
        # Places of new keys and values, and the pages of sequences.
        self.where = [lumen.numbers_type(), lumen.pages_type()]
        self.ropes = {rope: lumen.rows_type(rope.dimensions) for rope in config.ropes_of(layers)}
        self.index = ir.IndexType.get()
        self.functions: dict[object, str] = {}
        self.module = ir.Module.create()

    def build(self) -> ir.Module:
        with ir.InsertionPoint(self.module.body):
            for name in sorted({info.type for info in self.tensors.values()} - set(FLOAT_TYPES)):
                lumen.format(formats.get(name).emit_ir())
            self.step()
        return self.module

    def step(self) -> None:
        config = self.config
        is_first, is_last = self.layers.start == 0, self.layers.stop == config.layers
        hidden, numbers = lumen.rows_type(config.width), lumen.numbers_type()
        caches = [kind for pair in self.caches.values() for kind in pair]
        fixed = [numbers if is_first else hidden, numbers, *([numbers] if is_last else [])]
        group = self.logit_group
        groups = [lumen.rows_type(group), lumen.numbers_type(lumen.DYNAMIC, 1)] if group else []
        fixed += [numbers, numbers] if group else []
        fixed += [lumen.runs_type(), *self.where * len(self.caches), *self.ropes.values(), *caches]
        named = [{"lumen.name": ir.StringAttr.get(name)} for name in self.tensors]
        block = func.func(
            "step",
            [*fixed, *map(tensor_type, self.tensors.values())],
            [lumen.rows_type(config.vocabulary) if is_last and self.has_head else hidden, *groups, *caches],
            argument_attributes=[*({} for _ in fixed), *named],
        )
        arguments = iter(block.arguments)
        x, positions = next(arguments), next(arguments)
        rows = next(arguments) if is_last else None
        asked = [next(arguments), next(arguments)] if group else []
        runs = next(arguments)
        where = {window: [next(arguments), next(arguments)] for window in self.caches}
        ropes = {rope: next(arguments) for rope in self.ropes}
        held = {window: [next(arguments), next(arguments)] for window in self.caches}
        weights = dict(zip(self.tensors, arguments, strict=True))
        with ir.InsertionPoint(block):
            slots = {index: config.cache_slot(index, self.layers.start) for index in self.layers}
            constants = {slot: func.index_constant(slot) for slot in sorted(set(slots.values()))}
            scope = Scope(config, weights, positions)
            if is_first:
                x = self.architecture.embed(scope, x)
            for index in self.layers:
                prefix = f"blk.{index}."
                local = [name for name in self.tensors if name.startswith(prefix)]
                tensors = {name.removeprefix(prefix): self.tensors[name] for name in local}
                attention = config.attention(index)
                function = self.layer(index, tensors)
                table = [] if attention.rope is None else [ropes[attention.rope]]
                window = attention.window
                values = [x, positions, runs, *where[window], constants[slots[index]], *table, *held[window]]
                values += [weights[name] for name in local]
                results = [x.type, *self.caches[window]]
                x, *held[window] = func.call(function, results, values)
            if rows is not None:
                end = self.architecture.head if self.has_head else self.architecture.last_norm
                x = end(scope, lumen.select_rows(x, rows))
            largest = lumen.largest_groups(x, lumen.group_keys(x, group), *asked, group) if group else []
            func.return_([x, *largest, *(value for pair in held.values() for value in pair)])

    def layer(self, index: int, tensors: Mapping[str, TensorInfo]) -> str:
        """The name of the function of layer ``index``, which is written unless an earlier one serves."""
        types = {name: tensor_type(info) for name, info in tensors.items()}
        key = (self.architecture.variant(self.config, index), *types.items())
        if key in self.functions:
            return self.functions[key]
        name = self.functions[key] = f"layer_{len(self.functions)}"
        x_type, attention = lumen.rows_type(self.config.width), self.config.attention(index)
        table = [] if attention.rope is None else [self.ropes[attention.rope]]
        caches = self.caches[attention.window]
        with ir.InsertionPoint(self.module.body):
            block = func.func(
                name,
                [
                    x_type,
                    lumen.numbers_type(),
                    lumen.runs_type(),
                    *self.where,
                    self.index,
                    *table,
                    *caches,
                    *types.values(),
                ],  # fmt: skip
                [x_type, *caches],
                visibility="private",
            )
        arguments = iter(block.arguments)
        x, positions, runs, places, pages, layer = (next(arguments) for _ in range(6))
        rope = next(arguments) if table else None
        k, v = next(arguments), next(arguments)
        weights = dict(zip(types, arguments, strict=True))
        with ir.InsertionPoint(block):
            scope = Scope(self.config, weights, positions, layer, attention, rope, k, v, places, pages, runs)
            x = self.architecture.layer(scope, x, index)
            func.return_([x, scope.k, scope.v])
        return name


def build_module(
    config: ModelConfig,
    tensors: Mapping[str, TensorInfo],
    *,
    kv_type: str = "f16",
    target: ir.Attribute | None = None,
    max_tokens: int | None = None,
    layers: range | None = None,
    has_head: bool = True,
    logit_group: int = 0,
) -> ir.Module:
    """The ``lumen`` stage of a model, in the current context.

    Args:
      config: hyperparameters.
      tensors: shape and type of each weight, in the order of the arguments of ``@step``
        (``architecture.resolve``).
      kv_type: elements of the KV caches: "f16", "f32" or "q8_0".
      target: the module attribute ``lumen.target``.
      max_tokens: the module attribute ``lumen.max_tokens``: most tokens of one step.
      layers: of the module; by default all.
      has_head: it ends in logits; else in the last norm.
      logit_group: if not 0, ``@step`` also gives groups of so many of the largest logits, behind the logits
        (``lumen.largest_groups``), for the rows and ranks that it is given behind ``rows``. It must have the
        last layer then, and logits for a group.
    """
    layers = layers or range(config.layers)
    module = ModuleBuilder(config, tensors, kv_type, layers, has_head, logit_group).build()
    attributes = module.operation.attributes
    if target is not None:
        attributes["lumen.target"] = target
    if max_tokens is not None:
        attributes["lumen.max_tokens"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), max_tokens)
    module.operation.verify()
    return module
