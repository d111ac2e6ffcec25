# SPDX-License-Identifier: Apache-2.0
"""Random graphs of ops on tensors: modules, and what NumPy says they compute in float64."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class _Value:
    name: str
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def type(self) -> str:
        return _type(self.shape)


def _type(shape: tuple[int, ...]) -> str:
    return f"tensor<{''.join(f'{size}x' for size in shape)}f32>"


def _map(rank: int, dims: list[int]) -> str:
    return f"affine_map<({', '.join(f'd{i}' for i in range(rank))}) -> ({', '.join(f'd{i}' for i in dims)})>"


class Graph:
    """A module with a function ``@f``, made of random ops.

    Attributes:
      text: the module.
      arguments: its arguments, in f32.
      results: what it gives, in float64.
    """

    def __init__(self, seed: int, size: int):
        self._rng = np.random.default_rng(seed)
        self._lines: list[str] = []
        self._values: list[_Value] = []
        self._count = 0
        shapes = [self._shape() for _ in range(self._rng.integers(1, 4))]
        self.arguments = [self._rng.uniform(-2, 2, shape).astype(np.float32) for shape in shapes]
        inputs = []
        for number, array in enumerate(self.arguments):
            value = _Value(f"%arg{number}", array.astype(np.float64))
            self._values.append(value)
            inputs.append(f"{value.name}: {value.type}")
        steps: list[Callable[[], None]] = [
            self._unary, self._unary, self._binary, self._binary, self._broadcast, self._reduce,
            self._transpose, self._matmul, self._slice, self._pad, self._concat, self._reshape, self._choice,
            self._insert,
        ]  # fmt: skip
        while self._count < size:
            steps[self._rng.integers(len(steps))]()
        last = [self._values[-1], *(v for v in self._values[:-1] if self._rng.random() < 0.1)]
        self._results = [value for value in last if not value.name.startswith("%arg")] or last[:1]
        self.results = [value.array for value in self._results]
        names = ", ".join(value.name for value in self._results)
        types = ", ".join(value.type for value in self._results)
        body = "\n".join(f"  {line}" for line in self._lines)
        self.text = (
            f"func.func @f({', '.join(inputs)}) -> ({types}) {{\n{body}\n  return {names} : {types}\n}}\n"
        )

    def _shape(self, rank: int | None = None) -> tuple[int, ...]:
        rank = int(self._rng.integers(1, 5)) if rank is None else rank
        most = (0, 200, 40, 12, 6)[rank]
        return tuple(int(size) for size in self._rng.integers(1, most, rank))

    def _pick(self, rank: int | None = None) -> _Value | None:
        fitting = [v for v in self._values if rank is None or len(v.shape) == rank]
        return fitting[self._rng.integers(len(fitting))] if fitting else None

    def _name(self) -> str:
        self._count += 1
        return f"%v{self._count}"

    def _add(self, text: str, array: Array) -> _Value:
        """A line in which ``{}`` is the name of what it gives. Values stay small, so that errors do."""
        value = _Value(self._name(), array)
        self._lines.append(text.replace("{}", value.name))
        if np.abs(array).max(initial=0) > 8:
            value = self._add(f"{{}} = math.tanh {value.name} : {value.type}", np.tanh(array))
        if not self._values or self._values[-1] is not value:
            self._values.append(value)
        return value

    def _empty(self, shape: tuple[int, ...], start: float | None = None) -> str:
        self._count += 1
        name = f"%e{self._count}"
        self._lines.append(f"{name} = tensor.empty() : {_type(shape)}")
        if start is None:
            return name
        self._lines += [
            f"{name}c = arith.constant {start:.1f} : f32",
            f"{name}f = linalg.fill ins({name}c : f32) outs({name} : {_type(shape)}) -> {_type(shape)}",
        ]
        return f"{name}f"

    def _unary(self) -> None:
        x = self._pick()
        assert x is not None
        name, of = (
            ("math.sin", np.sin), ("math.tanh", np.tanh), ("math.absf", np.abs), ("arith.negf", np.negative),
            ("math.atan", np.arctan), ("math.cos", np.cos),
        )[self._rng.integers(6)]  # fmt: skip
        self._add(f"{{}} = {name} {x.name} : {x.type}", of(x.array))

    def _binary(self) -> None:
        x = self._pick()
        assert x is not None
        alike = [v for v in self._values if v.shape == x.shape]
        y = alike[self._rng.integers(len(alike))]
        name, of = (
            ("arith.addf", np.add), ("arith.subf", np.subtract), ("arith.mulf", np.multiply),
            ("arith.maximumf", np.maximum), ("arith.minimumf", np.minimum),
        )[self._rng.integers(5)]  # fmt: skip
        self._add(f"{{}} = {name} {x.name}, {y.name} : {x.type}", of(x.array, y.array))

    def _choice(self) -> None:
        x = self._pick()
        assert x is not None
        condition = self._name()
        self._lines.append(f"{condition} = arith.cmpf oge, {x.name}, {x.name} : {x.type}")
        mask = x.type.replace("f32", "i1")
        other = f"{condition}n"
        self._lines.append(f"{other} = arith.negf {x.name} : {x.type}")
        self._add(f"{{}} = arith.select {condition}, {other}, {x.name} : {mask}, {x.type}", -x.array)

    def _broadcast(self) -> None:
        x = self._pick()
        if x is None or not 0 < len(x.shape) < 4 or x.array.size > 2000:
            return
        place, size = int(self._rng.integers(len(x.shape) + 1)), int(self._rng.integers(1, 9))
        shape = (*x.shape[:place], size, *x.shape[place:])
        out = self._empty(shape)
        self._add(
            f"{{}} = linalg.broadcast ins({x.name} : {x.type}) outs({out} : {_type(shape)}) "
            f"dimensions = [{place}]",
            np.broadcast_to(np.expand_dims(x.array, place), shape),
        )

    def _reduce(self) -> None:
        x = self._pick()
        if x is None or len(x.shape) < 2:
            return
        axis = int(self._rng.integers(len(x.shape)))
        shape = tuple(size for i, size in enumerate(x.shape) if i != axis)
        name, of, start = (("arith.addf", np.sum, 0.0), ("arith.maximumf", np.max, -1e30))[
            self._rng.integers(2)
        ]
        init = self._empty(shape, start)
        self._add(
            f"{{}} = linalg.reduce {{ {name} }} ins({x.name} : {x.type}) outs({init} : {_type(shape)}) "
            f"dimensions = [{axis}]",
            of(x.array, axis=axis),
        )

    def _transpose(self) -> None:
        x = self._pick()
        if x is None or len(x.shape) < 2:
            return
        order = [int(i) for i in self._rng.permutation(len(x.shape))]
        shape = tuple(x.shape[i] for i in order)
        out = self._empty(shape)
        self._add(
            f"{{}} = linalg.transpose ins({x.name} : {x.type}) outs({out} : {_type(shape)}) "
            f"permutation = {order}",
            x.array.transpose(order),
        )

    def _matmul(self) -> None:
        x = self._pick(2)
        if x is None:
            return
        fitting = [v for v in self._values if len(v.shape) == 2 and v.shape[0] == x.shape[1]]
        turned = not fitting or self._rng.random() < 0.3
        if turned:
            fitting = [v for v in self._values if len(v.shape) == 2 and v.shape[1] == x.shape[1]]
        y = fitting[self._rng.integers(len(fitting))]
        array = x.array @ (y.array.T if turned else y.array)
        init = self._empty(array.shape, 0.0)
        maps = ", ".join((_map(3, [0, 2]), _map(3, [1, 2] if turned else [2, 1]), _map(3, [0, 1])))
        self._add(
            f"{{}} = linalg.matmul indexing_maps = [{maps}] ins({x.name}, {y.name} : {x.type}, {y.type}) "
            f"outs({init} : {_type(array.shape)}) -> {_type(array.shape)}",
            array,
        )

    def _ranges(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Offset and size of a slice."""
        ranges = []
        for size in shape:
            length = int(self._rng.integers(1, size + 1))
            ranges.append((int(self._rng.integers(size - length + 1)), length))
        return ranges

    def _slice(self) -> None:
        x = self._pick()
        if x is None or not x.shape:
            return
        ranges = self._ranges(x.shape)
        array = x.array[tuple(slice(start, start + length) for start, length in ranges)]
        offsets, sizes = [r[0] for r in ranges], [r[1] for r in ranges]
        self._add(
            f"{{}} = tensor.extract_slice {x.name}{offsets} {sizes} {[1] * len(sizes)} : {x.type} to "
            f"{_type(array.shape)}",
            array,
        )

    def _insert(self) -> None:
        x, y = self._pick(), self._pick()
        if x is None or y is None or len(x.shape) != len(y.shape) or not x.shape:
            return
        if any(a > c for a, c in zip(x.shape, y.shape, strict=True)):
            return
        starts = [int(self._rng.integers(c - a + 1)) for a, c in zip(x.shape, y.shape, strict=True)]
        array = y.array.copy()
        array[tuple(slice(s, s + a) for s, a in zip(starts, x.shape, strict=True))] = x.array
        self._add(
            f"{{}} = tensor.insert_slice {x.name} into {y.name}{starts} {list(x.shape)} {[1] * len(starts)} "
            f": {x.type} into {y.type}",
            array,
        )

    def _pad(self) -> None:
        x = self._pick()
        if x is None or not x.shape or x.array.size > 2000:
            return
        low = [int(n) for n in self._rng.integers(0, 3, len(x.shape))]
        high = [int(n) for n in self._rng.integers(0, 3, len(x.shape))]
        array = np.pad(x.array, list(zip(low, high, strict=True)), constant_values=0.5)
        name = self._name()
        indices = ", ".join(f"%{letter}: index" for letter in string.ascii_lowercase[: len(low)])
        self._lines.append(f"{name} = arith.constant 0.5 : f32")
        self._add(
            f"{{}} = tensor.pad {x.name} low{low} high{high} "
            f"{{ ^bb0({indices}): tensor.yield {name} : f32 }} "
            f": {x.type} to {_type(array.shape)}",
            array,
        )

    def _concat(self) -> None:
        x = self._pick()
        if x is None or not x.shape or x.array.size > 2000:
            return
        axis = int(self._rng.integers(len(x.shape)))
        fitting = [
            v
            for v in self._values
            if len(v.shape) == len(x.shape)
            and np.delete(v.shape, axis).tolist() == np.delete(x.shape, axis).tolist()
        ]
        y = fitting[self._rng.integers(len(fitting))]
        array = np.concatenate([x.array, y.array], axis)
        self._add(
            f"{{}} = tensor.concat dim({axis}) {x.name}, {y.name} : ({x.type}, {y.type}) -> "
            f"{_type(array.shape)}",
            array,
        )

    def _reshape(self) -> None:
        x = self._pick()
        if x is None or len(x.shape) < 2:
            return
        place = int(self._rng.integers(len(x.shape) - 1))
        groups = [[i] if i <= place else [i + 1] for i in range(len(x.shape) - 1)]
        groups[place] = [place, place + 1]
        shape = (*x.shape[:place], x.shape[place] * x.shape[place + 1], *x.shape[place + 2 :])
        flat = self._add(
            f"{{}} = tensor.collapse_shape {x.name} {groups} : {x.type} into {_type(shape)}",
            x.array.reshape(shape),
        )
        if self._rng.random() < 0.5 and flat.shape == shape:
            self._add(
                f"{{}} = tensor.expand_shape {flat.name} {groups} output_shape {list(x.shape)} : "
                f"{flat.type} into {x.type}",
                flat.array.reshape(x.shape),
            )
