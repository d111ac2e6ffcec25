# SPDX-License-Identifier: Apache-2.0
"""What was measured of code for 64-bit ARM, as Markdown."""

from __future__ import annotations

from typing import Any

from lumen_mlir.cli.table import markdown


def line(result: dict[str, Any]) -> str:
    """A result on one line, for who waits."""
    rates = " ".join(f"{name} {rate:.1f}" for name, rate in result["rates"].items())
    kinds = " ".join(f"{kind} {count:.0f}" for kind, count in result["mix"].items())
    return f"{result['engine']} {result['function']}: MAC/cycle {rates}; instructions {kinds}"


def kernels(result: dict[str, Any]) -> str:
    """A table per target and number of tokens."""
    keys = dict.fromkeys((row["target"], row["tokens"]) for row in result["rows"])
    parts = []
    for target, tokens in keys:
        rows = [row for row in result["rows"] if (row["target"], row["tokens"]) == (target, tokens)]
        what = "one token" if tokens == 1 else f"{tokens} tokens"
        parts.append(f"### `{target}`, {what}\n\n{_table(rows, result['peaks'][target])}")
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
        cells += [] if one else [f"{ours['rates'][first] / peaks[first]:.0%}"]
        cells += [f"{ours['rates'][core]:.1f}" for core in cores[1:]]
        cells.append(f"{ours['instructions']:.0f}")
        if others:
            best = max(others, key=lambda row: row["rates"][first])
            cells += [best["engine"], f"{best['rates'][first]:.1f}", f"{best['instructions']:.0f}"]
            # On each core, the better peer there.
            for core in cores:
                cells.append(f"{ours['rates'][core] / max(row['rates'][core] for row in others):.2f}")
        lines.append(cells + [""] * (len(header) - len(cells)))
    right = [i for i, name in enumerate(header) if name not in ("format", "peer")]
    return markdown(header, lines, right=right)


def prompts(result: dict[str, Any]) -> str:
    """Instructions of whole prompts, in thousands of millions."""
    header = ("target", "format", "Lumen", "llama.cpp", "ratio")
    lines = []
    for row in result["rows"]:
        ours, theirs = row["executed"]["Lumen"], row["executed"]["llama.cpp"]
        cells = (f"`{row['target']}`", row["format"])
        lines.append((*cells, f"{ours / 1e9:.2f}", f"{theirs / 1e9:.2f}", f"{theirs / ours:.2f}"))
    return markdown(header, lines, right=(2, 3, 4))
