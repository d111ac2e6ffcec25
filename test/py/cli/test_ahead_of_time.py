# SPDX-License-Identifier: Apache-2.0
"""``lumen compile`` makes libraries for this machine and others."""

import errno
import os
import re
import subprocess

import pytest

from lumen_mlir.aot import weight_file
from lumen_mlir.compiler import linking, targets

# The least that machines of another architecture run.
_ARM = [target.name for target in targets.TARGETS if target.architecture == "aarch64"][-1]


def symbols(path) -> set[str]:
    """What a library or object file defines for others."""
    dynamic = ["-D"] if path.suffix == ".so" else []
    done = subprocess.run(
        ["nm", "--defined-only", "-g", *dynamic, path], capture_output=True, text=True, check=True
    )
    return {line.split()[-1] for line in done.stdout.splitlines()}


def machine(path) -> str:
    """What ELF says of the architecture, and of the kind of file."""
    data = path.read_bytes()
    return {0x3E: "x86_64", 0xB7: "aarch64"}[data[18]], {1: "object", 3: "shared"}[data[16]]


@pytest.mark.parametrize("target, architecture", [("native", "x86_64"), (_ARM, "aarch64")])
@pytest.mark.parametrize("name, kind", [("model.so", "shared"), ("model.o", "object")])
def test_libraries(lumen, tmp_path, target, architecture, name, kind):
    path = tmp_path / name
    result = lumen("compile", "--target", target, "-o", path)
    assert result.returncode == 0 and result.stdout == ""
    assert re.fullmatch(rf"lumen: {re.escape(str(path))} for target \S+\n", result.stderr)
    assert machine(path) == (architecture, kind)
    own = {"lumen_code_text", "lumen_entry_step", "lumen_arena_size_step"}
    found = symbols(path)
    assert own < found and any(each.startswith("lumen_entry_pack_q8_0_") for each in found)
    if kind == "shared":
        assert all(re.match("lumen_(code_text|entry|arena_size)", each) for each in found)
    assert os.listdir(tmp_path) == [name]


def test_a_folder(lumen, tmp_path):
    """A folder that is there, or a path that ends as one."""
    for path in (f"{tmp_path}", f"{tmp_path}/new/folder/"):
        assert lumen("compile", "-o", path, "-q").stderr == ""
        folder = tmp_path / path
        assert {"model.so", "model.h"} <= set(os.listdir(folder))
        assert "#define LUMEN_VOCABULARY 8192" in (folder / "model.h").read_text()


def test_a_header_beside_it(lumen, tmp_path):
    result = lumen("compile", "-o", tmp_path / "a.b.so", "--header")
    assert result.stderr.startswith(f"lumen: {tmp_path}/a.b.so and {tmp_path}/a.b.h for target ")
    assert "#ifndef LUMEN_A_B_H" in (tmp_path / "a.b.h").read_text()


def test_another_prefix(lumen, tmp_path):
    result = lumen("compile", "-o", tmp_path / "a.so", "--header", "--prefix", "korean")
    assert result.returncode == 0
    assert {"korean_code_text", "korean_entry_step", "korean_arena_size_step"} < symbols(tmp_path / "a.so")
    assert all(each.startswith("korean_") for each in symbols(tmp_path / "a.so"))
    text = (tmp_path / "a.h").read_text()
    assert "#ifndef KORE" in text and "#define KOREAN_VOCABULARY 8192" in text
    # What is left are names of the runtime library.
    left = set(re.findall(r"\blumen_\w+|\bLUMEN_\w+", text))
    assert left == {
        "lumen_barrier", "lumen_claim", "lumen_code", "lumen_open", "lumen_options", "lumen_team_run",
        "lumen_worker", "LUMEN_H",
    }  # fmt: skip


def test_forms_are_as_they_were(lumen, tmp_path):
    """``--emit`` writes a form whatever the name, and other names are forms."""
    assert lumen("compile", "--emit", "fused", "-o", tmp_path / "x.so").returncode == 0
    assert (tmp_path / "x.so").read_text().startswith("module")
    assert lumen("compile", "-o", tmp_path / "x.mlir").returncode == 0
    assert (tmp_path / "x.mlir").read_text().startswith("module")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--header"], "--header is for a library"),
        (["--header", "--emit", "obj", "-o", "x.so"], "--header is for a library"),
        (["--header", "-o", "x.mlir"], "--header is for a library"),
        (["--prefix", "x"], "--prefix is for a library"),
        (["--prefix", "3d", "-o", "x.so"], "the prefix is '3d'; letters, digits and _ were expected"),
        (["--prefix", "", "-o", "x.so"], "the prefix is ''; letters"),
        (["-o", "x.so", "--function", "step"], "--function cannot be used with a library"),
        (["missing.gguf", "-o", "x.so"], "missing.gguf"),
        (["x.mlir", "-o", "x.so"], "x.mlir: is a module; libraries and bundles are made of models"),
        (["-o", "missing/x.so"], "missing/x.so: cannot be written: No such file or directory"),
        (["-o", "file/"], "file: the folder cannot be made: File exists"),
        (["--target", "other", "-o", "x.so"], "unknown target"),
    ],
)
def test_what_cannot_be(lumen, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = lumen("compile", *arguments)
    assert result.returncode != 0 and message in result.stderr
    assert result.stderr.count("\n") == 1 and os.listdir(tmp_path) == ["file"]


def test_without_a_linker(lumen, tmp_path, monkeypatch):
    """The message names what to install, before any work is done."""
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    result = lumen("compile", "--target", _ARM, "-o", tmp_path / "x.so")
    expected = (
        "no linker for aarch64 was found: install binutils-aarch64-linux-gnu or lld-22 (Debian's names)"
    )
    assert result.returncode == 1 and result.stderr == f"lumen: error: {expected}\n"


def test_a_linker_that_fails(lumen, tmp_path, monkeypatch):
    linker = tmp_path / "ld"
    linker.write_text("#!/bin/sh\necho no space left >&2; exit 1\n")
    linker.chmod(0o755)
    monkeypatch.setattr(linking.shutil, "which", lambda name: str(linker))
    result = lumen("compile", "-o", tmp_path / "x.so")
    assert result.returncode == 1 and result.stderr == f"lumen: error: {linker} failed: no space left\n"


def test_a_bundle(lumen, tmp_path, monkeypatch):
    """A folder that appears whole, and replaces an older one only."""
    monkeypatch.chdir(tmp_path)
    result = lumen("compile", "--bundle", "out")
    assert result.returncode == 0 and result.stdout == ""
    assert re.match(r"lumen: out: [\d.]+ MB for target \S+\nlumen: to build it: cmake -S out ", result.stderr)
    assert os.listdir(tmp_path) == ["out"]
    names = ["CMakeLists.txt", "README.md", "code", "model.h", "runtime", "tokenizer.bin", "toolchain.cmake"]
    assert sorted(os.listdir("out")) == [*names, "weights.lumen"]
    text = "".join((tmp_path / "out" / name).read_text() for name in ("CMakeLists.txt", "README.md"))
    assert "Lumen Korean comments 7M" in text and not re.findall(r"@\w+@", text)
    # What other programs than those of bundles need stays away.
    sources = {path.name for path in (tmp_path / "out" / "runtime").rglob("*") if path.is_file()}
    assert {"ThreadTeam.cpp", "lumen.h", "lumen_tokenizer.h"} < sources
    assert not {"HalfConversion.cpp", "Runner.cpp", "CodeGen.cpp", "OldLibraryC.c"} & sources

    weights = (tmp_path / "out" / "weights.lumen").read_bytes()
    (tmp_path / "out" / "build").mkdir()
    assert lumen("compile", "--bundle", "out/", "--kv-type", "q8_0", "-q").stderr == ""
    assert (tmp_path / "out" / "weights.lumen").read_bytes() != weights
    assert os.listdir(tmp_path) == ["out"] and not (tmp_path / "out" / "build").exists()
    (tmp_path / "out" / "notes.txt").touch()
    result = lumen("compile", "--bundle", "out")
    assert result.returncode == 1 and "has more in it than a bundle: 'notes.txt'" in result.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--bundle", "out", "--emit", "asm"], "--emit cannot be used with --bundle"),
        (["--bundle", "out", "-o", "x.so"], "--output cannot be used with --bundle"),
        (["--bundle", "out", "--header"], "--header cannot be used with --bundle"),
        (["--bundle", "out", "--prefix", "x"], "--prefix cannot be used with --bundle"),
        (["--bundle", "file"], "file: is there and is not a folder"),
        (["--bundle", "full"], "full: is there and is not a bundle; name another folder"),
        (["--bundle", "file/out"], "file/out: cannot be written: "),
        (["x.mlir", "--bundle", "out"], "x.mlir: is a module"),
        (["missing.gguf", "--bundle", "out"], "missing.gguf"),
        (["--bundle", "out", "--chunk", "0"], "chunk is 0"),
    ],
)
def test_what_is_no_bundle(lumen, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "full" / "more").mkdir(parents=True)
    result = lumen("compile", *arguments)
    assert result.returncode != 0 and message in result.stderr and result.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "full"]


def test_a_full_disk(lumen, tmp_path, monkeypatch):
    """Leaves nothing, and says so in one line."""

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert lumen("compile", "--bundle", tmp_path / "first").returncode == 0  # Fills the cache.
    monkeypatch.setattr(os, "posix_fallocate", full)
    result = lumen("compile", "--bundle", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr == f"lumen: error: {tmp_path}/out: cannot be written: No space left on device\n"
    assert os.listdir(tmp_path) == ["first"]


def test_an_interrupt(lumen, tmp_path, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(weight_file, "_write_packed", interrupted)
    assert lumen("compile", "--bundle", tmp_path / "out").returncode == 130
    assert os.listdir(tmp_path) == []
