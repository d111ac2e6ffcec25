# SPDX-License-Identifier: Apache-2.0
"""``benchmarks/plan.py``: what is planned from what was measured, and the page that shows it."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lumen_mlir.models import Model
from lumen_mlir.testing.synthetic import write_synthetic

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "plan.py"
spec = importlib.util.spec_from_file_location("plan", PATH)
plan = sys.modules["plan"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plan)

SHARES = plan.Shares(0.5, 0.4, 0.8)
MACHINE = plan.Machine("machine", 64e9, 100e9, 1e12)
SIZE = plan.SIZES[1]


def test_the_page_shows_what_follows():
    text = plan.PAGE.read_text()
    made = plan.table(plan.Shares.measured())
    assert plan.page(text, made) == text, "run: python benchmarks/plan.py --write"
    assert plan.page(plan.page(text, "x"), made) == text


def test_shares_are_those_of_dense_models(tmp_path):
    def rows(*each):
        return {
            "outputs": [{"rows": [dict(zip(("file", "test", "of_limit"), row, strict=True)) for row in each]}]
        }

    results = tmp_path / "pages.json"
    results.write_text(
        json.dumps(
            {
                "speed": rows(
                    ("a", "tg64", 0.5),
                    ("b", "tg32", 0.75),
                    ("c", "tg8", 1),
                    ("moe-8x", "tg32", 0),
                    ("a", "pp512", 0.25),
                ),
                "batches": rows(("a", "tg8", 0.1), ("a", "tg8 x 8", 0.2), ("a", "tg8 x 16", 0.3)),
            }
        )
    )
    assert plan.Shares.measured(results) == plan.Shares(0.75, 0.3, 0.25)


def test_bytes_are_those_of_a_file(tmp_path):
    """Of a file with the shape of a size; it has norms and K-quants of other bits besides."""
    write_synthetic(tmp_path / "model.gguf", "tiny", "q8_0")
    tensors = Model.open(tmp_path / "model.gguf").tensors
    config = Model.open(tmp_path / "model.gguf").config
    size = plan.Size(
        "tiny", config.width, config.layers, config.heads, config.kv_heads, config.head_size,
        config.feed_forward, config.vocabulary, "q8_0",
    )  # fmt: skip
    layers = [t for name, t in tensors.items() if name.startswith("blk.") and len(t.shape) == 2]
    assert size.in_layers == sum(t.shape[0] * t.shape[1] for t in layers)
    output = size.read - sum(t.nbytes for t in layers)
    assert output == config.vocabulary * config.width * 210 / 256


def test_rates():
    one = plan.Plan(SIZE, MACHINE, SHARES)
    # Reading bounds a single text, and products a prompt.
    assert one.one(1) == pytest.approx(0.5 * 100e9 / SIZE.read)
    assert one.prompts(1) == pytest.approx(0.8 * 1e12 / SIZE.operations)
    free = replace(one, network=plan.Network(0, float("inf")))
    assert free.one(4) == pytest.approx(one.one(1)) and free.many(4) == pytest.approx(4 * one.many(1))
    # Hops cost something, and more where more goes.
    assert one.one(4) < one.one(1) and one.many(4) < 4 * one.many(1)
    assert one.network.hop(1, 8192) == pytest.approx(1e-3 + 4 * 8192 / 1.25e9)


def test_as_few_machines_as_have_room():
    one = plan.Plan(SIZE, MACHINE, SHARES)
    count = one.machines
    assert count > 1 and one.memory(count) <= 0.9 * MACHINE.memory < one.memory(count - 1)
    with pytest.raises(ValueError, match="70B does not fit machine"):
        _ = replace(one, machine=replace(MACHINE, memory=1e9)).machines
