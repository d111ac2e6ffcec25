# SPDX-License-Identifier: Apache-2.0
"""A roofline as SVG: what the machine allows at each number of operations per byte, and the kernels below."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lumen_mlir.measure.kernel_bench import Measurement
from lumen_mlir.measure.svg import COLORS, GREY, Picture

_LEFT, _TOP, _WIDTH, _HEIGHT = 70, 50, 640, 420
_ROOF = "#222222"
_GIGA = 1e9


def draw(results: Sequence[Measurement], title: str) -> str:
    """The SVG file. Each format has a number and a colour; its share of the limit stands at the side."""
    names = list(dict.fromkeys(result.format for result in results))
    rows = list(dict.fromkeys(result.rows for result in results))
    lines = max(len(names) + 3, 10)
    picture = Picture(_LEFT + _WIDTH + 100 + 70 * len(rows) + 60, max(_TOP + _HEIGHT + 70, _TOP + 17 * lines))
    read = max(limit for result in results for limit in result.read_limits)
    peaks = {
        name: max(limit for r in results if r.peak == name for limit in r.peak_limits)
        for name in dict.fromkeys(result.peak for result in results)
    }
    intensities = [result.operations / result.read for result in results]
    x = _Axis(min(*intensities, 1), max(*intensities, 2 * max(peaks.values()) / read), _LEFT, _WIDTH)
    fastest = max(*peaks.values(), *(result.throughput for result in results))
    slowest = min(result.throughput for result in results)
    y = _Axis(slowest / 2, fastest * 1.5, _TOP + _HEIGHT, -_HEIGHT, _GIGA)
    _axes(picture, x, y, title)
    for name, peak in peaks.items():
        _roof(picture, x, y, read, peak, name)
    for result in results:
        _point(picture, x, y, result, names.index(result.format))
    _legend(picture, results, names, rows)
    return str(picture)


class _Axis:
    """A logarithmic axis from ``low`` to ``high``, widened to powers of two times ``unit``."""

    def __init__(self, low: float, high: float, begin: float, length: float, unit: float = 1):
        self._powers = range(math.floor(math.log2(low / unit)), math.ceil(math.log2(high / unit)) + 1)
        self._begin, self._length, self._unit = begin, length, unit

    def __call__(self, value: float) -> float:
        part = (math.log2(value / self._unit) - self._powers[0]) / (len(self._powers) - 1)
        return self._begin + self._length * part

    @property
    def ticks(self) -> Iterable[float]:
        return (self._unit * 2.0**power for power in self._powers[:: 1 if len(self._powers) <= 13 else 2])

    @property
    def low(self) -> float:
        return self._unit * 2.0 ** self._powers[0]

    @property
    def high(self) -> float:
        return self._unit * 2.0 ** self._powers[-1]


def _axes(picture: Picture, x: _Axis, y: _Axis, title: str) -> None:
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    for tick in x.ticks:
        picture.line(x(tick), _TOP, x(tick), bottom, "#eeeeee")
        picture.text(x(tick), bottom + 18, f"{tick:g}", 11, "middle")
    for tick in y.ticks:
        picture.line(_LEFT, y(tick), right, y(tick), "#eeeeee")
        picture.text(_LEFT - 8, y(tick) + 4, f"{tick / _GIGA:g}", 11, "end")
    picture.line(_LEFT, bottom, right, bottom, _ROOF)
    picture.line(_LEFT, _TOP, _LEFT, bottom, _ROOF)
    picture.text(_LEFT, _TOP - 28, title, 14)
    picture.text(_LEFT - 60, _TOP - 10, "GOP/s", 12)
    picture.text(_LEFT + _WIDTH / 2, bottom + 42, "operations per byte of weights", 12, "middle")


def _roof(picture: Picture, x: _Axis, y: _Axis, read: float, peak: float, name: str) -> None:
    ridge = peak / read
    begin = max(x.low, y.low / read)
    picture.line(x(begin), y(read * begin), x(ridge), y(peak), _ROOF, 2)
    picture.line(x(ridge), y(peak), x(x.high), y(peak), _ROOF, 2)
    picture.text(x(x.high) - 4, y(peak) - 7, f"{name} peak {peak / 1e9:,.0f} GOP/s", 11, "end")
    middle = math.sqrt(begin * ridge)
    picture.text(x(middle) - 8, y(read * middle) - 8, f"read {read / 1e9:.1f} GB/s", 11, "end")


def _point(picture: Picture, x: _Axis, y: _Axis, result: Measurement, index: int) -> None:
    place = x(result.operations / result.read), y(result.throughput)
    title = (
        f"{result.format}, {result.rows} rows: {result.throughput / 1e9:,.0f} GOP/s, "
        f"{result.bandwidth / 1e9:.1f} GB/s, {result.share:.1%} of the limit"
    )
    picture.circle(*place, 4, _color(index), title)
    picture.text(place[0], place[1] + 15, str(index + 1), 9, "middle", _color(index))


def _color(index: int) -> str:
    dark = [color for color in COLORS if color not in ("#ddcc77", "#bbcc33", "#99ddff", "#ffaabb")]
    return dark[index % len(dark)]


def _legend(
    picture: Picture, results: Sequence[Measurement], names: Sequence[str], rows: Sequence[int]
) -> None:
    left = _LEFT + _WIDTH + 30
    picture.text(left, _TOP, "share of the limit", 12)
    for column, count in enumerate(rows):
        words = f"{count} row" if count == 1 else f"{count} rows"
        picture.text(left + 140 + 70 * column, _TOP + 18, words, 11, "end", "#555555")
    for index, name in enumerate(names):
        line = _TOP + 38 + 17 * index
        picture.circle(left + 4, line - 4, 4, _color(index), name)
        picture.text(left + 14, line, f"{index + 1}  {name}", 11)
        for result in results:
            if result.format == name:
                at = left + 140 + 70 * rows.index(result.rows)
                picture.text(at, line, f"{result.share:.0%}", 11, "end")
    picture.line(left, _TOP + 24, left + 140 + 70 * (len(rows) - 1), _TOP + 24, GREY)
