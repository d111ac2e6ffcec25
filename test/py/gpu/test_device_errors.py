# SPDX-License-Identifier: Apache-2.0
"""What fails at a device ends in a ``LumenError``, nothing hangs or is lost, and the CPU goes on."""

from __future__ import annotations

import gc
import sys
import threading

import pytest
from cuda_bindings import Status, bindings
from emulated import ROOT, RUNNERS

import lumen_mlir
from lumen_mlir.errors import LumenError
from lumen_mlir.run import cuda, cuda_driver, device
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedCuda, EmulatedDriver
from lumen_mlir.testing.synthetic import Shape, write_synthetic

SHAPE = Shape(64, 1, 2, 1, 32, 96, 301, 64, True)
FUNCTIONS = (
    "memory_info", "allocate", "free", "write", "clear", "read", "load", "unload", "find_function",
    "find_global", "launch", "record", "run", "forget",
)  # fmt: skip


class FailingDriver(EmulatedDriver):
    """One whose calls fail, from number ``first`` on, ``times`` times.

    Attributes:
      calls: how many there were.
      failed: the functions of those that failed.
    """

    def __init__(self, first: int = sys.maxsize, times: int = 1, refuses: str = ""):
        super().__init__(ROOT, RUNNERS, refuses=refuses)
        self.calls, self.first, self.times = 0, first, times
        self.failed: list[str] = []
        for name in FUNCTIONS:
            setattr(self, name, self._counted(name, getattr(self, name)))

    def _counted(self, name, function):
        def call(*arguments):
            self.calls += 1
            if self.first < self.calls <= self.first + self.times:
                self.failed.append(name)
                raise LumenError(f"the GPU fails at {name} on purpose")
            return function(*arguments)

        return call


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    write_synthetic(path, SHAPE, "q8_0", seed=1)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def open_model(path, cache, driver: EmulatedDriver) -> lumen_mlir.LLM:
    with device.using(EmulatedCuda(driver), "cuda"):
        # Weights are packed each time, which also takes calls.
        return lumen_mlir.LLM(path, device="cuda", chunk=4, cache=cache, pack_cache=False)


def write(llm: lumen_mlir.LLM) -> list[int]:
    """The tokens of a short text."""
    generation = llm.generate([5, 6, 7, 8, 9, 10], 3, temperature=0, ignore_eos=True)
    generation.text()
    return list(generation.tokens)


def check_given_back(driver: EmulatedDriver) -> None:
    gc.collect()
    assert not driver.memory and not driver.loaded and not driver.graphs


@pytest.fixture(scope="module")
def expected(path, cache) -> list[int]:
    """The tokens of a run in which nothing fails."""
    driver = EmulatedDriver(ROOT, RUNNERS)
    llm = open_model(path, cache, driver)
    tokens = write(llm)
    llm.close()
    del llm
    check_given_back(driver)
    return tokens


def count_calls(path, cache, refuses: str) -> int:
    driver = FailingDriver(refuses=refuses)
    llm = open_model(path, cache, driver)
    write(llm)
    # (More follow when it goes.)
    return driver.calls


@pytest.mark.gpu
@pytest.mark.parametrize("refuses", ["", "CUDA_ERROR_NOT_SUPPORTED"], ids=["kernel", "launches"])
@pytest.mark.parametrize("distance", [23, pytest.param(1, marks=pytest.mark.matrix)])
def test_any_call_may_fail(path, cache, expected, distance, refuses):
    """… once: an error, nothing is lost, and the next text of the same model is right."""
    total = count_calls(path, cache, refuses)
    assert total > 100
    for number in range(0, total, distance):
        driver, llm = FailingDriver(number, refuses=refuses), None
        try:
            llm = open_model(path, cache, driver)
            write(llm)
        except LumenError as error:
            assert "on purpose" in str(error)
        else:
            # Nobody waits for what gives memory back.
            assert driver.failed in (["free"], ["unload"], ["forget"]), number
            continue
        if llm is not None:
            assert write(llm) == expected, number
            llm.close()
            llm = None
        check_given_back(driver)


@pytest.mark.gpu
def test_a_lost_device(path, cache):
    """Amid texts of several threads: each ends with the error, and so do later ones; the CPU goes on."""
    driver = FailingDriver(times=sys.maxsize)
    llm = open_model(path, cache, driver)
    errors: list[LumenError] = []
    begun = threading.Barrier(3)

    def write_much(seed: int) -> None:
        generation = llm.generate([seed, 6, 7], 50, temperature=0, ignore_eos=True)
        next(generation)
        begun.wait(60)
        if seed == 1:
            driver.first = driver.calls
        begun.wait(60)
        with pytest.raises(LumenError, match="on purpose") as failure:
            generation.text()
        errors.append(failure.value)

    threads = [threading.Thread(target=write_much, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(errors) == 3
    with pytest.raises(LumenError, match="on purpose"):
        write(llm)
    llm.close()
    with lumen_mlir.LLM(path, cache=cache) as other:
        assert len(write(other)) == 3


@pytest.mark.gpu
def test_an_allocation_that_fails_later(path, cache):
    """Another process may have taken what was free."""
    driver = EmulatedDriver(ROOT, RUNNERS)
    llm = open_model(path, cache, driver)
    driver.room = 0
    with pytest.raises(LumenError, match=r"the GPU fails at allocating \d+ bytes: out of memory"):
        write(llm)
    driver.room = 1 << 30
    assert len(write(llm)) == 3


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"cuDriverGetVersion": (11_080,)},
            "the driver of NVIDIA's GPUs is for CUDA 11.8; Lumen needs",
        ),
        ({"cuInit": Status.CUDA_ERROR_NO_DEVICE}, "the GPU fails at starting the driver"),
        ({"cuDevicePrimaryCtxRetain": Status.CUDA_ERROR_LAUNCH_FAILED}, "fails at making a context"),
    ],
)
def test_before_anything_is_compiled(path, tmp_path, monkeypatch, answers, message):
    monkeypatch.setattr(cuda_driver, "_MODULE", "bindings_for_tests")
    monkeypatch.setitem(sys.modules, "bindings_for_tests", bindings(**answers))
    cuda.open_gpu.cache_clear()
    cache = Cache(tmp_path)
    with pytest.raises(LumenError, match=message):
        lumen_mlir.LLM(path, device="cuda", cache=cache)
    assert not [entry for entry in cache.entries() if entry.kind in ("objects", "kernels")]
    cuda.open_gpu.cache_clear()
