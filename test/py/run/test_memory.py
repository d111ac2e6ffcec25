# SPDX-License-Identifier: Apache-2.0
"""What a run takes, told before it and checked against it; budgets; machines with too little memory."""

from __future__ import annotations

import math

import pytest

from lumen_mlir import LLM
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run import memory, packed_weights, weight_loader
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support import system


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.open(embedded_model_path())


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_a_footprint_is_what_a_session_takes(model, cache, kv_type):
    options = SessionOptions(context=300, kv_type=kv_type, chunk=64, threads=1)
    needs = memory.footprint(model, options, cache)
    opened = Stepper(model, options, cache=cache)
    assert needs.packed == opened.packed_bytes
    assert (needs.context, needs.kv_type) == (300, kv_type)
    executor = opened.executor
    weights = sum(weight.nbytes for weight in executor.sections[0].weights.values())
    unaligned = needs.packed + needs.direct - weights
    assert 0 <= unaligned < 64 * len(executor.sections[0].weights), "packed weights begin at multiples of 64"
    shapes = model.cache_shapes(300, 64, kv_type)
    assert needs.kv == {"q8_0": 1, "f16": 2}[kv_type] * sum(map(math.prod, shapes))
    tables = sum(table.nbytes for table in executor._arrays.ropes.values())
    assert needs.scratch == opened.arena_bytes + 4 * model.config.vocabulary + tables
    assert needs.total == needs.packed + needs.direct + needs.kv + needs.scratch
    assert needs.file == sum(info.nbytes for info in model.tensors.values())


def test_weights_are_not_read(model, cache, monkeypatch):
    def read(*arguments):
        raise AssertionError("weights were read")

    monkeypatch.setattr(Model, "weight", read)
    assert memory.footprint(model, SessionOptions(threads=1), cache).context == 2048


def test_budgets(model, cache):
    plain = SessionOptions(threads=1)
    whole = memory.footprint(model, plain, cache)
    # All fits.
    options, needs = memory.fit(model, plain, whole.total, cache)
    assert needs == whole and (options.context, options.kv_type) == (2048, "f16")
    # Less than that: this model's own context is short, so f16 gives way before the context does.
    options, needs = memory.fit(model, plain, whole.total - 1, cache)
    assert options.kv_type == "q8_0" and options.context == 2048 and needs.total < whole.total
    # Then the context: as long as it can be.
    options, shorter = memory.fit(model, plain, needs.total - 1, cache)
    assert options.kv_type == "q8_0" and options.context < 2048 and options.context % 64 == 0
    longer = SessionOptions(threads=1, kv_type="q8_0", context=options.context + 64)
    assert shorter.total <= needs.total - 1 < memory.footprint(model, longer, cache).total
    # It is what the session then takes.
    assert memory.footprint(model, options, cache) == shorter
    # A context that was asked for stays, and so does f32.
    asked = SessionOptions(threads=1, context=512, kv_type="f32")
    least = memory.footprint(model, asked, cache).total
    assert memory.fit(model, asked, least, cache)[0] == asked
    with pytest.raises(LumenError, match="too small: packed .* f32 keys and values of 512 tokens"):
        memory.fit(model, asked, least - 1, cache)
    with pytest.raises(LumenError, match="a memory budget of 1.00 MB is too small: .* 64 tokens .* in all"):
        memory.fit(model, plain, 1_000_000, cache)


def test_a_model_with_a_budget_generates(cache):
    whole = memory.footprint(Model.open(embedded_model_path()), SessionOptions(threads=1), cache)
    kept = whole.total - whole.kv * 4 // 5
    llm = LLM(memory_budget=kept, cache=cache, threads=1)
    assert llm.options.kv_type == "q8_0" and 64 <= llm.context < 2048
    assert llm.generate("배우들의", 8, temperature=0).text() == " 연기가 정말 일품이었어요."
    for wrong in ("2X", "", 0, -1):
        with pytest.raises(LumenError, match="a memory budget of .* is none; a size such as"):
            LLM(memory_budget=wrong, cache=cache)


def test_a_model_larger_than_memory_runs_from_its_file(tmp_path, monkeypatch, caplog):
    """Packed into a file, a chunk at a time, with a warning; the result is the same."""
    for module in (weight_loader, packed_weights):
        monkeypatch.setattr(module, "available_memory", lambda: 1_000_000)
    anonymous, zeros = [], packed_weights.zeros
    monkeypatch.setattr(packed_weights, "zeros", lambda *a, **k: anonymous.append(a[0]) or zeros(*a, **k))
    llm = LLM(cache=Cache(tmp_path), threads=1, context=64)
    assert "packed weights take 7." in caplog.text and "only 1.00 MB of memory are free" in caplog.text
    assert llm.generate("배우들의", 8, temperature=0).text() == " 연기가 정말 일품이었어요."
    assert all(math.prod(shape) < 4_000_000 for shape in anonymous), "weights were packed into plain memory"


def test_without_a_file_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed_weights, "available_memory", lambda: 1_000_000)
    for options in ({"pack_cache": False}, {}):
        cache = Cache(tmp_path, limit=None if options else 0)
        with pytest.raises(LumenError, match="packed weights take .* only 1.00 MB of memory .*LUMEN_CACHE"):
            LLM(cache=cache, threads=1, context=64, **options)


def write_files(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_available_memory(tmp_path):
    assert system.available_memory() > 1 << 20
    assert system.available_memory(tmp_path) is None
    write_files(tmp_path / "proc", meminfo="MemTotal: 90 kB\nMemAvailable: 9 kB")
    assert system.available_memory(tmp_path) == 9 * 1024
    write_files(tmp_path / "proc/self", cgroup="0::/a/b")
    assert system.available_memory(tmp_path) == 9 * 1024
    # Version 2: a group without a limit, below one with it. Unused pages of files count as free.
    group = tmp_path / "sys/fs/cgroup"
    write_files(group / "a/b", memory_max="max", memory_current=1000)
    write_files(group / "a", memory_max=5000, memory_current=1000)
    assert system.available_memory(tmp_path) == 4000
    write_files(group / "a", memory_stat="anon 1\ninactive_file 300")
    assert system.available_memory(tmp_path) == 4300
    write_files(group / "a/b", memory_max=100, memory_current=1000)
    assert system.available_memory(tmp_path) == 0


@pytest.mark.parametrize("path", ["/docker/x", "/docker"])
def test_available_memory_of_version_1(tmp_path, path):
    write_files(tmp_path / "proc/self", cgroup=f"3:cpu,cpuacct:/other\n9:memory:{path}")
    group = tmp_path / "sys/fs/cgroup/memory"
    write_files(group, memory_limit_in_bytes=2**63 - 4096, memory_usage_in_bytes=9000)
    assert system.available_memory(tmp_path) > 1 << 60
    limits = {"memory_limit_in_bytes": 7000, "memory_usage_in_bytes": 2000}
    write_files(group / "docker", **limits, memory_stat="inactive_file 1\ntotal_inactive_file 500")
    assert system.available_memory(tmp_path) == 5500
