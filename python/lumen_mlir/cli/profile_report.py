# SPDX-License-Identifier: Apache-2.0
"""``lumen bench --profile``: tables and a picture of where the time goes."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli.fitting import say, show_markdown
from lumen_mlir.cli.table import markdown
from lumen_mlir.measure.svg import COLORS, GREY, Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lumen_mlir.measure.limits import Limits
    from lumen_mlir.measure.profiling import Profile

_OUTSIDE = "outside of kernels"
_HEADER = ("kernel", "calls", "ms", "share", "MB", "GB/s", "GOP", "GOP/s", "of limit")
_NUMBERS = range(1, len(_HEADER))


def show(profiles: Sequence[Profile], form: str | None) -> None:
    """Writes them as ``text``, or, for people on a terminal, as tables that fit it."""
    if form is not None:
        click.echo(text(profiles, form))
        return
    for number, profile in enumerate(profiles):
        title, rows = _table(profile)
        say(("\n" if number else "") + f"{title}\n")
        show_markdown([_HEADER, *rows], _NUMBERS)


def text(profiles: Sequence[Profile], form: str) -> str:
    """``form`` is "md", "json" or "csv"."""
    if form == "md":
        tables = map(_table, profiles)
        return "\n\n".join(f"{title}\n\n{markdown(_HEADER, rows, _NUMBERS)}" for title, rows in tables)
    rows = [row for profile in profiles for row in _rows(profile)]
    if form == "json":
        return json.dumps(rows, indent=2)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().rstrip("\n")


def limits_text(limits: Limits) -> str:
    """The limits in words."""
    return (
        f"reads {limits.read / 1e9:.1f} GB/s, multiplies {limits.int8 / 1e9:,.0f} GOP/s (8 bits) and "
        f"{limits.float32 / 1e9:,.0f} GFLOP/s (float32)"
    )


def _rows(profile: Profile) -> list[dict[str, Any]]:
    """A row per kernel, and one for what lies outside of them; numbers are those of one step."""
    steps, limits = profile.steps, profile.limits

    def row(
        name: str, seconds: float, calls: float = 0, read: float = 0, int8: float = 0, float32: float = 0
    ):
        least = limits.seconds(read, int8, float32)
        return {
            "test": profile.label,
            "n_threads": profile.threads,
            "steps": steps,
            "kernel": name,
            "calls": calls / steps,
            "ns": round(seconds / steps * 1e9),
            "share": round(seconds / profile.seconds, 6),
            "bytes": round(read / steps),
            "int8_operations": round(int8 / steps),
            "float32_operations": round(float32 / steps),
            "share_of_limit": round(least / seconds, 6) if least else None,
            "limit_bytes_per_second": round(limits.read),
            "limit_int8_per_second": round(limits.int8),
            "limit_float32_per_second": round(limits.float32),
        }

    rows = [
        row(k.name, k.seconds, k.work.calls, k.work.read, k.work.int8, k.work.float32)
        for k in profile.kernels
    ]
    return [*rows, row(_OUTSIDE, profile.outside)]


def _table(profile: Profile) -> tuple[str, list[Sequence[str]]]:
    """What the profile is of, and its rows."""
    rows: list[Sequence[str]] = [
        _cells(row["kernel"], row["calls"], row["ns"], row["share"], row["bytes"],
               row["int8_operations"] + row["float32_operations"], row["share_of_limit"])
        for row in _rows(profile)
    ]  # fmt: skip
    work, steps = profile.work, profile.steps
    operations = (work.int8 + work.float32) / steps
    nanoseconds, of_limit = profile.seconds / steps * 1e9, profile.least / profile.seconds
    rows.append(_cells("a step", work.calls / steps, nanoseconds, 1, work.read / steps, operations, of_limit))
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    title = f"{profile.label}, {threads}; the machine {limits_text(profile.limits)}"
    return title, rows


def _cells(
    name: str,
    calls: float,
    nanoseconds: float,
    share: float,
    read: float,
    operations: float,
    of_limit: float | None,
) -> list[str]:
    return [
        name,
        f"{calls:.0f}" if calls else "",
        f"{nanoseconds / 1e6:.3f}",
        f"{share:.1%}",
        f"{read / 1e6:.2f}" if read else "",
        f"{read / nanoseconds:.1f}" if read else "",
        f"{operations / 1e9:.3f}" if operations else "",
        f"{operations / nanoseconds:.1f}" if operations else "",
        f"{of_limit:.0%}" if of_limit else "",
    ]


def picture(profiles: Sequence[Profile], title: str) -> str:
    """A bar per test, stacked from its kernels; the dark part of each is the least time by the limits."""
    names = list(dict.fromkeys(kernel.name for profile in profiles for kernel in profile.kernels))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)} | {_OUTSIDE: GREY}
    left, right, top, bar, gap, line = 150, 20, 50, 44, 34, 18
    width = 760
    legend = top + len(profiles) * (bar + gap) + 10
    result = Picture(left + width + right, legend + line * (len(colors) + 1) + 16)
    result.text(16, 24, title, 15)
    for number, profile in enumerate(profiles):
        y = top + number * (bar + gap)
        milliseconds = profile.seconds / profile.steps * 1e3
        threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
        result.text(left - 10, y + 17, f"{profile.label}, {threads}", 13, "end")
        result.text(left - 10, y + 34, f"{milliseconds:,.2f} ms a step", 11, "end", "#444444")
        x = float(left)
        for row in _rows(profile):
            size, least = row["share"] * width, min(row["share_of_limit"] or 0, 1)
            color = colors[row["kernel"]]
            hint = f"{row['kernel']}: {row['ns'] / 1e6:.3f} ms, {row['share']:.1%}"
            if least:
                hint += f", {row['share_of_limit']:.0%} of the limit"
            result.rectangle(x, y, size, bar, color, 0.45, hint)
            result.rectangle(x, y, size * least, bar, color, 1, hint)
            if size > 34:
                result.text(x + size / 2, y + bar + 13, f"{row['share']:.0%}", 11, "middle", "#444444")
            x += size
    note = "dark: the least time that the machine's limits (memory, 8-bit and float32 products) allow"
    result.text(left, legend + 4, note, 11, color="#444444")
    for number, (name, color) in enumerate(colors.items(), 1):
        result.rectangle(left, legend + number * line - 6, 12, 12, color)
        result.text(left + 20, legend + number * line + 4, name, 12)
    return str(result)
