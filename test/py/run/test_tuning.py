# SPDX-License-Identifier: Apache-2.0
"""Tuning: it changes no result, it is found again, and it belongs to one model, target and machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.measure import tune
from lumen_mlir.models import Model
from lumen_mlir.run import tuning
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import Shape, write_synthetic

SHAPE = Shape(128, 2, 4, 2, 32, 160, 301, 256, True)
IDS = [(7 * number) % 301 for number in range(61)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    write_synthetic(path, SHAPE, "q4_0", seed=2)
    return Model.open(path)


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Cache:
    """A cache for all tests, so that each way of cutting is compiled once."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cache(objects) -> Cache:
    """The same without what tests before have found."""
    forget(objects)
    return objects


def forget(cache: Cache) -> None:
    for entry in cache.entries():
        if entry.kind == "tunings":
            entry.path.unlink()


OPTIONS = SessionOptions(chunk=64, target="x86-64-v2")


def logits(model: Model, cache: Cache, tuned: Tuning | None, **options) -> np.ndarray:
    session = Stepper(model, SessionOptions(chunk=64, **options), cache=cache, tuned=tuned)
    return session.step(IDS, 0).copy()


def test_results_do_not_depend_on_tuning(model, cache):
    expected = logits(model, cache, Tuning())
    # Blocks of 1 and of 16 tokens among them: activations have 128 and 160 columns.
    for tuned in (Tuning(1, 1), Tuning(16, 2560), Tuning(0, 1 << 20)):
        np.testing.assert_array_equal(logits(model, cache, tuned, threads=2), expected, err_msg=str(tuned))


@pytest.fixture
def few_ways(monkeypatch):
    """Two sizes of tiles and of blocks to choose from, in place of more."""
    monkeypatch.setattr(tune, "_TILE_TOKENS", (2, 8))
    monkeypatch.setattr(tune, "_BLOCK_BYTES", (1 << 18, 1 << 20))


@pytest.mark.parametrize("wanted", [Tuning(), Tuning(8, 1 << 18), Tuning(0, 1 << 20)])
def test_the_fastest_way_is_kept(model, cache, few_ways, monkeypatch, wanted):
    """With a clock that prefers one tile and one block."""

    def seconds(session: Stepper) -> float:
        tuned = session.tuning
        return 4.0 - 2 * (tuned.tile_tokens == wanted.tile_tokens) - (tuned.block_bytes == wanted.block_bytes)

    monkeypatch.setattr(tune, "prompt_seconds", seconds)
    seen = []
    trials = tune.tune(model, OPTIONS, cache, 2, lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] == len(trials) == 5
    assert trials[0].tuning == wanted and len({trial.tuning for trial in trials}) == 5
    assert Stepper(model, OPTIONS, cache=cache).tuning == wanted
    # What was measured holds for one size of steps (``test_keys`` has targets and activations).
    assert Stepper(model, replace(OPTIONS, chunk=32), cache=cache).tuning == Tuning()
    forget(cache)
    assert Stepper(model, OPTIONS, cache=cache).tuning == Tuning()


def test_what_may_be_noise_is_not_kept(model, cache, few_ways, monkeypatch):
    monkeypatch.setattr(tune, "prompt_seconds", lambda session: 1 - 0.01 * (session.tuning != Tuning()))
    assert tune.tune(model, OPTIONS, cache, 1)[0].tuning == Tuning()


def test_real_measurements(model, cache, few_ways):
    trials = tune.tune(model, OPTIONS, cache, 1)
    assert all(0 < trial.seconds < 10 for trial in trials)


def test_keys():
    native, v2 = targets.native(), targets.get("x86-64-v2")
    keys = {
        tuning.key(text, target, mode)
        for text in ("a", "b")
        for target in (native, v2)
        for mode in ("int8", "exact")
    }
    assert len(keys) == 8


@pytest.mark.parametrize("options", [{"tile_tokens": -1}, {"tile_tokens": 33}, {"block_bytes": -1}])
def test_impossible_cuts(options):
    with pytest.raises(LumenError, match=str(next(iter(options.values())))):
        CompilerOptions(**options)
