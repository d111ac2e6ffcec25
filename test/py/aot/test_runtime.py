# SPDX-License-Identifier: Apache-2.0
"""``runtime/embed``: the C interface computes and draws what Python does, and refuses what it cannot use."""

import ctypes
import itertools
import os
import re
import struct
from pathlib import Path

import embed_library as embed
import numpy as np
import pytest
from embed_library import Failed, Model, Sampler

from lumen_mlir._mlir import codegen
from lumen_mlir.aot import weight_file
from lumen_mlir.aot.compiled_model import compile_model
from lumen_mlir.aot.library import write_library
from lumen_mlir.compiler import targets
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.generate import sampling
from lumen_mlir.models import Model as ModelFile
from lumen_mlir.run.program import ABI_VERSION
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.checksum import checksum
from lumen_mlir.testing.families import FAMILIES, write_family
from lumen_mlir.version import __version__

# Rings and several rotary tables; another table for long contexts; experts.
_FAMILIES = ("exaone4-hybrid", "llama-longrope", "qwen3moe")


def make(path: Path, folder: Path, **options) -> embed.Code:
    """Writes the weights of a model to ``folder``; returns its code."""
    folder.mkdir()
    compiled = compile_model(ModelFile.open(path), SessionOptions(**options), Cache())
    library, _ = write_library(folder / "model.so", compiled, with_header=True)
    weight_file.write(folder / "weights.lumen", compiled, sampling.Sampling(), Cache())
    return embed.code_of(library)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The embedded model's weights and code."""
    folder = tmp_path_factory.mktemp("runtime") / "bundle"
    return folder, make(embedded_model_path(), folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Those of a model of 400 KB with two sets of frequencies, for what writes them often."""
    folder = tmp_path_factory.mktemp("tiny")
    write_family(folder / "model.gguf", FAMILIES["llama-longrope"])
    return folder / "bundle", make(folder / "model.gguf", folder / "bundle")


@pytest.fixture(scope="module")
def session():
    return Stepper(ModelFile.open(embedded_model_path()), SessionOptions(threads=1))


def test_versions():
    """What the library says of itself is what Python says."""
    library = embed.load()
    header = (embed.REPOSITORY / "runtime" / "embed" / "lumen.h").read_text()
    assert library.lumen_version().decode() == __version__
    assert f'#define LUMEN_VERSION "{__version__}"' in header
    assert library.lumen_api_version() == int(re.search(r"LUMEN_API_VERSION (\d+)", header)[1])
    model = (embed.REPOSITORY / "runtime" / "embed" / "Model.cpp").read_text()
    assert f"kEntryVersion = {ABI_VERSION};" in model
    texts = {library.lumen_status_text(status) for status in range(-1, 12)}
    assert len(texts) == 11


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_those_of_python(bundle, session, threads):
    """To the bit: of a prompt of several chunks, and of tokens after it."""
    folder, code = bundle
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 8192, 700)
    with Model(folder, code, threads) as model:
        assert (model.vocabulary, model.context) == (8192, 2048)
        assert embed.load().lumen_threads(model.handle) == threads
        assert embed.load().lumen_name(model.handle) == b"Lumen Korean comments 7M"
        logits = model.step(ids)
        session.step(ids[:512], 0, 512)
        assert np.array_equal(logits, session.step(ids[512:], 512, 187)[0])
        for position in range(700, 704):
            token = int(logits.argmax())
            logits = model.step([token])
            assert np.array_equal(logits, session.step([token], position)[0])
        assert model.position == 704
        model.rewind(700)
        assert model.step([5], logits=False) is None
        assert np.array_equal(model.step([6]), session.step([5, 6], 700, 1)[0])


@pytest.mark.parametrize("name", _FAMILIES)
@pytest.mark.parametrize("kv_type, context", [("f16", 0), ("q8_0", 32)])
def test_families(tmp_path, name, kv_type, context):
    path = tmp_path / "model.gguf"
    write_family(path, FAMILIES[name])
    options = {"kv_type": kv_type, "chunk": 16, "activations": "exact" if context else "int8"}
    code = make(path, tmp_path / "bundle", **options)
    session = Stepper(ModelFile.open(path), SessionOptions(**options, threads=2, context=context))
    rng = np.random.default_rng(4)
    with Model(tmp_path / "bundle", code, 2, context) as model:
        assert model.context == session.context
        ids = rng.integers(0, model.vocabulary, model.context)
        position = 0
        while position < model.context:
            count = min(int(rng.integers(1, 17)), model.context - position)
            expected = session.step(ids[position : position + count], position, count - 1)[0]
            assert np.array_equal(model.step(ids[position : position + count]), expected)
            position += count
        refused = 0
        for to in (position - 1, position // 2, 0):
            if session.can_resume(to):
                model.rewind(to)
                assert model.position == to
                continue
            refused += 1
            with pytest.raises(Failed, match="sliding windows") as failed:
                model.rewind(to)
            assert failed.value.status == embed.CONTEXT
        assert refused == (name == "exaone4-hybrid" and not context)


def test_random_numbers():
    """Tokens of equal likelihood are drawn by the seed's random numbers."""
    for seed in (0, 1, 7, 2**32 - 1, 2**32, 2**63 - 1):
        ours = Sampler(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed)
        theirs = sampling.Sampler(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed)
        logits = np.zeros(10_000, np.float32)
        assert [ours.sample(logits) for _ in range(20)] == [theirs.sample(logits) for _ in range(20)]


def test_sampling_is_that_of_python():
    """All combinations of filters, on logits with equals among them."""
    rng = np.random.default_rng(5)
    choices = itertools.product(
        (0, 0.3, 1.4), (0, 1, 40, 600), (0.5, 1), (0, 0.4, 0.95, 1), (0, 0.05), (1, 1.3), (0, 5), (0, 0.7)
    )
    names = (
        *("temperature", "top_k", "typical_p", "top_p", "min_p", "repeat_penalty", "repeat_last"),
        "frequency_penalty",
    )
    for number, values in enumerate(choices):
        parameters = dict(zip(names, values, strict=True), seed=number)
        parameters["presence_penalty"] = parameters["frequency_penalty"] / 2
        ours, theirs = Sampler(**parameters), sampling.Sampler(logit_bias={2: 1.5}, **parameters)
        ours.set_bias(2, -7)
        ours.set_bias(2, 1.5)
        prompt = rng.integers(0, 50, 9)
        ours.accept(prompt)
        theirs.accept(prompt.tolist())
        size = int(rng.choice([1, 5, 129, 3000]))
        for _ in range(4):
            logits = rng.normal(0, 3, size).astype(np.float32).round(1)
            assert ours.sample(logits) == theirs.sample(logits), parameters


def test_flat_logits():
    """A nucleus of thousands of tokens."""
    logits = np.random.default_rng(6).normal(0, 0.1, 30_000).astype(np.float32)
    parameters = {"temperature": 1.0, "top_k": 0, "top_p": 0.9, "min_p": 0.0, "seed": 11}
    ours, theirs = Sampler(**parameters), sampling.Sampler(**parameters)
    assert [ours.sample(logits) for _ in range(10)] == [theirs.sample(logits) for _ in range(10)]


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -2}, {"top_p": 1.5}, {"min_p": -0.1},
        {"repeat_penalty": 0.0}, {"repeat_last": -1}, {"seed": -2}, {"typical_p": 2.0},
        {"presence_penalty": 2.5}, {"frequency_penalty": -3.0},
    ],
)  # fmt: skip
def test_parameters_out_of_range(parameters):
    """Both refuse them, within the same limits."""
    with pytest.raises(Failed) as failed:
        Sampler(**parameters)
    assert failed.value.status == embed.ARGUMENT
    with pytest.raises(LumenError) as refused:
        sampling.Sampler(**parameters)
    begin = f"{next(iter(parameters))} is "
    assert failed.value.text.startswith(begin) and str(refused.value).startswith(begin)


def test_biases_out_of_range():
    for bias in (101, -100.5, float("nan"), float("inf")):
        with pytest.raises(Failed, match="logit_bias is"):
            Sampler().set_bias(1, bias)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_without_a_largest(value):
    logits = np.full(5, value, np.float32)
    with pytest.raises(Failed) as failed:
        Sampler().sample(logits)
    assert failed.value.status == embed.LOGITS
    with pytest.raises(Failed):
        Sampler().sample(np.array([1, np.nan, 2], np.float32))


def described(folder: Path) -> str:
    """The description in the file of weights of a bundle."""
    data = (folder / "weights.lumen").read_bytes()
    _, _, size, length, *_ = weight_file.HEADER.unpack_from(data)
    return data[size : size + length].decode()


def write_changed(folder: Path, path: Path, text: bytes) -> Path:
    """A bundle like ``folder`` whose description of the weights is ``text``, with checksums that fit."""
    data = (folder / "weights.lumen").read_bytes()
    magic, version, size, _, begin, count, _, data_sum = weight_file.HEADER.unpack_from(data)
    text_sum = checksum(np.frombuffer(text, np.uint8))
    header = weight_file.HEADER.pack(magic, version, size, len(text), begin, count, text_sum, data_sum)
    header += struct.pack("<Q", checksum(np.frombuffer(header, np.uint8)))
    path.mkdir(exist_ok=True)
    (path / "weights.lumen").write_bytes((header + text).ljust(begin, b"\0") + data[begin:])
    return path


@pytest.mark.parametrize(
    "old, new, status, text",
    [
        (f"version {__version__}", "version 0.0.9", embed.VERSION, "made by Lumen 0.0.9, but this"),
        ("format 1", "format 2", embed.VERSION, "format 2 of another version of Lumen"),
        ("architecture x86_64", "architecture riscv64", embed.TARGET, "made for riscv64"),
        ("target ", "target y", embed.TARGET, "but the code is for target"),
        ("code ", "code 0", embed.VERSION, "belongs to other code"),
        ("blk.0.attn_q.weight", "blk.0.attn_k.weight", embed.DAMAGED, "the weight 'blk.0.attn_q.weight' of"),
        ("\nweight 256", "\nweight 999999256", embed.DAMAGED, "there is nothing at bytes 999999256"),
        ("\nweight 256", "\nweight 258", embed.DAMAGED, "there is nothing at bytes 258 to"),
        ("\nrope ", "\nrobe ", embed.DAMAGED, "cannot be understood"),
        ("\nrope 64", "\nrope 62", embed.DAMAGED, "62 dimensions, not 64"),
        ("\nrope 64", "\nrope -4", embed.DAMAGED, "cannot be understood"),
        ("\nrope 64", "\nrope 99999999999999999999999", embed.DAMAGED, "cannot be understood"),
        ("\nmodel ", "\nmodel", embed.DAMAGED, "cannot be understood"),
    ],
)  # fmt: skip
def test_other_weights(bundle, tmp_path, old, new, status, text):
    folder, code = bundle
    text_before = described(folder)
    assert old in text_before
    other = write_changed(folder, tmp_path, text_before.replace(old, new, 1).encode())
    with pytest.raises(Failed) as failed:
        Model(other, code)
    assert failed.value.status == status and text in failed.value.text
    assert "\n" not in failed.value.text


def test_damaged_files(tiny, tmp_path):
    """Cut anywhere, and with any byte changed, a file is refused."""
    folder, code = tiny
    data = bytearray((folder / "weights.lumen").read_bytes())
    file = tmp_path / "weights.lumen"

    def status_of(content: bytes) -> tuple[int, str]:
        file.write_bytes(content)
        with pytest.raises(Failed) as failed:
            Model(tmp_path, code)
        return failed.value.status, failed.value.text

    assert status_of(data[:-4096]) == (
        embed.DAMAGED, f"{file}: has {len(data) - 4096} bytes instead of {len(data)}: it is truncated"
    )  # fmt: skip
    assert "too long" in status_of(data + b"x")[1]
    assert "fewer than a header" in status_of(data[:63])[1]
    assert "fewer than a header" in status_of(b"")[1]
    for size in (64, 200, 4096, 4097):
        assert status_of(data[:size])[0] == embed.DAMAGED
    rng = np.random.default_rng(8)
    _, _, size, length, begin, *_ = weight_file.HEADER.unpack_from(data)
    places = [*range(64), *rng.integers(size, size + length, 20), *rng.integers(begin, len(data), 10)]
    for place in places:
        other = bytearray(data)
        other[place] ^= 1 << int(rng.integers(8))
        assert status_of(other)[0] in (embed.DAMAGED, embed.VERSION), place
    # Whoever does not ask for the checksum of gigabytes does without it.
    other = bytearray(data)
    other[-1] ^= 1
    file.write_bytes(other)
    Model(tmp_path, code, skip=True).close()


def test_files_that_mean_harm(tiny, tmp_path):
    """Whatever a description says, with checksums that fit: an error, or a model that reads only weights."""
    folder, code = tiny
    text = described(folder)
    # Behind what tells the code: numbers, mostly.
    begin, rng, opened = text.index("\nsampling") + 1, np.random.default_rng(10), 0
    signs = b"0123456789f- \n"
    for _ in range(150):
        other = bytearray(text.encode())
        for place in rng.integers(begin, len(text), rng.integers(1, 3)):
            other[place] = int(rng.choice([*signs, *rng.integers(0, 256, 2)]))
        write_changed(folder, tmp_path, bytes(other))
        try:
            with Model(tmp_path, code, skip=True) as model:
                model.step([1, 2, 3])
                opened += 1
        except Failed as failed:
            assert failed.status in (embed.DAMAGED, embed.VERSION) and failed.text.isprintable()
    assert 5 < opened < 145


def test_files_that_are_none(bundle, tmp_path):
    _, code = bundle
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(Failed, match="cannot be opened: No such file") as failed:
            Model(path, code)
        assert failed.value.status == embed.FILE
    (tmp_path / "weights.lumen").mkdir()
    with pytest.raises(Failed, match="not a regular file"):
        Model(tmp_path, code)
    (tmp_path / "weights.lumen").rmdir()
    os.mkfifo(tmp_path / "weights.lumen")
    with pytest.raises(Failed, match="not a regular file"):
        Model(tmp_path, code)


def test_a_file_that_is_cut_in_use(bundle, tmp_path):
    """Not a signal, but an error of the step."""
    folder, code = bundle
    file = tmp_path / "weights.lumen"
    file.write_bytes((folder / "weights.lumen").read_bytes())
    with Model(tmp_path, code) as model:
        model.step([1, 2, 3])
        os.truncate(file, 8192)
        with pytest.raises(Failed, match="was cut short while it was in use") as failed:
            model.step([4])
        assert failed.value.status == embed.FILE and model.position == 3


def other_code(code: embed.Code, old: str, new: str) -> embed.Code:
    text = code.text.decode()
    assert old in text
    return embed.Code(text.replace(old, new, 1).encode(), code.step, code.arena_bytes)


@pytest.mark.parametrize(
    "old, new, status, text",
    [
        (f"version {__version__}", "version 9.9.9", embed.VERSION, "the model's code: made by Lumen 9.9.9"),
        (f"abi {ABI_VERSION}", "abi 4", embed.VERSION, "called in way 4"),
        ("format 1", "format 7", embed.VERSION, "format 7"),
        ("needs ", "needs tmul9\nneeds ", embed.CPU, "it lacks tmul9"),
        ("argument tokens\n", "", embed.DAMAGED, "does not take what it must"),
        ("argument rope 64\n", "", embed.DAMAGED, "not those that the code takes"),
        ("argument cache 0", "argument cash 0", embed.DAMAGED, "cannot be understood"),
        ("argument tokens\n", "argument tokens 3\n", embed.DAMAGED, "cannot be understood"),
        ("chunk 512\n", "", embed.DAMAGED, "does not say what it is"),
        ("chunk 512\n", "chunk\n", embed.DAMAGED, "cannot be understood"),
    ],
)
def test_other_code(bundle, old, new, status, text):
    folder, code = bundle
    with pytest.raises(Failed) as failed:
        Model(folder, other_code(code, old, new))
    assert failed.value.status == status and text in failed.value.text


def known_features() -> dict[str, list[str]]:
    """The features in the tables of the library, by architecture."""
    text = (embed.REPOSITORY / "runtime" / "embed" / "CpuFeatures.cpp").read_text()
    x86, _, arm = text.partition("#elif defined(__aarch64__)\n\nnamespace")
    return {name: re.findall(r'\{"([\w.-]+)",', part) for name, part in (("x86_64", x86), ("aarch64", arm))}


def test_features_of_targets():
    """The library knows all that code for its CPUs may need."""
    known = known_features()
    assert all(known.values())
    for target in targets.TARGETS:
        # (Neither modules of WebAssembly nor GPUs ask the library.)
        if target.architecture in known and target.warp == 1:
            assert set(target.needs) <= set(known[target.architecture]), target.name


def test_features_of_this_cpu(bundle):
    """The library sees those that LLVM sees."""
    folder, code = bundle
    host = codegen.host_features()
    for feature in known_features()[codegen.architecture("")]:
        needing = other_code(code, "needs ", f"needs {feature}\nneeds ")
        if host.get(feature, False):
            Model(folder, needing, skip=True).close()
            continue
        with pytest.raises(Failed, match=f"it lacks {feature}$") as failed:
            Model(folder, needing, skip=True)
        assert failed.value.status == embed.CPU


def test_code_that_is_not_there(bundle):
    folder, code = bundle
    with pytest.raises(Failed, match="built without a model's code"):
        Model(folder, None)
    for part in (embed.Code(None, code.step, 8), embed.Code(code.text, None, 8)):
        with pytest.raises(Failed, match="not filled in"):
            Model(folder, part)
    with pytest.raises(Failed, match="there is no description"):
        Model(folder, embed.Code(b"", code.step, 8))


def test_code_with_any_text(bundle):
    """Whatever the text of code says: an error, or a model."""
    folder, code = bundle
    rng = np.random.default_rng(9)
    for _ in range(300):
        text = bytearray(code.text)
        for place in rng.integers(0, min(len(text), 900), rng.integers(1, 4)):
            text[place] = int(rng.integers(1, 256))
        try:
            Model(folder, embed.Code(bytes(text), code.step, code.arena_bytes), skip=True).close()
        except Failed as failed:
            assert failed.status in range(1, 10) and failed.text.isprintable()


def test_arguments_out_of_range(bundle):
    folder, code = bundle
    with Model(folder, code, context=64) as model:
        for tokens in ([8192], [-1], []):
            with pytest.raises(Failed) as failed:
                model.step(tokens)
            assert failed.value.status == embed.ARGUMENT
        with pytest.raises(Failed, match="65 tokens do not fit: the context of 64 tokens holds 0 already"):
            model.step([1] * 65)
        model.step([1] * 64)
        with pytest.raises(Failed) as failed:
            model.step([1])
        assert failed.value.status == embed.CONTEXT
        for position in (-1, 65):
            with pytest.raises(Failed, match="not among the 64"):
                model.rewind(position)
    for options in ({"threads": -1}, {"threads": 5000}, {"context": -1}, {"context": 2049}):
        with pytest.raises(Failed) as failed:
            Model(folder, code, **options)
        assert failed.value.status == embed.ARGUMENT


def test_nothing():
    """NULL is refused, or means nothing."""
    library = embed.load()
    for name in ("lumen_close", "lumen_sampler_free", "lumen_team_free"):
        getattr(library, name)(None)
    assert library.lumen_open(None, None, None, None, ctypes.c_size_t(0)) == embed.ARGUMENT
    assert library.lumen_step(None, None, 1, None, None, ctypes.c_size_t(0)) == embed.ARGUMENT
    assert library.lumen_sampler_sample(None, None, 1, None, None, ctypes.c_size_t(0)) == embed.ARGUMENT
    assert library.lumen_position(None) == 0 and library.lumen_name(None) == b""
    # A text that does not fit is cut, and ends in a zero.
    error = ctypes.create_string_buffer(b"x" * 8, 8)
    assert library.lumen_sampler_new(None, None, error, ctypes.c_size_t(8)) == embed.ARGUMENT
    assert error.raw == b"sampler\0"
