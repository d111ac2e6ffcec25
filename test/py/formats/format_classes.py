# SPDX-License-Identifier: Apache-2.0
"""What tells the kernels of formats apart, and formats that show each of it."""

from __future__ import annotations

from collections.abc import Mapping

from lumen_mlir.formats.quantized import QuantFormat
from lumen_mlir.reference.packed import kept_planes


def features(fmt: QuantFormat) -> frozenset[tuple[object, ...]]:
    """All that the kernels of a format are made by: its name is not among it.

    How wide codes are and what they stand for; how many share a scale; each value that is kept of scales and
    minima, by where it lies, its type and how its bits are split; how scales and minima are made of them.
    """
    values = "table" if fmt.table is not None else "signed" if fmt.bias else "plain"
    kept = zip(fmt.stored, kept_planes(fmt), strict=True)
    return frozenset(
        [
            ("bits", fmt.bits),
            ("values", values, fmt.bits > 4),
            # More than 32 codes are several spans; by blocks, activations have one scale or many.
            ("group", min(fmt.group, 64), fmt.block % 256 == 0),
            *(("kept", each.level, str(each.value.dtype), each.bits, planes) for each, planes in kept),
            *(
                ("factor", name, factor.super is not None, factor.sub is not None)
                for name, factor in fmt.factors
            ),
        ]
    )


def representatives(all_formats: Mapping[str, QuantFormat]) -> list[str]:
    """Few of these formats that together have every feature: always the one that adds most."""
    have = {name: features(fmt) for name, fmt in all_formats.items()}
    missing, chosen = set().union(*have.values()), []
    while missing:
        best = max(have, key=lambda name: len(have[name] & missing))
        missing -= have[best]
        chosen.append(best)
    return chosen
