# SPDX-License-Identifier: Apache-2.0
"""Memory of a device: what a model takes of it, what is refused before, and what is held nowhere twice."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from emulated import EMULATED_GPU, ROOT, RUNNERS

import lumen_mlir
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run import device, memory
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedCuda, EmulatedDriver
from lumen_mlir.testing.synthetic import Shape, write_synthetic

pytestmark = pytest.mark.gpu

SHAPE = Shape(64, 2, 2, 1, 32, 96, 301, 256, True)
OPTIONS = SessionOptions(device="cuda", gpu_layers="all", context=256, chunk=32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    write_synthetic(path, SHAPE, "q8_0", seed=1)
    return path


@pytest.fixture
def driver(request):
    """A parameter is the status with which it refuses steps that are one kernel."""
    return EmulatedDriver(ROOT, RUNNERS, refuses=getattr(request, "param", ""))


@pytest.fixture
def needs(path, cache, driver) -> memory.Footprint:
    with device.using(EmulatedCuda(driver), "cuda"):
        return memory.footprint(Model.open(path), OPTIONS, cache)


def step(executor: Executor, count: int) -> np.ndarray:
    out = np.empty((1, SHAPE.vocabulary), np.float32)
    sequence = executor.open()
    executor.run([Part(sequence, np.arange(count, dtype=np.int32), 0, count - 1)], out)
    sequence.close()
    return out


@pytest.mark.parametrize(
    ("driver", "pack_cache"),
    [("", True), ("", False), ("CUDA_ERROR_NOT_SUPPORTED", True)],
    indirect=["driver"],
)
def test_a_footprint_is_what_is_taken(path, cache, driver, needs, pack_cache):
    """With exactly as much memory it runs, and with less nothing is taken of it."""
    options = replace(OPTIONS, pack_cache=pack_cache)
    exact, small = (
        EmulatedDriver(ROOT, RUNNERS, room=needs.total - missing, refuses=driver.refuses)
        for missing in (0, 1)
    )
    with device.using(EmulatedCuda(exact), "cuda"):
        executor = Executor(Model.open(path), options, sequences=16, cache=cache)
    assert step(executor, 20).any()
    taken = sum(array.size for array in exact.memory.values())
    assert 0.6 * needs.total < taken <= exact.peak <= needs.total
    del executor
    gc.collect()
    assert not exact.memory and not exact.loaded
    with device.using(EmulatedCuda(small), "cuda"), pytest.raises(LumenError) as refusal:
        Executor(Model.open(path), options, sequences=16, cache=cache)
    assert "device cuda:0 (an emulator, sm_80) has " in str(refusal.value)
    assert "f16 keys and values of 256 tokens" in str(refusal.value)
    assert refusal.value.hints == (
        "-c 192: a context that fits",
        "--kv-type q8_0: keys and values of 8 bits",
        "--gpu-layers auto: as many layers as fit, the others on the CPU",
        "--device cpu: the memory of this machine",
    )
    assert small.peak == small.written == 0


def test_nothing_is_held_or_copied_twice(path, cache, needs, driver):
    """The KV cache is made of zeros there, weights go there once, and tables when they change."""
    # The first one packs the weights.
    for each in (EmulatedDriver(ROOT, RUNNERS), driver):
        with device.using(EmulatedCuda(each), "cuda"):
            executor = Executor(Model.open(path), OPTIONS, sequences=16, cache=cache)
    weights = needs.packed + needs.direct
    tables = sum(4 * 256 * rope.dimensions for rope in executor.model.config.ropes)
    assert weights <= driver.written + 64 * len(executor.model.tensors) and not executor.sections[0].weights
    assert driver.written < weights + tables + 10_000
    step(executor, 3)
    step(executor, 20)
    before, addresses = driver.written, set(driver.memory)
    step(executor, 3)
    assert driver.written - before < 10_000 and set(driver.memory) == addresses


def test_a_budget_is_for_the_device(path, cache, needs, driver):
    budget = needs.total - needs.kv // 2
    with device.using(EmulatedCuda(driver), "cuda"):
        llm = lumen_mlir.LLM(
            path, device="cuda", gpu_layers="all", chunk=32, memory_budget=budget, cache=cache
        )
    assert llm.executor.target == EMULATED_GPU and llm.context < 256
    llm.last_logits([1, 2, 3])
    assert driver.peak <= budget


def test_a_dry_run(path, cache, driver, monkeypatch, capsys):
    from lumen_mlir.cli import main

    monkeypatch.setenv("LUMEN_CACHE_DIR", str(cache.folder))
    driver.room = 100_000
    with device.using(EmulatedCuda(driver), "cuda"):
        options = ["--device", "cuda", "-ngl", "99", "--chunk", "32"]
        assert main(["generate", str(path), *options, "-c", "256", "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert "  copied from the cache\n" in out and "  on cuda:0 (an emulator, sm_80)\n" in out
        assert out.endswith("\nfree memory of cuda:0: 100.00 kB: too little\n")
        assert main(["generate", str(path), *options, "-p", "a"]) == 1
    error, *hints = capsys.readouterr().err.splitlines()
    assert error.startswith("lumen: error: ") and error.endswith(" in all")
    assert hints[-1] == "lumen:   --device cpu: the memory of this machine"
