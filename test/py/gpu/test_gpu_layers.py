# SPDX-License-Identifier: Apache-2.0
"""Some layers on a GPU, and the others on the CPU."""

from __future__ import annotations

import gc
import json
import re

import numpy as np
import pytest
from emulated import ROOT, RUNNERS
from kv_sequences import ids_of, opened, pages_of, step

import lumen_mlir
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run import device, memory, placement, snapshot
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import write_family
from lumen_mlir.testing.gpu import EmulatedCuda, EmulatedDriver
from lumen_mlir.testing.synthetic import Shape, write_synthetic

pytestmark = pytest.mark.gpu

PROMPTS = ["배우들의 연기가", "이 영화는"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def driver():
    return EmulatedDriver(ROOT, RUNNERS)


@pytest.fixture(autouse=True)
def gpu(driver):
    with device.using(EmulatedCuda(driver), "cuda"):
        yield


def open_model(cache: Cache, path=None, **options) -> lumen_mlir.LLM:
    return lumen_mlir.LLM(path, cache=cache, **{"device": "cuda", "context": 128, "chunk": 32, **options})


def texts(llm: lumen_mlir.LLM) -> list[str]:
    """Of several prompts at a time."""
    return llm.generate(PROMPTS, 3, temperature=0, ignore_eos=True).texts()


def test_the_tokens_of_the_whole(cache, driver, tmp_path):
    """… on each of the two devices; also of what begins alike, and of what was saved."""
    expected = texts(open_model(cache, device="cpu"))
    assert texts(open_model(cache)) == expected
    llm = open_model(cache, gpu_layers=2)
    assert [len(section.model.layers) for section in llm.executor.sections] == [4, 2]
    assert [section.place.device.name for section in llm.executor.sections] == ["cpu", "cuda:0"]
    assert texts(llm) == expected
    words = "배우들의 연기가 정말 좋았고 내용도 " * 16
    first = llm.generate(words, 2, temperature=0, ignore_eos=True)
    answer = first.text()
    again = llm.generate(words, 2, temperature=0, ignore_eos=True)
    assert again.text() == answer and first.evaluated > 64 > again.evaluated
    session = llm.session()
    session.extend(words)
    session.save(tmp_path / "session.kv")
    other = open_model(cache, gpu_layers=2)
    loaded = other.load_session(tmp_path / "session.kv").generate("", 2, temperature=0, ignore_eos=True)
    assert loaded.text() == answer and loaded.evaluated < 64
    with pytest.raises(LumenError, match=r"with target .* x 4 \+ .* x 2, not .* x 5 \+ .* x 1"):
        open_model(cache, gpu_layers=1).load_session(tmp_path / "session.kv")
    llm.close()
    other.close()
    del llm, other, session, first, again, loaded
    gc.collect()
    assert not driver.memory


SMALL = Shape(64, 2, 2, 1, 32, 64, 301, 128, True, "qwen3moe", 4, 2)


@pytest.mark.parametrize(
    ("shape", "format", "options"),
    [
        (SMALL, "q8_0", {"kv_type": "q8_0"}),
        pytest.param("tiny", "q4_k_m", {"kv_type": "f32"}, marks=pytest.mark.matrix),
        pytest.param("tiny-moe", "q8_0", {"activations": "exact"}, marks=pytest.mark.matrix),
    ],
)
def test_other_models(cache, tmp_path, shape, format, options):
    write_synthetic(path := tmp_path / "model.gguf", shape, format, seed=3, vocabulary=301)
    prompt = list(range(3, 40))

    def tokens(**more) -> list[int]:
        llm = open_model(cache, path, **options, **more)
        generation = llm.generate(prompt, 4, temperature=0, ignore_eos=True)
        generation.text()
        return list(generation.tokens)

    assert tokens(gpu_layers=1) == tokens(gpu_layers="all") == tokens(device="cpu")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("family", "count"), [("exaone4-hybrid", 2), ("qwen3-window", 1), ("mistral-window", 3), ("qwen2moe", 2)]
)
def test_families(cache, tmp_path, family, count):
    """Windows in one part or in both, experts: logits about those of the CPU, and pages of both in a file."""
    write_family(path := tmp_path / "model.gguf", family)
    options = {"activations": "exact", "kv_type": "f32"}
    whole = opened(path, cache, **options)
    split = opened(path, cache, device="cuda", gpu_layers=count, **options)
    assert [len(section.model.layers) for section in split.sections][1] == count
    sequences = [executor.open() for executor in (whole, split)]
    expected, found = map(step, (whole, split), sequences, [ids_of(0, 150)] * 2)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    snapshot.save(split, sequences[1], tmp_path / "text.kv")
    other = opened(path, cache, device="cuda", gpu_layers=count, **options)
    loaded, _ = snapshot.load(other, tmp_path / "text.kv")
    assert pages_of(other, loaded) == pages_of(split, sequences[1])
    np.testing.assert_array_equal(step(other, loaded, ids_of(1, 9)), step(split, sequences[1], ids_of(1, 9)))


def needs_of(cache: Cache, layers: int) -> memory.Footprint:
    """What so many layers take of the GPU."""
    options = SessionOptions(device="cuda", gpu_layers=layers, context=128, chunk=32)
    model = Model.open(embedded_model_path())
    return placement.plan(model, options, cache)[-1][1]


def test_as_many_as_fit(cache, driver):
    """… into what is free, or into a budget; and what that costs."""
    three, four = (needs_of(cache, layers).total for layers in (3, 4))
    driver.room = four - 1
    llm = open_model(cache)
    assert [len(section.model.layers) for section in llm.executor.sections] == [3, 3]
    said = llm.executor.placement
    pattern = (
        r"3 of 6 layers on cuda:0 \(an emulator, sm_80\); the other 3 read (\S+) MB of weights per token "
        r"from the CPU's memory, about (\d+) % of a step's bytes"
    )
    match = re.fullmatch(pattern.replace(" %", "%"), said)
    assert match, said
    first, second = llm.executor.sections
    share = first.packed_bytes / (first.packed_bytes + second.packed_bytes)
    assert float(match[1]) == round(first.packed_bytes / 1e6, 2) and int(match[2]) == round(100 * share)
    assert len(texts(llm)) == 2 and driver.peak <= driver.room
    llm.close()
    del llm, first, second
    gc.collect()
    driver.room = 1 << 30
    llm = open_model(cache, memory_budget=four - 1)
    assert [len(section.model.layers) for section in llm.executor.sections] == [3, 3]
    assert three < four


def test_beside_a_draft(cache, driver):
    """The model leaves room for what guesses."""
    run = {"draft": embedded_model_path(), "sequences": 1}
    llm = open_model(cache, **run)
    assert len(llm.executor.sections) == 1 and llm.draft.executor.device.name == "cuda:0"
    driver.room = driver.peak
    llm.close()
    del llm
    gc.collect()
    llm = open_model(cache, **run)
    assert len(llm.executor.sections) == 2 and len(llm.draft.executor.sections) == 1
    assert llm.draft.executor.device.name == "cuda:0"


def test_where_none_fits(cache, driver, caplog):
    driver.room = 100_000
    llm = open_model(cache)
    assert (
        llm.executor.placement
        == "none of 6 layers on cuda:0 (an emulator, sm_80): all are computed on the CPU"
    )
    assert texts(llm) and driver.peak == 0
    assert open_model(cache, gpu_layers=0).executor.device.name == "cpu"


def test_more_than_fit(cache, driver):
    driver.room = needs_of(cache, 3).total - 1
    with pytest.raises(LumenError, match="device cuda:0 .* which is too little") as refusal:
        open_model(cache, gpu_layers=3)
    assert any(hint.startswith("--gpu-layers auto: ") for hint in refusal.value.hints)
    assert open_model(cache, gpu_layers="2").executor.sections[1].model.layers == range(4, 6)


@pytest.mark.parametrize("wrong", ["many", "1.5", "", 2.0, -2, True, None, "-1"])
def test_no_number_of_layers(wrong):
    with pytest.raises(LumenError, match="gpu_layers is .*; a number of layers, all or auto was expected"):
        SessionOptions(gpu_layers=wrong)


def test_numbers_of_layers():
    counts = {value: SessionOptions(gpu_layers=value).gpu_layer_count for value in ("auto", "7", 7, 0)}
    assert counts == {"auto": None, "7": 7, 7: 7, 0: 0}
    assert (
        SessionOptions(gpu_layers="all").gpu_layer_count
        == SessionOptions(gpu_layers=-1).gpu_layer_count
        > 9999
    )


def test_on_the_command_line(cache, driver, monkeypatch, capsys):
    from lumen_mlir.cli import main

    monkeypatch.setenv("LUMEN_CACHE_DIR", str(cache.folder))
    options = ["--device", "cuda", "-c", "128", "--chunk", "32", "-ngl", "2"]
    assert main(["generate", *options, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^\d of 6 layers on .*:$|^free memory of cuda:0.*", out, re.M) == [
        "4 of 6 layers on cpu:",
        "2 of 6 layers on cuda:0 (an emulator, sm_80):",
        "free memory of cuda:0: 1.07 GB",
    ]
    assert main(["generate", *options, "-p", "이 영화", "-n", "2", "--temp", "0"]) == 0
    assert capsys.readouterr().err.startswith(
        "lumen: 2 of 6 layers on cuda:0 (an emulator, sm_80); the other 4 "
    )
    assert (
        main(["bench", "--device", "cuda", "-ngl", "2", "-p", "4", "-n", "1", "-r", "1", "-o", "json"]) == 0
    )
    (first, _) = json.loads(capsys.readouterr().out)
    assert (first["backends"], first["n_gpu_layers"]) == ("CUDA", 2)
    assert first["gpu_info"] == "cuda:0 (an emulator, sm_80)"
    assert first["kernels"].endswith(f" on {first['gpu_info']}") and " and " in first["kernels"]
