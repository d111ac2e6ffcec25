# SPDX-License-Identifier: Apache-2.0
"""Profiles: the kernels' calls and times, and the work that they are compared with."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from lumen_mlir import LLM, ir
from lumen_mlir.cli import profile_report
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import get, packing
from lumen_mlir.measure import bench, limits
from lumen_mlir.measure.limits import Limits
from lumen_mlir.measure.profiling import Profiler
from lumen_mlir.measure.work import StepWork, _in_sight
from lumen_mlir.models import Model
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import write_family
from lumen_mlir.testing.synthetic import Shape, write_synthetic

SHAPE = Shape(128, 3, 4, 2, 32, 160, 301, 256, True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    write_synthetic(path, SHAPE, "q4_0", seed=5)
    return path


@pytest.fixture(scope="module")
def llm(path, cache) -> LLM:
    return LLM(path, cache=cache, threads=2, profile=True)


def step_work(model: Model, activations: str = "int8", kv_type: str = "f16") -> StepWork:
    with ir.Context():
        module = model.module(kv_type=kv_type, max_tokens=64)
        target = targets.get("x86-64-v4+vnni")
        return StepWork(Compiler(target, CompilerOptions(activations)).run(module, "fused"))


def test_profile(llm, cache):
    profiler = Profiler(llm, cache)
    for test, steps in ((bench.Test(20, 0, 0), 3), (bench.Test(0, 5, 40), 15)):
        profile = profiler.measure(test, 3)
        assert (profile.label, profile.threads, profile.steps) == (test.label, 2, steps)
        times = [kernel.seconds for kernel in profile.kernels]
        assert times == sorted(times, reverse=True) and min(times) > 0
        # Kernels run one after the other, inside the time that was measured around the steps.
        assert 0 < sum(times) <= profile.seconds
        calls = {kernel.name: kernel.work.calls / steps for kernel in profile.kernels}
        (attention,) = (name for name in calls if "attention" in name)
        assert calls[attention] == SHAPE.layers and set(calls) <= set(llm.executor.engine.program.kernels)
        assert 0 < profile.least < profile.seconds
        assert min(profile.limits.read, profile.limits.int8, profile.limits.float32) > 1e8


def test_profiling_changes_no_result(llm, path, cache):
    plain = LLM(path, cache=cache, threads=1)
    ids = list(range(3, 40))
    assert np.array_equal(plain.logits(ids), llm.logits(ids))
    with pytest.raises(LumenError, match="does not count the time of its kernels"):
        Profiler(plain)
    with pytest.raises(LumenError, match="only compiled models can be profiled"):
        Profiler(LLM(path, cache=cache, engine="reference"))


def test_work_is_what_the_shapes_say(path):
    """A step of 7 tokens at position 11 of which the last 2 give logits, worked out by hand."""
    s, work = SHAPE, step_work(Model.open(path)).of(7, 11, 5)
    total_int8 = sum(kernel.int8 for kernel in work.values())
    total_read = sum(kernel.read for kernel in work.values())
    query, key = s.heads * s.head_dim, s.kv_heads * s.head_dim
    layer = [(query, s.hidden), (key, s.hidden), (key, s.hidden), (s.hidden, query)]
    layer += [(s.feed_forward, s.hidden)] * 2 + [(s.hidden, s.feed_forward)]
    products = s.layers * sum(n * k for n, k in layer)
    assert total_int8 == 2 * (7 * products + 2 * s.vocabulary * s.hidden)
    (attention,) = (kernel for name, kernel in work.items() if "attention" in name)
    pairs = sum(11 + i + 1 for i in range(7))
    assert attention.float32 == s.layers * 4 * query * pairs
    assert attention.read == s.layers * 18 * 2 * key * 2
    target = targets.get("x86-64-v4+vnni")
    q4_0, head = get("q4_0"), get("q6_k" if s.hidden % 256 == 0 else "q8_0")
    matrices = s.layers * sum(packing.packed_bytes(q4_0, n, k, target.tile(q4_0).rows) for n, k in layer)
    matrices += packing.packed_bytes(head, s.vocabulary, s.hidden, target.tile(head).rows)
    embedding = 7 * head.row_bytes(s.hidden)
    assert total_read == matrices + embedding + attention.read


def test_work_with_codes_in_the_cache(path):
    """Codes of 8 bits and a float16 scale for every 32 of them, and products of integers."""
    work = step_work(Model.open(path), kv_type="q8_0").of(7, 11, 5)
    (attention,) = (kernel for name, kernel in work.items() if "attention" in name)
    key, pairs = SHAPE.kv_heads * SHAPE.head_dim, sum(11 + i + 1 for i in range(7))
    assert attention.read == SHAPE.layers * 18 * 2 * key * 34 / 32
    assert attention.int8 == SHAPE.layers * 4 * SHAPE.heads * SHAPE.head_dim * pairs
    assert attention.float32 == 0


def test_cells_in_sight():
    """Brute force over tokens, with and without a window."""
    for tokens, position, window in (
        (1, 0, None),
        (5, 7, None),
        (5, 7, 3),
        (5, 0, 3),
        (1, 9, 4),
        (4, 2, 100),
    ):
        seen = [
            range(max(0, end - (window or end)), end) for end in range(position + 1, position + tokens + 1)
        ]
        expected = len(set().union(*seen)), sum(map(len, seen))
        assert _in_sight(tokens, position, window) == expected


def test_work_without_logits_reads_no_head(path):
    work = step_work(Model.open(path))
    some, none = work.of(7, 0, 6), work.of(7, 0, 7)
    (head,) = (name for name in some if f"{SHAPE.vocabulary}x" in name and "qlinear" in name)
    assert some[head].read > 0 and none[head].read == none[head].int8 == 0


def test_work_of_experts(tmp_path):
    """A token is sent to 2 of 8 experts: one token reads 2, five at most 8, but they multiply with 10."""
    write_synthetic(tmp_path / "model.gguf", "tiny-moe", "q8_0")
    work = step_work(Model.open(tmp_path / "model.gguf"))
    (up,) = (name for name in work.of(1, 0, 0) if name.endswith("experts_silu_mul"))
    matrix = packing.packed_bytes(get("q8_0"), 256, 256, 16)
    for tokens, read in ((1, 2), (3, 6), (5, 8)):
        kernel = work.of(tokens, 0, 0)[up]
        assert kernel.calls == 2 and kernel.read == 2 * 2 * read * matrix
        assert kernel.int8 == 2 * 2 * tokens * 2 * 2 * 256 * 256


@pytest.mark.parametrize(("tokens", "position"), [(1, 0), (5, 0), (5, 6), (5, 7), (20, 3), (1, 100), (7, 30)])
def test_work_in_windows(tmp_path, tokens, position):
    """Of a window of 8, what each token sees, counted one by one."""
    model = Model.open(write_family(tmp_path / "model.gguf", "mistral-window"))
    kernels = step_work(model).of(tokens, position, 0)
    (attention,) = (kernel for name, kernel in kernels.items() if "attention" in name)
    seen = [set(range(max(p - 7, 0), p + 1)) for p in range(position, position + tokens)]
    config = model.config
    assert attention.float32 == config.layers * 4 * config.query_width * sum(map(len, seen))
    assert attention.read == config.layers * len(set().union(*seen)) * 2 * config.kv_width * 2


def test_work_in_floating_point(path):
    exact = step_work(Model.open(path), "exact").of(1, 0, 0)
    codes = step_work(Model.open(path)).of(1, 0, 0)
    assert sum(k.int8 for k in exact.values()) == 0
    products = sum(k.int8 for k in codes.values())
    assert sum(k.float32 for k in exact.values()) == products + sum(k.float32 for k in codes.values())


@pytest.mark.parametrize(
    "target",
    [target for target in map(targets.get, targets.names()[:-1]) if not target.missing()],
    ids=lambda target: target.name,
)
def test_limits(target, cache):
    """That the code is right, not how fast it is: a limit of nothing or of infinity would show here."""
    measured = limits.measure(target, 2, cache)
    assert measured.threads == 2
    for value in (measured.read, measured.int8, measured.float32):
        assert 1e7 < value < 1e14


def test_least_time():
    one, two = Limits(1, 10e9, 100e9, 50e9), Limits(1, 20e9, 90e9, 50e9)
    assert one.best(two) == Limits(1, 20e9, 100e9, 50e9)
    assert one.seconds(read=10e9, int8=50e9, float32=10e9) == 1
    assert one.seconds(float32=100e9) == 2 and one.seconds() == 0


def test_picture_and_tables(llm, cache):
    profiler = Profiler(llm, cache)
    tests = bench.Test(20, 0, 0), bench.Test(0, 3, 0)
    profiles = [profiler.measure(test, 1) for test in tests]
    root = ElementTree.fromstring(profile_report.picture(profiles, "a <model> & more").encode())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "a <model> & more" and "pp20, 2 threads" in texts and "tg3, 2 threads" in texts
    for kernel in profiles[0].kernels:
        assert kernel.name in texts
    rows = json.loads(profile_report.text(profiles, "json"))
    table = list(csv.DictReader(io.StringIO(profile_report.text(profiles, "csv"))))
    assert [row["kernel"] for row in rows] == [row["kernel"] for row in table]
    for label in ("pp20", "tg3"):
        assert sum(row["share"] for row in rows if row["test"] == label) == pytest.approx(1, abs=1e-4)
