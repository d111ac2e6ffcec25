# SPDX-License-Identifier: Apache-2.0
"""A step as a chain of launches, with the emulator in the driver's place: the same bits as one kernel."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from emulated import EMULATED_GPU, EMULATED_LAUNCHES, ROOT, RUNNERS

import lumen_mlir
from lumen_mlir import ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run import device
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedCuda, EmulatedDriver
from lumen_mlir.testing.synthetic import Shape, write_synthetic

pytestmark = pytest.mark.gpu

SHAPE = Shape(64, 2, 2, 1, 32, 96, 301, 256, True)
PROMPTS = ["배우들의 연기가", "이 영화는"]


def refusing(**options) -> EmulatedDriver:
    """The driver of a GPU that has no cooperative launches for this program."""
    return EmulatedDriver(ROOT, RUNNERS, refuses="CUDA_ERROR_NOT_SUPPORTED", **options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    write_synthetic(path, SHAPE, "q4_k_m", seed=1)
    return path


@pytest.mark.parametrize(("blocks", "seed"), [(1, 1), (3, 2)])
def test_the_embedded_model(cache, blocks, seed):
    """The same texts as the CPU, on every grid and in whatever order threads run; all is given back."""
    driver = refusing(blocks=blocks)
    driver.seed = seed

    def texts(**where) -> list[str]:
        llm = lumen_mlir.LLM(cache=cache, context=64, **where)
        return [llm.generate(each, 4, temperature=0, ignore_eos=True).text() for each in PROMPTS]

    expected = texts(target="generic")
    with device.using(EmulatedCuda(driver), "cuda"):
        assert texts(device="cuda") == expected
    gc.collect()
    assert driver.launched and driver.recorded
    assert not driver.memory and not driver.graphs and not driver.loaded


def run(executor: Executor, lengths: list[int]) -> list[np.ndarray]:
    """Logits of the last token of each of several parts of a text, which follow each other."""
    sequence, begin, found = executor.open(), 0, []
    for length in lengths:
        out = np.empty((1, SHAPE.vocabulary), np.float32)
        tokens = np.arange(begin, begin + length, dtype=np.int32) % SHAPE.vocabulary
        executor.run([Part(sequence, tokens, begin, length - 1)], out)
        found.append(out)
        begin += length
    sequence.close()
    return found


@pytest.mark.parametrize(
    "kv_type", ["f16", *(pytest.param(kind, marks=pytest.mark.matrix) for kind in ("f32", "q8_0"))]
)
def test_the_bits_of_one_kernel(path, cache, kv_type):
    """For single tokens and for many; graphs are made once, and each step launches the same kernels."""
    model, lengths = Model.open(path), [1, 40, 1, 1, 7, 60, 1]
    options = SessionOptions(device="cuda", gpu_layers="all", context=256, chunk=64, kv_type=kv_type)
    whole, chain = EmulatedDriver(ROOT, RUNNERS), refusing()
    results = []
    for driver, target in ((whole, EMULATED_GPU), (chain, EMULATED_LAUNCHES)):
        with device.using(EmulatedCuda(driver), "cuda"):
            executor = Executor(model, options, cache=cache)
        assert executor.target.name == target.name
        graphs, launched = driver.recorded, driver.launched
        results.append(run(executor, lengths))
        if driver is chain:
            assert driver.recorded == graphs + 1
            assert (driver.launched - launched) % len(lengths) == 0
            again = run(executor, lengths)
            assert driver.recorded == graphs + 1
            for now, before in zip(again, results[-1], strict=True):
                np.testing.assert_array_equal(now, before)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


def test_launches_of_a_step(path, cache):
    """Nine in a layer, however many tokens there are."""
    driver = refusing()
    options = SessionOptions(device="cuda", gpu_layers="all", context=256, chunk=64)
    with device.using(EmulatedCuda(driver), "cuda"):
        executor = Executor(Model.open(path), options, cache=cache)
    counts = []
    for lengths in ([1], [50]):
        before = driver.launched
        run(executor, lengths)
        counts.append(driver.launched - before)
    # Besides layers: the embedding, the last norm, the logits, and the groups of the largest of them.
    assert counts == 2 * [9 * SHAPE.layers + 5]


def test_layers_on_both(path, cache):
    """One layer on the GPU as launches, the other on the CPU: the tokens of the CPU alone."""
    driver = refusing()
    with device.using(EmulatedCuda(driver), "cuda"):
        models = [
            lumen_mlir.LLM(path, device=name, gpu_layers=layers, chunk=16, cache=cache)
            for name, layers in (("cpu", "auto"), ("cuda", "1"))
        ]
    found = []
    for llm in models:
        generation = llm.generate([5, 6, 7], 4, temperature=0, ignore_eos=True)
        generation.text()
        found.append(list(generation.tokens))
    assert found[0] == found[1] and driver.launched


def test_a_fork_is_refused(path, cache):
    with device.using(EmulatedCuda(refusing()), "cuda"):
        llm = lumen_mlir.LLM(path, device="cuda", chunk=16, cache=cache)
    for section in llm.executor.sections:
        section.engine._code.forget_threads()
    with pytest.raises(LumenError, match="a forked process cannot use code"):
        llm.generate([5, 6, 7], 2).text()


def test_who_asks_for_it(path, cache):
    """By its target, where a step could be one kernel, too."""
    driver = EmulatedDriver(ROOT, RUNNERS)
    with device.using(EmulatedCuda(driver), "cuda"):
        llm = lumen_mlir.LLM(path, device="cuda", target=EMULATED_LAUNCHES.name, cache=cache, chunk=16)
    assert f"{EMULATED_LAUNCHES.name} " in llm.executor.kernels
    assert llm.generate([5, 6, 7], 2, temperature=0, ignore_eos=True).text() and driver.graphs


def test_a_refusal_that_comes_later(path, cache):
    """Between the probe and a step: the error names the target that needs no cooperative launch."""
    driver = EmulatedDriver(ROOT, RUNNERS)
    with device.using(EmulatedCuda(driver), "cuda"):
        llm = lumen_mlir.LLM(path, device="cuda", cache=cache, chunk=16)
    driver.refuses = "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"
    with pytest.raises(LumenError, match="COOPERATIVE_LAUNCH_TOO_LARGE") as refused:
        llm.generate([5, 6, 7], 2).text()
    assert refused.value.hints == (f"code for target {EMULATED_LAUNCHES.name} needs no cooperative launch",)


def test_ptx():
    """Each kernel can be launched; no code waits for other blocks, and all loads stay words."""
    from kernel_code import linear

    with ir.Context():
        module = ir.Module.parse(linear("q4_k", 256, 1024, tokens=64))
        text = str(Compiler(targets.get("sm_90-launches")).emit(module, "asm"))
    entries = [line for line in text.splitlines() if line.startswith(".visible .entry")]
    assert len(entries) >= 2 and all("lumen_entry_" in line for line in entries)
    assert "lumen_grid_barrier" not in text and "lumen_entry_f(" not in text
    assert text.count("dp4a.") >= 2 * (16 + 8 + 4) and "mma.sync" in text
    loop = text[text.index("dp4a.") : text.rindex("dp4a.")]
    assert "ld.b8" not in loop and "prmt" not in loop
