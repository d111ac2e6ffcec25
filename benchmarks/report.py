# SPDX-License-Identifier: Apache-2.0
"""Results as a Markdown table and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rows import Row

from lumen_mlir.cli.table import markdown
from lumen_mlir.measure.svg import COLORS, GREY, Picture

LUMEN = "Lumen"


@dataclass(frozen=True)
class Summary:
    """A row's rounds: tokens per second of both engines, and the ratio of every round."""

    row: Row
    peer: str
    ours: list[float]
    theirs: list[float]
    of_limit: list[float]
    read: list[float]
    """Bytes per second that the machine read before each round; empty where that was not measured."""

    @property
    def ratios(self) -> list[float]:
        return sorted(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def summarize(rows: list[Row], results: Iterable[dict[str, Any]]) -> list[Summary]:
    """What is known of each row. Of several peers the fastest counts (by the median of its rounds)."""
    by_row: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for result in results:
        by_row.setdefault(result["row"], {}).setdefault(result["engine"], {})[result["round"]] = result
    summaries = []
    for row in rows:
        engines = by_row.get(row.key, {})
        ours = engines.pop(LUMEN, {})

        def speed(result: dict[str, Any], tokens: int = row.test.tokens) -> float:
            return tokens * 1e9 / result["ns"]

        best: Summary | None = None
        for name, theirs in engines.items():
            both = sorted(ours.keys() & theirs.keys())
            if not both:
                continue
            limits = [ours[i]["least_ns"] / ours[i]["ns"] for i in both if ours[i].get("least_ns")]
            read = [ours[i]["read_before"] for i in both if "read_before" in ours[i]]
            mine, peer = [speed(ours[i]) for i in both], [speed(theirs[i]) for i in both]
            if best is None or statistics.median(peer) > statistics.median(best.theirs):
                best = Summary(row, name, mine, peer, limits, read)
        if best is not None:
            summaries.append(best)
    return summaries


def table(summaries: list[Summary]) -> str:
    """Medians, the ratio with its spread, the share of the machine's limits that Lumen reaches, and what the
    machine read before the rounds."""
    header = ("file", "test", "threads", "Lumen", "peer", "", "ratio", "of limit", "GB/s", "rounds")
    lines = []
    for summary in summaries:
        row, ratios = summary.row, summary.ratios
        read = f"{statistics.median(summary.read) / 1e9:.0f}" if summary.read else ""
        limit = f"{statistics.median(summary.of_limit):.0%}" if summary.of_limit else ""
        lines.append(
            (
                row.file.removesuffix(".gguf"),
                row.test.name,
                str(row.threads),
                f"{statistics.median(summary.ours):,.1f}",
                f"{statistics.median(summary.theirs):,.1f}",
                summary.peer,
                f"{summary.ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                limit,
                read,
                str(len(ratios)),
            )
        )
    return markdown(header, lines, right=(2, 3, 4, 6, 7, 8, 9))


def plain(summary: Summary) -> dict[str, Any]:
    """The medians of a row and the spread of its ratios, for JSON."""
    row, ratios = summary.row, summary.ratios
    return {
        "file": row.file.removesuffix(".gguf"),
        "test": row.test.name,
        "threads": row.threads,
        "lumen": statistics.median(summary.ours),
        "peer": statistics.median(summary.theirs),
        "peer_name": summary.peer,
        "ratio": summary.ratio,
        "ratios": ratios,
        "of_limit": statistics.median(summary.of_limit) if summary.of_limit else None,
    }


def limits(results: Iterable[dict[str, Any]]) -> dict[int, dict[str, int]]:
    """The best limits that were measured beside the runs: per number of threads, what was done a second."""
    best: dict[int, dict[str, int]] = {}
    for result in results:
        if "read" in result:
            held = best.setdefault(result["threads"], {"read": 0, "int8": 0, "float32": 0})
            for name in held:
                held[name] = max(held[name], result[name])
    return dict(sorted(best.items()))


def limits_line(results: Iterable[dict[str, Any]]) -> str:
    """The limits in words."""
    return "\n".join(
        f"Limits on {count} thread{'s' if count > 1 else ''}: {held['read'] / 1e9:.1f} GB/s read, "
        f"{held['int8'] / 1e9:,.0f} GOP/s (8 bits), {held['float32'] / 1e9:,.0f} GFLOP/s (float32)."
        for count, held in limits(results).items()
    )


def picture(summaries: list[Summary], title: str) -> str:
    """A bar per row: the ratio of speeds, its spread as a line."""
    left, top, line, width = 290, 56, 24, 520
    most = max([s.ratios[-1] for s in summaries] + [1.5]) * 1.05
    height = top + line * len(summaries) + 50
    result = Picture(left + width + 70, height)
    result.text(16, 24, title, 15)
    tests = list(dict.fromkeys(summary.row.test.name for summary in summaries))
    for number, summary in enumerate(summaries):
        y, row, ratios = top + number * line, summary.row, summary.ratios
        label = f"{row.file.removesuffix('.gguf')}, {row.test.name}, {row.threads} thr."
        result.text(left - 8, y + 13, label, 11, "end")
        color = COLORS[tests.index(row.test.name) % len(COLORS)]
        hint = f"{label}: {summary.ratio:.2f} times {summary.peer}"
        result.rectangle(left, y + 2, summary.ratio / most * width, line - 8, color, 0.75, hint)
        result.line(left + ratios[0] / most * width, y + 10, left + ratios[-1] / most * width, y + 10)
        result.text(left + ratios[-1] / most * width + 6, y + 14, f"{summary.ratio:.2f}", 11)
    bottom = top + line * len(summaries)
    for value in range(int(most) + 1):
        x = left + value / most * width
        result.line(x, top - 6, x, bottom, "#444444" if value == 1 else GREY)
        result.text(x, bottom + 16, str(value), 11, "middle")
    result.text(left, bottom + 36, "times as fast; thin line: all rounds", 11, color="#444444")
    return str(result)
