# SPDX-License-Identifier: Apache-2.0
"""Compiled sessions: equal results however they are run, the caches, and the memory they take."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulated import EMULATED, EMULATED_GPU, WASM, is_emulated, is_wasm, marks_of
from reference_data import TINY, distance, greedy, partings, tiny

from lumen_mlir import LLM
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.objects import ObjectCompiler
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import get as get_format
from lumen_mlir.formats import kv_cache, packing
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run import packed_weights
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.cache_entry import CacheError, NewEntry
from lumen_mlir.testing.convert import convert_weights
from lumen_mlir.testing.synthetic import SHAPES, Shape, write_synthetic

# Nothing is a multiple of a tile: 3 heads of 32 on a width of 96, 161 rows, 301 tokens of vocabulary.
ODD = Shape(96, 2, 3, 1, 32, 160, 301, 1024, False)
LENGTHS = (1, 2, 7, 8, 9, 511, 512, 513)

runnable = [target for target in targets.TARGETS if not target.launches]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Model:
    path = tmp_path_factory.mktemp("models") / "odd.gguf"
    write_synthetic(path, ODD, "q8_0", seed=3)
    return Model.open(path)


def session(model: Model, cache: Cache, **options) -> Stepper:
    return Stepper(model, SessionOptions(**options), cache=cache)


def random_ids(model: Model, count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(model.config.vocabulary, size=count).tolist()


def logits_in_chunks(run: Stepper, ids: list[int], chunk: int) -> np.ndarray:
    pieces = [run.step(ids[i : i + chunk], i).copy() for i in range(0, len(ids), chunk)]
    return np.concatenate(pieces)


def generate(llm: LLM, ids: list[int], count: int) -> list[int]:
    ids, begin = list(ids), len(ids)
    while len(ids) < begin + count:
        ids.append(int(llm.last_logits(ids).argmax()))
    return ids[begin:]


# --- the same result in every way of running ----------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS)
def test_prompt_lengths_threads_and_chunks(odd, cache, length):
    ids = random_ids(odd, length)
    one = session(odd, cache, threads=1)
    whole = logits_in_chunks(one, ids, 512)
    assert np.isfinite(whole).all()
    two = session(odd, cache, threads=2)
    np.testing.assert_array_equal(logits_in_chunks(two, ids, 512), whole)
    for chunk in (1, 7, 64) if length < 100 else (100, 511):
        np.testing.assert_array_equal(logits_in_chunks(two, ids, chunk), whole)


def test_prompt_in_a_quantized_cache(odd, cache):
    """Also with 8-bit keys and values, and past the first part of the positions."""
    ids = random_ids(odd, 600)
    whole = logits_in_chunks(session(odd, cache, threads=1, kv_type="q8_0"), ids, 512)
    for threads, chunk in ((2, 100), (3, 1)):
        run = session(odd, cache, threads=threads, kv_type="q8_0")
        np.testing.assert_array_equal(logits_in_chunks(run, ids, chunk), whole)


def test_a_quantized_cache_is_small_and_near(cache):
    """A bit more than half the memory of f16, and logits within 1 %."""
    model = Model.open(embedded_model_path())
    ids = random_ids(model, 512)
    wide, narrow = (session(model, cache, kv_type=kv_type) for kv_type in ("f16", "q8_0"))
    expected = wide.step(ids, 0)
    assert distance(narrow.step(ids, 0), expected) < 1e-2
    sizes = [
        sum(int(np.prod(shape)) * kv_cache.get(kv_type).dtype().itemsize for shape in shapes)
        for kv_type in ("f16", "q8_0")
        for shapes in [model.cache_shapes(512, kv_type=kv_type)]
    ]
    size = model.config.head_size
    assert sizes[1] * 2 * size == sizes[0] * (size + 2 * kv_cache.groups(size))


def test_heads_that_a_quantized_cache_cannot_hold(cache, tmp_path):
    write_synthetic(tmp_path / "six.gguf", Shape(36, 1, 6, 1, 6, 64, 300, 64, False), "f32")
    model = Model.open(tmp_path / "six.gguf")
    message = "KV type 'q8_0' needs heads of a multiple of 4 values, but the model has heads of 6; use f16"
    with pytest.raises(LumenError, match=message):
        session(model, cache, kv_type="q8_0")


def caches_and_activations() -> list:
    """Attention does not know what activations are: each kind of the one with one kind of the other."""
    kinds = [
        ("f16", "int8"), ("f32", "int8"), ("q8_0", "int8"), ("f32", "exact"),
        ("f16", "exact"), ("q8_0", "exact"),
    ]  # fmt: skip
    result = []
    for target in ("native", *(each.name for each in EMULATED)):
        usual = kinds[:4] if target == "native" or target == EMULATED[0].name else []
        for kind in kinds:
            left = [] if kind in usual else [pytest.mark.matrix]
            result.append(pytest.param(target, *kind, marks=[*marks_of(target), *left]))
    return result


@pytest.mark.parametrize(("target", "kv_type", "activations"), caches_and_activations())
def test_agrees_with_the_reference(odd, cache, target, kv_type, activations):
    ids = random_ids(odd, 40)
    run = session(odd, cache, target=target, kv_type=kv_type, activations=activations)
    reference = ReferenceSession(odd, context=64, kv_type=kv_type, activations=activations)
    expected = reference.step(ids, 0)
    # Where a value is almost halfway between two 8-bit codes, the last bit of a norm decides.
    tolerance = 1e-4 if activations == "exact" else 1e-2
    assert distance(logits_in_chunks(run, ids, 512), expected) < tolerance


def on_every_target():
    """Targets with activations and numbers of tokens; exact activations know a target by its vectors and
    whether it has FMA.

    An emulator takes minutes for exact ones, and half a minute for the others.
    """
    known, result = set(), []
    for target in runnable:
        kind = (target.vector_bits, target.fma)
        for activations in ("exact", "int8"):
            exact = activations == "exact"
            emulated = is_emulated(target) or target == EMULATED_GPU
            if emulated or is_wasm(target):
                left = exact or target not in (EMULATED[0], WASM[-1], EMULATED_GPU)
            else:
                left = exact and kind in known
            marks = [*marks_of(target.name), *([pytest.mark.matrix] if left else [])]
            if emulated and not left:
                result.append(pytest.param(target, activations, 16, marks=marks))
                marks = [*marks, pytest.mark.matrix]
            result.append(pytest.param(target, activations, 64, marks=marks))
        if not target.missing():
            known.add(kind)
    return result


@pytest.mark.parametrize(
    ("target", "activations", "count"), on_every_target(), ids=lambda each: getattr(each, "name", each)
)
def test_greedy_tokens(cache, target, activations, count):
    """On every instruction set, 64 tokens from each of 10 prompts are those of the reference.

    And 32 are llama.cpp's from at least 8 of them. An emulator takes 16, and 64 in the matrix.
    """
    llm = LLM(cache=cache, target=target.name, activations=activations, context=128)
    data = greedy()
    ours = [generate(llm, ids, count) for ids in data["ids"]]
    assert partings(ours, data["reference"][activations]) == []
    parted = partings(ours, data["llama_cpp"]["q8_0"])
    print("\n".join(parted))
    assert len(parted) <= 2


def test_greedy_tokens_of_float16_weights(cache, tmp_path):
    convert_weights(GGUFFile.open(embedded_model_path()), tmp_path / "f16.gguf", "f16")
    llm, data = LLM(tmp_path / "f16.gguf", cache=cache, context=128), greedy()
    ours = [generate(llm, ids, 32) for ids in data["ids"]]
    parted = partings(ours, data["llama_cpp"]["f16-of-q8_0"])
    print("\n".join(parted))
    assert len(parted) <= 2


@pytest.mark.parametrize("name", TINY)
def test_agrees_with_transformers(cache, name):
    case = tiny(name)
    model = Model.open(case.path)
    # Of the formats with blocks of 32, one with whole bytes says as much of exact products as all.
    if name != "narrow-q4_0":
        wide = session(model, cache, kv_type="f32", activations="exact").step(case.ids, 0)
        assert distance(wide, case.logits) < 1e-4
    # Halves in the cache cost as much whatever the weights are.
    if name == TINY[0]:
        narrow = session(model, cache, kv_type="f16", activations="exact").step(case.ids, 0)
        assert distance(narrow, case.logits) < 2e-3
    if case.llama_cpp_distance is not None:
        int8 = session(model, cache, kv_type="f32").step(case.ids, 0)
        assert distance(int8, case.logits) < 1.2 * case.llama_cpp_distance


def test_a_target_that_this_cpu_cannot_run(odd, cache, monkeypatch):
    monkeypatch.setattr(targets.Target, "missing", lambda self: ("avx512f",))
    with pytest.raises(LumenError, match="cannot run code for target x86-64-v4: it lacks avx512f"):
        session(odd, cache, target="x86-64-v4")
    with pytest.raises(LumenError, match="unknown target 'z80'; there are x86-64-v4"):
        session(odd, cache, target="z80")


def test_a_target_of_another_architecture(odd, cache):
    foreign = next(target for target in targets.TARGETS if target.is_foreign())
    said = rf"this machine \(\w+\) cannot run code for target {re.escape(foreign.name)} \(\w+\)"
    with pytest.raises(LumenError, match=said):
        session(odd, cache, target=foreign.name)
    with pytest.raises(LumenError, match=said):
        LLM(target=foreign.name, cache=cache)


# --- packed weights -------------------------------------------------------------------------------------


def test_packs_what_the_layout_says(odd, cache):
    run = session(odd, cache)
    (entry,) = [
        path
        for path in (cache.folder / "packed").iterdir()
        if path.name.startswith(odd.file.fingerprint()) and run.target.rows == targets.native().rows
    ][:1]
    assert entry.stat().st_size > 0
    parameters = [a for a in run.executor.engine.signatures["step"].arguments if a.name]
    for parameter, weight in zip(parameters, run.executor.sections[0].weights.values(), strict=True):
        if parameter.alignment > 1:
            info = odd.tensors[parameter.name]
            fmt = get_format(info.type)
            expected = packing.pack(fmt, odd.weight(parameter.name), *run.target.tile(fmt))
            np.testing.assert_array_equal(weight, expected)


# --- steps --------------------------------------------------------------------------------------------------


def test_steps(odd, cache):
    run = session(odd, cache, context=40, chunk=16)
    vocabulary = odd.config.vocabulary
    ids = random_ids(odd, 16)
    everything = run.step(ids, 0).copy()
    np.testing.assert_array_equal(run.step(ids, 0, 15), everything[15:])
    assert run.step(ids, 0, 16).shape == (0, vocabulary)
    out = np.empty((16, vocabulary), np.float32)
    assert run.step(ids, 0, out=out) is out
    np.testing.assert_array_equal(out, everything)
    run.set_threads(3)
    assert run.threads == 3
    np.testing.assert_array_equal(run.step(ids, 0), everything)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([], 0), "a step takes 1 to 16 tokens, not 0"),
        (([1] * 17, 0), "a step takes 1 to 16 tokens, not 17"),
        (([1] * 16, 25), "16 tokens at position 25 do not fit a context of 40 tokens"),
        (([1], -1), "1 tokens at position -1"),
        (([1], 0, 2), "logits from token 2 on were asked for, of 1 tokens"),
        (([1, 301], 0), "token ids 1 to 301 are not in a vocabulary of 301 tokens"),
        (
            ([1], 0, 0, np.empty((2, 301), np.float32)),
            r"logits are float32 \[1, 301\], not float32 \[2, 301\]",
        ),
    ],
)
def test_refused_steps(odd, cache, arguments, message):
    with pytest.raises(LumenError, match=message):
        session(odd, cache, context=40, chunk=16).step(*arguments)


def test_context_up_to_the_models_own(odd, cache):
    run = session(odd, cache)
    assert run.context == odd.config.context == 1024
    ids = random_ids(odd, 1024)
    last = [run.step(ids[i : i + 512], i, 511) for i in (0, 512)][-1].copy()
    smaller = session(odd, cache, chunk=96)
    for i in range(0, 1024, 96):
        piece = ids[i : i + 96]
        again = smaller.step(piece, i, len(piece) - 1)
    np.testing.assert_array_equal(again, last)
    with pytest.raises(LumenError, match="1 tokens at position 1024 do not fit a context of 1024"):
        run.step([1], 1024)


# --- the caches ---------------------------------------------------------------------------------------------


def test_second_start_neither_compiles_nor_packs(odd, tmp_path):
    cache, seen = Cache(tmp_path), []

    def progress(what, done, total):
        assert 0 <= done <= total
        seen.append(what)

    first = Stepper(odd, cache=cache, progress=progress)
    assert not first.timings.compile_cached and not first.timings.pack_cached
    assert {"compile", "pack"} <= set(seen)
    seen.clear()
    second = Stepper(odd, cache=cache, progress=progress)
    assert second.timings.compile_cached and second.timings.pack_cached and seen == []
    ids = random_ids(odd, 5)
    np.testing.assert_array_equal(first.step(ids, 0), second.step(ids, 0))


def test_weights_are_shared_by_contexts_and_instruction_sets(odd, tmp_path):
    cache = Cache(tmp_path)
    able = [target for target in runnable if not target.missing()]
    # Two with tiles of the same size, where there are, and one with others.
    chosen = {target.name: target for target in (*able[:2], able[-1])}
    for name in chosen:
        session(odd, cache, target=name, context=64)
    tiles = {target.rows for target in chosen.values()}
    assert sum(entry.kind == "packed" for entry in cache.entries()) == len(tiles)
    assert session(odd, cache, context=128).timings.pack_cached


def test_changed_file_packs_again(tmp_path):
    cache, path, ids = Cache(tmp_path / "cache"), tmp_path / "model.gguf", [1, 2, 3]
    results = []
    for seed in (0, 1):
        write_synthetic(path, ODD, "q8_0", seed=seed)
        run = session(Model.open(path), cache)
        assert not run.timings.pack_cached
        results.append(run.step(ids, 0).copy())
    assert not np.array_equal(*results)


@pytest.mark.parametrize("options", [dict(limit=0), dict(limit=10_000)])
def test_without_room_in_the_cache(odd, tmp_path, options):
    run = Stepper(odd, cache=Cache(tmp_path, **options))
    expected = session(odd, Cache(tmp_path / "other"), pack_cache=False)
    assert not any(entry.kind == "packed" for entry in Cache(tmp_path / "other").entries())
    np.testing.assert_array_equal(run.step([1, 2], 0), expected.step([1, 2], 0))


@pytest.mark.parametrize("when", ["compile", "pack"])
def test_interrupted_packing_leaves_nothing(odd, tmp_path, monkeypatch, when):
    packing_began = threading.Event()
    pack_chunks = packed_weights._packed_chunks

    def slowly(*arguments):
        packing_began.set()
        for chunk in pack_chunks(*arguments):
            time.sleep(0.2)
            yield chunk

    def interrupted(what, done, total):
        if what == when == "compile" and done > total // 2:
            assert packing_began.wait(60)
            raise KeyboardInterrupt
        if what == when == "pack" and done:
            raise KeyboardInterrupt

    monkeypatch.setattr(packed_weights, "_packed_chunks", slowly)
    with pytest.raises(KeyboardInterrupt):
        Stepper(odd, cache=Cache(tmp_path), progress=interrupted)
    assert packing_began.is_set() and list((tmp_path / "packed").iterdir()) == []
    assert not any(thread.name.startswith("lumen-weights") for thread in threading.enumerate())


@pytest.mark.parametrize(("owner", "name"), [(ObjectCompiler, "compile"), (packed_weights, "_packed_chunks")])
def test_what_fails_while_weights_are_packed(odd, tmp_path, monkeypatch, owner, name):
    """Be it the compiler or packing itself: its error is told, and nothing is left."""

    def fail(*arguments):
        raise LumenError("not today")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(LumenError, match="not today"):
        session(odd, Cache(tmp_path))
    assert not list(tmp_path.glob("packed/*"))


def test_a_disk_that_fills_while_weights_are_packed(odd, tmp_path, monkeypatch, caplog):
    def full(self, place, data):
        raise CacheError("No space left on device")

    monkeypatch.setattr(NewEntry, "write", full)
    run = session(odd, Cache(tmp_path))
    assert "No space left on device; going on without" in caplog.text
    monkeypatch.undo()
    expected = session(odd, Cache(tmp_path / "other"))
    np.testing.assert_array_equal(run.step([1, 2], 0), expected.step([1, 2], 0))


# --- memory -------------------------------------------------------------------------------------------------

MEMORY = """
import sys
import lumen_mlir
from lumen_mlir.cli.report import peak_memory
llm = lumen_mlir.LLM(sys.argv[1], context=int(sys.argv[2]))
llm.last_logits([1, 2, 3])
print(peak_memory())
"""


def test_memory(tmp_path):
    """The weights are resident once, and a context costs memory only as it fills."""
    path = tmp_path / "model.gguf"
    shape = replace(SHAPES["qwen2.5-0.5b"], layers=8, vocabulary=40_000)
    size = write_synthetic(path, shape, "q8_0")
    peaks = []
    for context in (64, 64, 32_768):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, path, str(context)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LUMEN_CACHE_DIR": str(tmp_path / "cache")},
        )
        peaks.append(int(done.stdout))
    assert abs(peaks[2] - peaks[1]) < 16e6
    # Python, NumPy, the tokenizer and MLIR take some 100 MB (while it compiles, 250).
    assert peaks[1] < size * 1.15 + 120e6
    assert Path(path).stat().st_size == size
