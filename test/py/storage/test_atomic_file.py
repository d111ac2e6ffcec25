# SPDX-License-Identifier: Apache-2.0
"""What results are written to: files, links, devices, pipes; and what is refused."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from lumen_mlir.storage.atomic_file import replacing


def write(path, data=b"new"):
    with replacing(path, len(data)) as file:
        file.write(data)


def test_new_and_old_files(tmp_path):
    path = tmp_path / "out"
    write(path)
    plain = tmp_path / "plain"
    plain.touch()
    assert path.read_bytes() == b"new" and path.stat().st_mode == plain.stat().st_mode
    plain.unlink()
    path.chmod(0o640)
    write(path, b"newer")
    assert path.read_bytes() == b"newer" and path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"newer" and os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_is_kept(tmp_path):
    path = tmp_path / "out"
    path.touch()
    os.chown(path, 12345, 12346)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("there", [True, False])
def test_links_stay(tmp_path, there):
    (tmp_path / "data").mkdir()
    target = tmp_path / "data/target"
    if there:
        target.touch()
    (tmp_path / "inner").symlink_to("data/target")
    (tmp_path / "outer").symlink_to(tmp_path / "inner")
    write(tmp_path / "outer")
    assert target.read_bytes() == b"new" and not target.is_symlink()
    assert (tmp_path / "outer").is_symlink() and (tmp_path / "inner").is_symlink()
    assert os.listdir(tmp_path / "data") == ["target"]


def test_long_names(tmp_path):
    for name in ("x" * 255, "가" * 85):
        write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"


def test_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write(path, bytes(300_000))
    reader.join(10)
    assert read == [bytes(300_000)] and path.is_fifo()


def test_descriptors_go_on_where_they_are(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        file.write(b"before ")
        file.flush()
        write(f"/proc/self/fd/{file.fileno()}")
        os.symlink(f"/dev/fd/{file.fileno()}", tmp_path / "link")
        write(tmp_path / "link", b" newer")
        os.write(file.fileno(), b" after")
    assert (tmp_path / "log").read_bytes() == b"before new newer after"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_stay(tmp_path):
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))
        path.read_bytes()
    except OSError:
        pytest.skip("devices cannot be made here")
    write(path)
    assert path.is_char_device()


def test_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("none/file")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        server.bind("socket")
    expected = {
        ".": errno.EISDIR,
        "socket": errno.ENXIO,
        "loop": errno.ELOOP,
        "nowhere": errno.ENOENT,
        "none/file": errno.ENOENT,
        "/dev/full": errno.ENOSPC,
        "/proc/self/fd/999": errno.EBADF,
    }
    for name, code in expected.items():
        with pytest.raises(OSError) as caught:
            write(os.path.join(tmp_path, name))
        assert caught.value.errno == code, name
    assert sorted(os.listdir(tmp_path)) == ["loop", "nowhere", "socket"]
