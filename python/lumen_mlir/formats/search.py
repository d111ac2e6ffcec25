# SPDX-License-Identifier: Apache-2.0
"""The search for codes and factors that come nearest to given weights: least squares on a format's grids.

A weight is scale * v - min, with v a value of the code grid; the error is the sum of importance times squared
difference. Weights stand as [group, groups, blocks], a group along the first axis: every operation is one
pass over long rows, and a sum over a group adds rows.

Every group first gets the best real scale and minimum. Factors per block and per group are fitted to those,
which is the same problem again: a scale times values of a grid. Then codes, factors per group and factors per
block are improved in turn, each given the others, and the best that was seen stays, block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .grid import Grid, IntegerGrid

Rounding = Callable[[np.ndarray], np.ndarray]

# How far the greatest weight of a group goes past the end of the grid, in steps at that end. With less than 0
# the last values stay unused; past 1/2 it is clipped, which pays where codes are few or it is alone.
STRETCHES = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
_REPEATS = 2
_ROUNDS = 3


def inverse(values: np.ndarray) -> np.ndarray:
    """1 / values, and 0 for 0 and for subnormal numbers, whose inverse may overflow."""
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), np.float32(1) / values)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0."""
    return np.where(denominator == 0, np.float32(0), numerator / denominator)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("k...,k...->...", a, b)


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _not_negative(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


@dataclass
class _Sums:
    """Sums over a group for given factors: of r, r^2, r v, v and v^2, where r is weight - scale * v + min."""

    r: np.ndarray
    rr: np.ndarray
    rv: np.ndarray
    v: np.ndarray
    vv: np.ndarray
    ones: np.ndarray

    def error(self, scale: np.ndarray, minimum: np.ndarray) -> np.ndarray:
        """The error if the scale and the minimum grow by so much and the codes stay."""
        error = self.rr + scale * (scale * self.vv - 2 * self.rv)
        return error + minimum * (minimum * self.ones + 2 * self.r - 2 * scale * self.v)


class Fit:
    """The best factors seen for every group of ``x``.

    Args:
      x: weights float32 [k, ...]; everything below has the other dimensions.
      importance: of the same shape, or None for 1.
      grid: of the codes.
      round_scale, round_minimum: to what the factors may be; the latter is None for no minimum.
    """

    def __init__(
        self,
        x: np.ndarray,
        importance: np.ndarray | None,
        grid: Grid,
        round_scale: Rounding = _same,
        round_minimum: Rounding | None = None,
    ):
        self.weights, self.grid, self._w = x, grid, importance
        self.round_scale, self.round_minimum = round_scale, round_minimum
        self._r, self.values = np.empty_like(x), np.empty_like(x)
        self._buffer = None if importance is None else np.empty_like(x)
        self._ones = np.float32(len(x)) if importance is None else importance.sum(axis=0)
        self.forget()

    def merged(self, offset: np.ndarray | float) -> Fit:
        """A fit with all groups of a block as one, to weights less an offset per group."""
        importance = None if self._w is None else self._w.reshape(-1, self._w.shape[-1])
        merged = (self.weights - np.float32(offset)).reshape(-1, self.weights.shape[-1])
        return Fit(merged, importance, self.grid, _same, _same)

    def shifted(self, minimum: np.ndarray, round_scale: Rounding) -> Fit:
        """A fit without a minimum, to weights that have it added."""
        return Fit(self.weights + minimum, self._w, self.grid, round_scale)

    def forget(self) -> None:
        """Makes the next attempt the best one."""
        self.error = np.full(self.weights.shape[1:], np.inf, dtype=np.float32)
        self.scale = self.minimum = None

    def assign(self, scale: np.ndarray, minimum: np.ndarray) -> _Sums:
        """Sets ``values`` to the nearest of the grid; the sums that say how to go on from there."""
        shifted = self.weights if self.round_minimum is None else np.add(self.weights, minimum, out=self._r)
        factor = inverse(scale)
        np.multiply(shifted, factor, out=self._r)
        self.grid.nearest(self._r, out=self.values)
        # Differences, unlike sums of squares of weights, keep their digits where the error is small.
        np.subtract(self._r, self.values, out=self._r)
        r, v, weighted_v = self._r, self.values, self.values
        if self._w is not None:
            weighted_v = np.multiply(v, self._w, out=self._buffer)
        sum_v, sum_vv = weighted_v.sum(axis=0), _dot(weighted_v, v)
        weighted_r = r if self._w is None else np.multiply(r, self._w, out=self._buffer)
        sums = _Sums(
            scale * weighted_r.sum(axis=0), scale * scale * _dot(weighted_r, r), scale * _dot(weighted_r, v),
            sum_v, sum_vv, self._ones,
        )  # fmt: skip
        if not factor.all():
            self._without_scale(sums, factor == 0, minimum)
        return sums

    def _without_scale(self, sums: _Sums, where: np.ndarray, minimum: np.ndarray) -> None:
        """Where the scale is 0 all codes are the one nearest to 0, and r is what the minimum leaves."""
        left = self.weights[:, where] + (0 if self.round_minimum is None else minimum[where])
        weighted = left if self._w is None else left * self._w[:, where]
        sums.r[where], sums.rr[where] = weighted.sum(axis=0), _dot(weighted, left)
        sums.rv[where] = sums.r[where] * self.values[0, where]

    def attempt(self, scale: np.ndarray, minimum: np.ndarray | None = None) -> _Sums:
        """Takes the codes for these factors and the best factors for those codes; keeps what is better.

        Returns the sums for the factors given.
        """
        if self.round_minimum is None:
            sums = self.assign(scale, None)
            better, zero = self.round_scale(scale + ratio(sums.rv, sums.vv)), np.float32(0)
            self._keep(sums.error(better - scale, zero), better, None)
            return sums
        sums = self.assign(scale, minimum)
        spread = sums.vv * sums.ones - sums.v * sums.v
        better = scale + ratio(sums.rv * sums.ones - sums.r * sums.v, spread)
        better = self.round_scale(better)
        lower = minimum + ratio((better - scale) * sums.v - sums.r, sums.ones)
        lower = self.round_minimum(lower)
        # The minimum may have been stopped on its way: the scale for what it is.
        better = self.round_scale(scale + ratio(sums.rv + (lower - minimum) * sums.v, sums.vv))
        self._keep(sums.error(better - scale, lower - minimum), better, lower)
        return sums

    def _keep(self, error: np.ndarray, scale: np.ndarray, minimum: np.ndarray | None) -> None:
        if self.scale is None:
            self.error, self.scale, self.minimum = error, scale, minimum
            return
        less = error < self.error
        self.error = np.where(less, error, self.error)
        self.scale = np.where(less, scale, self.scale)
        if minimum is not None:
            self.minimum = np.where(less, minimum, self.minimum)

    def search(self, one_sign: bool = False) -> None:
        """Looks for the best factors; ``one_sign``: scales (with a minimum: minima) are at least 0."""
        high, low = self.weights.max(axis=0), self.weights.min(axis=0)
        for stretch in STRETCHES:
            past = np.float32(stretch) * self.grid.end_step
            if self.round_minimum is None:
                self.attempt(self.round_scale(self._first_scale(high, low, past, one_sign)))
            else:
                bottom = np.minimum(low, 0) if one_sign else low
                span = self.grid.high - self.grid.low
                scale = self.round_scale(ratio(high - bottom, span + past if span else span))
                self.attempt(scale, self.round_minimum(scale * self.grid.low - bottom))
        for _ in range(_REPEATS):
            self.attempt(self.scale, self.minimum)

    def _first_scale(self, high: np.ndarray, low: np.ndarray, past: np.ndarray, one_sign: bool) -> np.ndarray:
        top, bottom = self.grid.high, self.grid.low
        if one_sign:
            up = ratio(high, np.maximum(top + past, 0)) if top > 0 else np.zeros_like(high)
            down = ratio(low, np.minimum(bottom - past, 0)) if bottom < 0 else np.zeros_like(high)
            return np.maximum(np.maximum(up, down), 0)
        # The weight of greatest magnitude takes the end of the grid that is farther from 0.
        extreme = np.where(high >= -low, high, low)
        return ratio(extreme, top + past if top > -bottom else bottom - past)


class _Factor:
    """A scale or minimum while it is searched for: the grids of its parts, the chosen part per block."""

    def __init__(self, grids: tuple[Grid | None, Grid | None], groups: int):
        self.grids = grids
        block, group = grids
        # Of a single group the part per block is just another part per group.
        self.block_grid, self.group_grid = (None, block) if groups == 1 and group is None else grids
        self.one_sign = bool((self.group_grid or self.block_grid).low >= 0)
        self.per_block: np.ndarray | None = None

    @property
    def is_shared(self) -> bool:
        """True where all groups of a block have the same."""
        return self.group_grid is None

    def real(self, values: np.ndarray) -> np.ndarray:
        """The rounding while nothing is known of the part per block: only the sign counts."""
        if self.block_grid is None:
            return self.group_grid.nearest(values)
        return np.maximum(values, 0) if self.one_sign else values

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The nearest factors per group for the chosen part per block."""
        multiples = self.multiples(values)
        return multiples if self.block_grid is None else self.per_block * multiples

    def multiples(self, values: np.ndarray) -> np.ndarray:
        """The parts per group of the factors ``values``, 1 where there are none."""
        if self.group_grid is None:
            return np.ones_like(values)
        if self.block_grid is None:
            return self.group_grid.nearest(values)
        return self.group_grid.nearest(values * inverse(self.per_block))

    def grown(self, by: np.ndarray, multiples: np.ndarray) -> np.ndarray:
        """Lets the part per block grow; the factors for these parts per group."""
        per_block = self.per_block + by
        if self.one_sign and self.group_grid is not None:
            per_block = np.maximum(per_block, 0)
        self.per_block = self.block_grid.nearest(per_block)
        return self.per_block * multiples

    def fit_block(self, ideal: np.ndarray, importance: np.ndarray) -> None:
        """Chooses the part per block for ideal factors [groups, blocks]."""
        if self.block_grid is not None:
            values = self.group_grid or IntegerGrid(1, 1)
            fit = Fit(ideal, importance, values, self.block_grid.nearest)
            fit.search(one_sign=self.one_sign and self.group_grid is not None)
            self.per_block = fit.scale

    def parts(self, values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(per block [blocks] or None, per group [groups, blocks] or None) of the factors ``values``."""
        if self.grids[1] is None:
            return (values[0] if self.block_grid is None else self.per_block), None
        return self.per_block, self.multiples(values)


@dataclass
class Found:
    """What the search ends with: float32 values of the grids.

    Attributes:
      values: of the codes, [group, groups, blocks].
      factors: "scale" (and "min") -> (per block [blocks] or None, per group [groups, blocks] or None).
    """

    values: np.ndarray
    factors: dict[str, tuple[np.ndarray | None, np.ndarray | None]]


def search(
    x: np.ndarray,
    importance: np.ndarray | None,
    grid: Grid,
    factor_grids: dict[str, tuple[Grid | None, Grid | None]],
) -> Found:
    """Codes and factors for weights.

    Args:
      x: float32 [group, groups, blocks]; of a format without factors per group a block is one group.
      importance: of the same shape, or None.
      grid: of the codes.
      factor_grids: of the parts of "scale" and, where there is one, "min": (per block, per group).
    """
    factors = {name: _Factor(pair, x.shape[1]) for name, pair in factor_grids.items()}
    scale, minimum = factors["scale"], factors.get("min")
    fit = Fit(x, importance, grid, scale.real, None if minimum is None else minimum.real)
    _find_real_factors(fit, scale, minimum)
    if any(factor.block_grid is not None for factor in factors.values()):
        _search_blocks(fit, scale, minimum)
    fit.assign(fit.scale, fit.minimum)
    found = {"scale": scale.parts(fit.scale)}
    if minimum is not None:
        found["min"] = minimum.parts(fit.minimum)
    return Found(fit.values, found)


def _find_real_factors(fit: Fit, scale: _Factor, minimum: _Factor | None) -> None:
    """Gives every group of ``fit`` its best factors, as if those per block could be any number."""
    if minimum is None or scale.is_shared == minimum.is_shared:
        fit.search((minimum or scale).one_sign)
    elif minimum.is_shared:
        # Of all groups as one: with what they prefer on their own, some would be cut off.
        shared = fit.merged(0)
        shared.search(minimum.one_sign)
        lower = np.broadcast_to(shared.minimum, fit.error.shape)
        own = fit.shifted(lower, scale.real)
        own.search(scale.one_sign)
        fit.scale, fit.minimum = own.scale, lower
    else:
        bottom = fit.weights.min(axis=0)
        shared = fit.merged(bottom)
        shared.search()
        fit.scale = np.broadcast_to(shared.scale, bottom.shape)
        fit.minimum = fit.scale * fit.grid.low - bottom


def _search_blocks(fit: Fit, scale: _Factor, minimum: _Factor | None) -> None:
    """Replaces the real factors of ``fit`` by those that blocks can hold."""
    sums = fit.assign(fit.scale, fit.minimum)
    ideal = fit.scale
    if minimum is None:
        scale.fit_block(ideal, sums.vv)
        start = scale(ideal), None
    else:
        own = minimum.group_grid is not None
        scale.fit_block(ideal, np.maximum(sums.vv - ratio(sums.v * sums.v, sums.ones), 0) if own else sums.vv)
        rounded = scale(ideal)
        lower = minimum.real(fit.minimum + ratio((rounded - ideal) * sums.v - sums.r, sums.ones))
        minimum.fit_block(lower, np.broadcast_to(sums.ones, lower.shape))
        start = rounded, minimum(lower)
        fit.round_minimum = minimum
    fit.round_scale = scale
    best = None
    for number in range(_ROUNDS):
        fit.forget()
        fit.attempt(*start)
        fit.attempt(fit.scale, fit.minimum)
        if scale.block_grid is not None and isinstance(scale.group_grid, IntegerGrid):
            middle, lower = fit.scale, fit.minimum
            for step in (-1, 1):
                fit.attempt(scale(middle + step * scale.per_block), lower)
        best = _better(best, (fit.error.sum(axis=0), fit.scale, fit.minimum, *_per_block(scale, minimum)))
        if number + 1 < _ROUNDS:
            start = _improve_blocks(fit, scale, minimum)
    _, fit.scale, fit.minimum, scale.per_block, per_block = best
    if minimum is not None:
        minimum.per_block = per_block


def _per_block(scale: _Factor, minimum: _Factor | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    return scale.per_block, None if minimum is None else minimum.per_block


def _better(old: tuple | None, new: tuple) -> tuple:
    """Of two tuples of arrays [..., blocks], first of them the error, the better one of each block."""
    if old is None:
        return new
    less = new[0] < old[0]
    return tuple(None if a is None else np.where(less, b, a) for a, b in zip(old, new, strict=True))


def _improve_blocks(
    fit: Fit, scale: _Factor, minimum: _Factor | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Least squares for the parts per block, given codes and parts per group; the factors that result."""
    sums = fit.assign(fit.scale, fit.minimum)
    a = scale.multiples(fit.scale)
    aa, ar = (a * a * sums.vv).sum(axis=0), (a * sums.rv).sum(axis=0)
    if minimum is None:
        return scale.grown(ratio(ar, aa), a), None
    b = minimum.multiples(fit.minimum)
    bb, br = (b * b * sums.ones).sum(axis=0), (b * sums.r).sum(axis=0)
    if scale.block_grid is None:
        return fit.scale, minimum.grown(-ratio(br, bb), b)
    if minimum.block_grid is None:
        return scale.grown(ratio(ar, aa), a), fit.minimum
    ab = (a * b * sums.v).sum(axis=0)
    determinant = aa * bb - ab * ab
    solvable = determinant > np.float32(1e-6) * aa * bb
    by = np.where(solvable, ratio(ar * bb - br * ab, determinant), ratio(ar, aa))
    lower_by = np.where(solvable, ratio(ar * ab - br * aa, determinant), 0)
    return scale.grown(by, a), minimum.grown(lower_by, b)
