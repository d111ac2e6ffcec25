# SPDX-License-Identifier: Apache-2.0
"""What was measured of code for 64-bit ARM, as Markdown."""

from __future__ import annotations

import statistics
from typing import Any

from lumen_mlir import formats
from lumen_mlir.cli.table import markdown

_ENGINES = ("Lumen", "llama.cpp")


def line(result: dict[str, Any]) -> str:
    """A result on one line, for who waits."""
    rates = " ".join(f"{name} {rate:.1f}" for name, rate in result["rates"].items())
    kinds = " ".join(f"{kind} {count:.0f}" for kind, count in result["mix"].items())
    return f"{result['engine']} {result['function']}: MAC/cycle {rates}; instructions {kinds}"


def kernels(results: list[dict[str, Any]]) -> str:
    """A table per target and number of tokens."""
    parts = []
    for result in results:
        for target, tokens in dict.fromkeys((row["target"], row["tokens"]) for row in result["rows"]):
            rows = [row for row in result["rows"] if (row["target"], row["tokens"]) == (target, tokens)]
            parts.append(f"## `{target}`, {_tokens(tokens)}\n\n{_table(rows, result['peaks'][target])}")
    return "\n\n".join(parts)


def _table(rows: list[dict[str, Any]], peaks: dict[str, float]) -> str:
    cores = list(rows[0]["rates"])
    first = cores[0]
    one = rows[0]["tokens"] == 1
    header = ["format", first, *([] if one else ["of peak"]), *cores[1:], "instructions"]
    compared = any(row["engine"] != "Lumen" for row in rows)
    header += ["peer", first, "instructions", *(f"ratio on {core}" for core in cores)] if compared else []
    lines = []
    for fmt in dict.fromkeys(row["format"] for row in rows):
        ours, *others = (row for row in rows if row["format"] == fmt)
        cells = [fmt, f"{ours['rates'][first]:.1f}"]
        if not one:
            # Peaks are those of products of codes.
            share = ours["rates"][first] / peaks[first]
            cells.append("" if formats.get(fmt).is_float else f"{share:.0%}")
        cells += [f"{ours['rates'][core]:.1f}" for core in cores[1:]]
        cells.append(f"{ours['instructions']:.0f}")
        if others:
            best = max(others, key=lambda row: row["rates"][first])
            cells += [best["engine"], f"{best['rates'][first]:.1f}", f"{best['instructions']:.0f}"]
            # On each core, the better peer there.
            for core in cores:
                cells.append(_ratio(ours["rates"][core], max(row["rates"][core] for row in others)))
        lines.append(cells + [""] * (len(header) - len(cells)))
    right = [i for i, name in enumerate(header) if name not in ("format", "peer")]
    return markdown(header, lines, right=right)


def summary(results: list[dict[str, Any]]) -> str:
    """How many times as fast as the better peer on the first core: a line per format, and their medians."""
    rows = [row for result in results for row in result["rows"]]
    best: dict[tuple[str, int, str], dict[str, float]] = {}
    core = next(iter(rows[0]["rates"]))
    for row in rows:
        kinds = best.setdefault((row["target"], row["tokens"], row["format"]), {})
        kind = "ours" if row["engine"] == "Lumen" else "theirs"
        kinds[kind] = max(kinds.get(kind, 0), row["rates"][core])
    compared = list(dict.fromkeys(key[:2] for key, kinds in best.items() if "theirs" in kinds))
    lines = []
    for fmt in dict.fromkeys(row["format"] for row in rows):
        kinds = [best.get((*column, fmt), {}) for column in compared]
        lines.append([fmt, *(_ratio(k["ours"], k["theirs"]) if "theirs" in k else "" for k in kinds)])
    columns = [[kinds for key, kinds in best.items() if key[:2] == column] for column in compared]
    ratios = ([k["ours"] / k["theirs"] for k in column if "theirs" in k] for column in columns)
    lines.append(["median", *(_ratio(statistics.median(column), 1) for column in ratios)])
    names = [f"{target.partition('+')[2]}, {_tokens(tokens)}" for target, tokens in compared]
    return markdown(["format", *names], lines, right=range(1, 1 + len(names)))


def loops(results: list[dict[str, Any]]) -> str:
    """A line per target and speed on all cores: the formats that have it, the fastest last."""
    rows = [row for result in results for row in result["rows"]]
    cores = list(dict.fromkeys(core for row in rows for core in row["rates"]))
    targets = dict.fromkeys(row["target"] for row in rows)
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in sorted(rows, key=lambda row: (list(targets).index(row["target"]), *row["rates"].values())):
        rates = (f"{row['rates'][core]:.1f}" if core in row["rates"] else "" for core in cores)
        alike.setdefault((row["target"], str(row["group"]), *rates), []).append(row["format"])
    several = len(targets) > 1
    header = [*(["target"] if several else []), "format", "groups of", *cores]
    lines = [
        [*([f"`{target}`"] if several else []), ", ".join(names), *cells]
        for (target, *cells), names in alike.items()
    ]
    return markdown(header, lines, right=range(len(header) - 1 - len(cores), len(header)))


def _tokens(number: int) -> str:
    return "one token" if number == 1 else f"{number} tokens"


def _ratio(ours: float, theirs: float) -> str:
    """How many times as fast."""
    return f"{ours / theirs:.2f}" if ours < 10 * theirs else f"{ours / theirs:.0f}"


def prompts(results: list[dict[str, Any]]) -> str:
    """Instructions of whole prompts, in thousands of millions, and of a token behind each, in millions."""
    header = ["target", "model", "format"]
    for what in ("prompt", "token"):
        header += [f"{what}: Lumen", "llama.cpp", "ratio"]
    lines = []
    for row in (row for result in results for row in result["rows"]):
        cells = [f"`{row['target']}`", row["shape"], row["format"]]
        for what, unit, digits in (("prompt", 1e9, 2), ("token", 1e6, 0)):
            ours, theirs = (row[what][engine] for engine in _ENGINES)
            cells += [f"{ours / unit:.{digits}f}", f"{theirs / unit:.{digits}f}", f"{theirs / ours:.2f}"]
        lines.append(cells)
    return markdown(header, lines, right=range(3, len(header)))
