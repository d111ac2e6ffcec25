# SPDX-License-Identifier: Apache-2.0
"""The stages of the compiler: the only place where the order of passes is written.

A stage is named after the form it produces, its pipeline ``lumen-<from>-to-<to>`` is text that ``lumen-opt``
takes as ``--pass-pipeline``, and it ends in a check that the promised form holds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """``name``: the form of the IR after it. ``pipeline``: ``builtin.module(...)``."""

    name: str
    pipeline: str


INPUT = "lumen"
"""The form that the compiler is given."""


def stages(activations: str = "int8") -> tuple[Stage, ...]:
    """All stages in order. ``activations``: what quantized weights meet, ``int8`` codes or ``exact`` f32."""
    return (
        # Fusion first: everything after it works on lumen.qlinear. Activations are quantized before products
        # merge, which compares their activations; packing changes the weights of merged products.
        Stage(
            "fused",
            f"builtin.module(lumen-fuse-quantized-linear,lumen-quantize-activations{{mode={activations}}},"
            "lumen-merge-linears,lumen-pack-weights,lumen-form-kernels,lumen-check-fused)",
        ),
    )
