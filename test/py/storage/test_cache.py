# SPDX-License-Identifier: Apache-2.0
"""The caches: whole entries or none, damage noticed, folders that cannot be written, the limit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from lumen_mlir._mlir.memory import Checksum
from lumen_mlir.storage import atomic_file
from lumen_mlir.storage import cache_entry as module
from lumen_mlir.storage.cache import KINDS, Cache
from lumen_mlir.storage.cache_entry import CacheError

PAGE = 4096


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache", limit=10**9)


def files(cache: Cache) -> list[str]:
    return sorted(path.name for path in cache.folder.rglob("*") if path.is_file())


def test_store_and_load(cache):
    assert cache.load("objects", "k") is None
    assert cache.store("objects", "k", b"hello")
    assert cache.load("objects", "k") == b"hello" and cache.load("tokenizers", "k") is None
    assert cache.store("objects", "k", b"again") and cache.load("objects", "k") == b"again"
    assert cache.store("objects", "empty", b"") and cache.load("objects", "empty") == b""
    assert files(cache) == ["empty.lumen", "k.lumen"]


def test_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(tmp_path / "here"))
    monkeypatch.setenv("LUMEN_CACHE_LIMIT", "5M")
    cache = Cache()
    assert cache.folder == tmp_path / "here" and cache.limit == 5_000_000
    monkeypatch.delenv("LUMEN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "lumen-mlir"


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "k" * 200, "a\0"])
def test_keys_stay_in_the_folder(cache, key):
    with pytest.raises(ValueError, match="no cache entry"):
        cache.load("objects", key)
    with pytest.raises(ValueError, match="no cache entry"):
        cache.load("elsewhere", "k")


def test_mapped_entry(cache):
    data = np.arange(100_003, dtype=np.uint32).view(np.uint8)[:-1]
    with cache.create("packed", "w", data.size) as entry:
        assert entry.persistent
        entry.write(0, data)
        assert cache.load_mapped("packed", "w") is None
        written = entry.commit()
    assert np.array_equal(written, data) and not written.flags.writeable
    read = cache.load_mapped("packed", "w")
    assert np.array_equal(read, data) and read.ctypes.data % PAGE == 0 and not read.flags.writeable
    assert np.array_equal(cache.load_mapped("packed", "w", verify=False), data)
    cache.clear()
    assert np.array_equal(read, data), "a mapped payload outlives its file"


def test_an_entry_written_in_many_pieces(cache, monkeypatch):
    monkeypatch.setattr(module, "_WRITE_BYTES", 2 * PAGE)
    rng = np.random.default_rng(0)
    expected = np.zeros(20 * PAGE + 13, np.uint8)
    with cache.create("packed", "w", expected.size) as entry:
        place = 0
        while place < expected.size - 3 * PAGE:
            data = rng.integers(1, 256, size=rng.integers(1, 3 * PAGE), dtype=np.uint8)
            entry.write(place, data)
            expected[place : place + data.size] = data
            # Now and then something is left out.
            place += data.size + int(rng.integers(0, 2) * rng.integers(0, PAGE))
        assert np.array_equal(entry.commit(), expected)
    assert np.array_equal(cache.load_mapped("packed", "w"), expected)


@pytest.mark.parametrize(("place", "size"), [(9, 1), (50, 51)])
def test_pieces_out_of_order_or_too_long_are_refused(cache, place, size):
    with cache.create("packed", "w", 100) as entry:
        entry.write(0, np.ones(10, np.uint8))
        with pytest.raises(ValueError, match=f"no {size} bytes can be written at {place}"):
            entry.write(place, np.ones(size, np.uint8))


def test_a_disk_that_is_full_amid_the_work(cache, monkeypatch):
    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_WRITE_BYTES", PAGE)
    with cache.create("packed", "w", 3 * PAGE) as entry:
        monkeypatch.setattr(module.os, "pwrite", full)
        with pytest.raises(CacheError, match="cannot be written: No space left"):
            entry.write(0, np.ones(3 * PAGE, np.uint8))
    assert files(cache) == []


def test_giving_up_leaves_nothing(cache):
    with pytest.raises(KeyboardInterrupt), cache.create("packed", "w", 1000) as entry:
        assert len(files(cache)) == 1
        entry.write(0, np.ones(1000, np.uint8))
        raise KeyboardInterrupt
    assert files(cache) == []


def checksum(data) -> int:
    found = Checksum()
    found.update(np.ascontiguousarray(data).reshape(-1))
    return found.value


@pytest.mark.parametrize("size", [*range(20), 63, 64, 65, 200])
def test_checksum_sees_every_bit_and_the_length(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    found = {checksum(data), checksum(np.append(data, np.uint8(0)))}
    for bit in range(8 * size):
        other = data.copy()
        other[bit // 8] ^= 1 << bit % 8
        found.add(checksum(other))
    assert len(found) == 2 + 8 * size


@pytest.mark.parametrize("unit", [8, 64, PAGE])
def test_checksum_sees_an_exchange(unit):
    data = np.random.default_rng(0).integers(0, 256, 8 * PAGE, np.uint8)
    units = data.reshape(-1, unit)
    found = {checksum(data), checksum(units[::-1]), checksum(np.zeros_like(data))}
    for place in range(1, min(len(units), 100)):
        other = units.copy()
        other[[0, place]] = other[[place, 0]]
        found.add(checksum(other.reshape(-1)))
    assert len(found) == 3 + min(len(units), 100) - 1
    assert len({checksum(np.zeros(size, np.uint8)) for size in range(300)}) == 300


@pytest.mark.parametrize("bit", [0, 31, 34, 58, 62, 63])
def test_checksum_sees_two_changed_bits(bit):
    data = np.zeros(2 * PAGE // 8, np.uint64)
    data[0] ^= np.uint64(1 << bit)
    one = checksum(data.view(np.uint8))
    assert one != checksum(np.zeros(2 * PAGE, np.uint8))
    for place in range(1, data.size):
        for other in {bit, 63, 62, 58, (bit + 29) % 64}:
            data[place] ^= np.uint64(1 << other)
            assert checksum(data.view(np.uint8)) not in (one, checksum(np.zeros(2 * PAGE, np.uint8)))
            data[place] ^= np.uint64(1 << other)


def test_checksum_in_pieces():
    data = np.random.default_rng(0).integers(0, 256, 5 * PAGE + 100, np.uint8)
    found = Checksum()
    for begin, end in ((0, PAGE), (PAGE, PAGE), (PAGE, 4 * PAGE), (4 * PAGE, data.size)):
        found.update(data[begin:end])
    assert found.value == checksum(data)
    with pytest.raises(ValueError, match="only the last piece"):
        found.update(data)


@pytest.mark.parametrize("position", [0, 8, 16, 24, 40, 55, PAGE, PAGE + 4, PAGE + 8])
def test_damage_is_noticed(cache, caplog, position):
    cache.store("objects", "k", b"some bytes")
    (path,) = cache.folder.rglob("k.lumen")
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert cache.load("objects", "k") is None and not path.exists()
    assert "k.lumen is damaged" in caplog.text
    assert cache.store("objects", "k", b"new") and cache.load("objects", "k") == b"new"


@pytest.mark.parametrize("size", [0, 1, 40, PAGE - 1, PAGE, PAGE + 9, PAGE + 11])
def test_wrong_length_is_noticed(cache, caplog, size):
    cache.store("objects", "k", b"some bytes")
    (path,) = cache.folder.rglob("k.lumen")
    path.write_bytes(path.read_bytes().ljust(size, b"\0")[:size])
    assert cache.load_mapped("objects", "k", verify=False) is None and not path.exists()
    assert "damaged" in caplog.text


def test_an_entry_under_another_name_is_refused(cache):
    cache.store("objects", "a", b"x")
    os.rename(cache.folder / "objects/a.lumen", cache.folder / "objects/b.lumen")
    assert cache.load("objects", "b") is None and files(cache) == []


def test_a_directory_in_the_place_of_an_entry(cache, caplog):
    (cache.folder / "objects" / "k.lumen").mkdir(parents=True)
    assert cache.load("objects", "k") is None
    assert not cache.store("objects", "k", b"x")
    assert "k.lumen" in caplog.text
    assert [name for name in files(cache) if name.endswith(".tmp")] == []


def test_folder_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.load("objects", "k") is None
    assert not cache.store("objects", "k", b"x") and not cache.store("objects", "l", b"x")
    with cache.create("packed", "w", 100) as entry:
        assert not entry.persistent
        entry.write(0, np.full(100, 7, np.uint8))
        payload = entry.commit()
    assert payload.tolist() == [7] * 100
    assert cache.entries() == [] and cache.clear() == (0, 0)
    warnings = [record for record in caplog.records if "file/cache cannot be" in record.message]
    assert len(warnings) == 1 and "\n" not in warnings[0].message


def test_read_only_folder(cache, caplog):
    cache.store("objects", "k", b"x")
    for kind in KINDS:
        (cache.folder / kind).mkdir(exist_ok=True)
        os.chmod(cache.folder / kind, 0o500)
    try:
        if os.access(cache.folder / "objects", os.W_OK):
            pytest.skip("this user writes every folder")
        assert cache.load("objects", "k") == b"x"
        assert not cache.store("objects", "l", b"x")
        assert "cannot be written (Permission denied)" in caplog.text
    finally:
        for kind in KINDS:
            os.chmod(cache.folder / kind, 0o700)


def test_full_disk(cache, monkeypatch, caplog):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_file.os, "posix_fallocate", full)
    with pytest.raises(CacheError, match=r"5096 bytes: No space left on device"):
        cache.create("packed", "w", 1000)
    assert files(cache) == []
    assert not cache.store("objects", "k", b"x") and "No space left" in caplog.text


def test_file_system_without_reservation(cache, monkeypatch):
    def unsupported(descriptor, offset, length):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(atomic_file.os, "posix_fallocate", unsupported)
    assert cache.store("objects", "k", b"x") and cache.load("objects", "k") == b"x"


def test_least_recently_used_go_first(tmp_path):
    cache = Cache(tmp_path, limit=3 * (PAGE + 1000))
    for index, key in enumerate("abc"):
        cache.store("objects", key, bytes(1000))
        os.utime(tmp_path / "objects" / f"{key}.lumen", (index, index))
    assert [entry.key for entry in cache.entries()] == ["c", "b", "a"]
    cache.load("objects", "a")
    cache.store("packed", "d", bytes(1000))
    assert {entry.key for entry in cache.entries()} == {"a", "c", "d"}
    assert sum(entry.size for entry in cache.entries()) <= cache.limit


def test_over_the_limit_or_turned_off(tmp_path, caplog):
    cache = Cache(tmp_path, limit=5000)
    cache.store("objects", "a", b"x")
    assert not cache.store("objects", "b", bytes(5000)) and "limit of 5000" in caplog.text
    assert [entry.key for entry in cache.entries()] == ["a"]
    off = Cache(tmp_path / "off", limit=0)
    assert not off.store("objects", "a", b"x") and not (tmp_path / "off").exists()


def test_clear(cache):
    for kind in KINDS:
        cache.store(kind, "k", bytes(100))
    assert cache.clear() == (len(KINDS), len(KINDS) * (PAGE + 100))
    assert cache.entries() == [] and files(cache) == []


def test_what_a_killed_process_left_is_swept(cache):
    script = (
        "import os, sys; from lumen_mlir.storage.cache import Cache\n"
        "entry = Cache(sys.argv[1]).create('packed', 'w', 100); os._exit(9)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(cache.folder)], env=environment, check=False)
    assert len(files(cache)) == 1 and files(cache)[0].endswith(".tmp")
    with Cache(cache.folder).create("packed", "v", 100) as living:
        assert len(files(cache)) == 1
        assert cache.store("objects", "k", b"x"), "sweeps, but not what is being written"
        assert len(files(cache)) == 2
        living.commit()
    assert files(cache) == ["k.lumen", "v.lumen"]


def test_a_commit_that_fails_leaves_nothing(cache, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(module.os, "replace", refuse)
    with pytest.raises(CacheError, match="cross-device"), cache.create("packed", "w", 10) as entry:
        entry.commit()
    assert files(cache) == []


# --- who may have written what ------------------------------------------------------------------------------

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
NOBODY = 65534


def entry_path(cache):
    (path,) = cache.folder.rglob("k.lumen")
    return path


def test_folders_are_closed_to_others(tmp_path):
    old = os.umask(0)
    try:
        cache = Cache(tmp_path / "a/cache")
        cache.store("objects", "k", b"x")
    finally:
        os.umask(old)
    modes = [path.stat().st_mode & 0o777 for path in (cache.folder, cache.folder / "objects")]
    assert modes == [0o700, 0o700] and entry_path(cache).stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("kind", ["objects", "packed", "tokenizers"])
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_an_entry_that_others_may_write_is_not_used(cache, caplog, kind, mode):
    cache.store(kind, "k", b"x")
    entry_path(cache).chmod(mode)
    assert cache.load_mapped(kind, "k") is None and files(cache) == []
    assert f"k.lumen is not used (others may write to it (mode {mode:o}))" in caplog.text
    assert cache.store(kind, "k", b"new") and cache.load(kind, "k") == b"new"


@ROOT
def test_an_entry_of_somebody_else_is_not_used(cache, caplog):
    cache.store("objects", "k", b"x")
    os.chown(entry_path(cache), NOBODY, NOBODY)
    assert cache.load("objects", "k") is None
    assert "is not used (it belongs to user 65534, not to 0)" in caplog.text


@pytest.mark.parametrize("what", ["link", "pipe", "link to nothing"])
def test_what_is_no_file_is_not_used(cache, what):
    cache.store("objects", "k", b"x")
    path = entry_path(cache)
    if what == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.rename(cache.folder / "there")
        path.symlink_to(cache.folder / ("there" if what == "link" else "none"))
    assert cache.load("objects", "k") is None
    assert cache.store("objects", "k", b"new") and cache.load("objects", "k") == b"new"
    assert path.is_file() and not path.is_symlink()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_not_used(cache, caplog, mode):
    cache.store("objects", "k", b"x")
    cache.folder.chmod(mode)
    assert cache.load("objects", "k") is None and cache.load("objects", "k") is None
    assert not cache.store("objects", "k", b"y") and cache.file("models", "k") is None
    with cache.create("packed", "k", 10) as entry:
        assert not entry.persistent
    warned = [record.message for record in caplog.records]
    assert warned == [f"cache folder {cache.folder} is not used: others may write to it (mode {mode:o})"]
    cache.folder.chmod(0o755)
    assert cache.load("objects", "k") == b"x"


def test_a_sticky_folder_is_shared(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    cache = Cache(folder)
    assert cache.store("objects", "k", b"x") and cache.load("objects", "k") == b"x"
    assert (folder / "objects").stat().st_mode & 0o777 == 0o700


def test_open_folders_of_ones_own_are_closed(tmp_path, monkeypatch):
    """As an umask of 002 leaves them: what others have added is not theirs to be trusted, but the rest is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LUMEN_CACHE_DIR", raising=False)
    for path in (tmp_path / "lumen-mlir", tmp_path / "lumen-mlir/objects"):
        path.mkdir()
        path.chmod(0o775)
    cache = Cache()
    assert cache.store("objects", "k", b"x") and cache.load("objects", "k") == b"x"
    assert cache.folder.stat().st_mode & 0o777 == 0o755


@ROOT
@pytest.mark.parametrize("which", [".", "objects"])
def test_a_folder_of_somebody_else_is_not_used(cache, caplog, which):
    cache.store("objects", "k", b"x")
    os.chown(cache.folder / which, NOBODY, NOBODY)
    assert cache.load("objects", "k") is None and not cache.store("objects", "k", b"x")
    assert "is not used: it belongs to user 65534, not to 0" in caplog.text


@ROOT
def test_what_root_has_written_is_used(cache):
    cache.store("objects", "k", b"x")
    inside = [path for path in cache.folder.parents if path.is_relative_to(tempfile.gettempdir())]
    for path in (cache.folder, *inside[:-1], cache.folder / "objects"):
        path.chmod(path.stat().st_mode | 0o755)
    script = (
        "import os, sys; from lumen_mlir.storage.cache import Cache\n"
        "cache = Cache(sys.argv[1], 10**9); os.seteuid(65534)\n"
        "assert cache.load('objects', 'k') == b'x'; assert not cache.store('objects', 'k', b'y')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(cache.folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "cannot be written" in done.stderr, done.stderr


@pytest.mark.parametrize("home", ["", None])
def test_without_a_home(tmp_path, monkeypatch, caplog, home):
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a user without an entry
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("lumen_mlir.storage.cache._tell_homeless", lambda: None)
    for name in ("HOME", "XDG_CACHE_HOME", "LUMEN_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    cache = Cache()
    assert cache.folder == tmp_path / f"lumen-mlir-{os.geteuid()}"
    assert cache.store("objects", "k", b"x") and cache.folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache().folder == tmp_path / "xdg/lumen-mlir"


# --- the names of models ------------------------------------------------------------------------------------


def labels(cache: Cache) -> dict[str, str]:
    return {entry.key: entry.label for entry in cache.entries()}


def test_labels(cache):
    cache.store("objects", "plain", b"x")
    named = cache.labelled("모델.gguf (qwen2 1.00B Q8_0)")
    named.store("objects", "named", b"x")
    with named.create("packed", "created", 5) as entry:
        entry.write(0, np.arange(5, dtype=np.uint8))
        entry.commit()
    named.labelled("가" * 1000).store("objects", "long", b"x")
    found = labels(cache)
    assert found["plain"] == "" and found["named"] == found["created"] == "모델.gguf (qwen2 1.00B Q8_0)"
    assert 300 < len(found["long"]) < 400 and set(found["long"][:-1]) == {"가"}
    # It is the same cache, and the names do not matter to it.
    assert cache.load("objects", "named") == named.load("objects", "plain") == b"x"
    assert cache.load_mapped("packed", "created").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("place", [64, 66, 70, 90])
def test_damaged_labels_are_passed_over(cache, place):
    cache.labelled("model.gguf").store("objects", "k", b"hello")
    path = cache.entries()[0].path
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)
    assert labels(cache) == {"k": ""} and cache.load("objects", "k") == b"hello"


def test_labels_of_what_is_no_entry(cache):
    cache.store("objects", "k", b"x")
    path = cache.entries()[0].path
    path.write_bytes(b"LUMENC02")
    assert labels(cache) == {"k": ""}
    path.unlink()
    os.mkfifo(path)
    assert labels(cache) == {"k": ""}
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert labels(cache) == {"k": ""}
