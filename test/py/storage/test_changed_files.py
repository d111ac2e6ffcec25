# SPDX-License-Identifier: Apache-2.0
"""Files that change under a running process, or behind its back between two runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lumen_mlir import LLM
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.quantize.quantization import quantize_file
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.mapping import files_of, map_file
from lumen_mlir.testing.synthetic import Shape, write_synthetic


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """A cache folder that has the code already."""
    folder = tmp_path_factory.mktemp("cache")
    LLM(cache=Cache(folder), threads=2, context=64)
    return folder


@pytest.fixture
def cache(objects, tmp_path):
    shutil.copytree(objects, tmp_path / "cache", ignore=shutil.ignore_patterns("packed"))
    return Cache(tmp_path / "cache")


@pytest.fixture
def model(tmp_path):
    return shutil.copy(embedded_model_path(), tmp_path / "m.gguf")


def text_of(llm):
    llm.forget()
    return llm.generate("배우들의", 8, temperature=0).text()


def packed(cache):
    (entry,) = (entry for entry in cache.entries() if entry.kind == "packed")
    return entry.path


def overwrite(path, begin=4096, size=1 << 20):
    with open(path, "r+b") as file:
        file.seek(begin)
        file.write(os.urandom(size))


def set_back(path):
    """Other bytes, with the size and time of the old ones."""
    status = os.stat(path)
    overwrite(path, 0, status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


HARMLESS = {
    "replaced": lambda path: (os.rename(path, f"{path}.old"), open(path, "wb").close()),
    "removed": os.unlink,
    "closed to others": lambda path: os.chmod(path, 0o600),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("which", ["model", "packed"])
def test_a_removed_file_is_still_there(cache, model, change, which):
    llm = LLM(model, threads=2, context=64, cache=cache)
    before = text_of(llm)
    change(model if which == "model" else packed(cache))
    assert text_of(llm) == before == " 연기가 정말 일품이었어요."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: os.truncate(path, 4096), "it had 7660320 bytes and has 4096 now"),
        (lambda path: os.truncate(path, 0), "it had 7660320 bytes and has 0 now"),
        (overwrite, "its 7660320 bytes were written to"),
        (set_back, "its 7660320 bytes were written to, with the old time of writing"),
    ],
)
def test_a_changed_model_is_an_error(cache, model, change, message):
    llm = LLM(model, threads=2, context=64, cache=cache)
    change(model)
    for _ in range(2):
        with pytest.raises(LumenError, match=f"m.gguf: changed while it was in use: {message}; open"):
            text_of(llm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: os.truncate(path, 8192), "it had 7245824 bytes and has 8192 now"),
        (overwrite, "its checksum differs"),
    ],
)
def test_a_changed_entry_is_an_error(cache, change, message):
    llm = LLM(threads=2, context=64, cache=cache)
    change(packed(cache))
    with pytest.raises(LumenError, match=f"lumen: changed while it was in use: {message}; open the model"):
        text_of(llm)
    # The next one makes it again.
    assert text_of(LLM(threads=2, context=64, cache=cache)) == " 연기가 정말 일품이었어요."


def test_use_by_others_is_no_change(cache):
    llm = LLM(threads=2, context=64, cache=cache)
    before = text_of(llm)
    assert text_of(LLM(threads=1, context=64, cache=cache)) == before
    os.utime(packed(cache))
    assert text_of(llm) == before


def test_the_reference_notices_too(tmp_path):
    path = tmp_path / "m.gguf"
    write_synthetic(path, Shape(64, 1, 2, 1, 32, 64, 301, 64, False), "q8_0")
    llm = LLM(path, engine="reference", cache=Cache(tmp_path / "cache"))
    overwrite(path, size=100)
    with pytest.raises(LumenError, match="changed while it was in use"):
        llm.logits([1])


def test_a_source_that_is_cut_while_it_is_quantized(tmp_path):
    path, out = tmp_path / "m.gguf", tmp_path / "out.gguf"
    write_synthetic(path, Shape(64, 2, 2, 1, 32, 64, 301, 64, False), "f16")
    file = GGUFFile.open(path)
    with pytest.raises(
        LumenError, match=r"m.gguf: changed while it was in use: it had \d+ bytes and has 50000"
    ):
        quantize_file(file, out, "q8_0", progress=lambda *_: os.truncate(path, 50_000))
    assert os.listdir(tmp_path) == ["m.gguf"]


# --- between two runs ---------------------------------------------------------------------------------------


def rewrite(path, change):
    """Changes the bytes of a file (a function of an array) without changing its size and time."""
    status = os.stat(path)
    data = np.fromfile(path, np.uint8)
    change(data)
    with open(path, "r+b") as file:
        file.write(data.tobytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["token_embd.weight", "blk.0.ffn_down.weight", "blk.3.attn_norm.weight"])
def test_other_weights_under_the_same_time_have_another_key(model, name):
    before = GGUFFile.open(model)
    info = before.tensor(name)
    assert GGUFFile.open(model).fingerprint() == before.fingerprint()

    def exchange(data):
        tensor = data[info.offset : info.offset + info.nbytes].reshape(-1, 4 if info.type == "f32" else 34)
        tensor[:] = np.random.default_rng(0).permutation(tensor)

    rewrite(model, exchange)
    after = GGUFFile.open(model)
    assert after.fingerprint() != before.fingerprint()
    assert os.stat(model).st_size == before.size


def test_a_time_before_1970(model):
    os.utime(model, (-5, -5))
    assert len(GGUFFile.open(model).fingerprint()) == 32


# --- mappings -----------------------------------------------------------------------------------------------


def test_lost_pages_read_as_zeros(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"x" * 50_000)
    mapping, _ = map_file(str(path), "data", LumenError)
    other, _ = map_file(str(path), "data", LumenError)
    array = np.frombuffer(mapping, np.uint8)
    assert files_of([array[3:], array[:2].reshape(2, 1), np.zeros(3)]) == [mapping]
    os.truncate(path, 5000)
    assert array[:5000].all() and array[5000:].sum() == 0
    with pytest.raises(LumenError, match="it had 50000 bytes and has 5000 now"):
        mapping.check_unchanged()
    # Its times may be forged, but not what happened to the pages.
    path.write_bytes(b"x" * 50_000)
    with pytest.raises(LumenError, match="it has lost pages"):
        mapping.check_unchanged()
    del other


SCRIPT = """
import faulthandler, mmap, os, signal, sys
import numpy as np
from lumen_mlir.errors import LumenError
from lumen_mlir.storage.mapping import map_file
how, path = sys.argv[1:]
open(path, "wb").write(b"x" * 50_000)
ours, _ = map_file(path, "data", LumenError)
if how == "faulthandler after": faulthandler.enable(); ours, _ = map_file(path, "data", LumenError)
other = mmap.mmap(os.open(path, os.O_RDONLY), 50_000, access=mmap.ACCESS_READ)
os.truncate(path, 0)
assert sum(ours[:]) == 0
if how == "sent": os.kill(os.getpid(), signal.SIGBUS)
print("still here", flush=True)
del ours
other[:]
"""


@pytest.mark.parametrize("how", ["none", "faulthandler after", "sent"])
def test_other_bus_errors_stay_what_they_are(tmp_path, how):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONFAULTHANDLER": ""}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how, str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == -7 and done.stdout == (b"" if how == "sent" else b"still here\n"), done
    assert (b"Bus error" in done.stderr) == (how == "faulthandler after")
