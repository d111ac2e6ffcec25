# SPDX-License-Identifier: Apache-2.0
"""What the tests stand on: a cache of compiled code, how they are shared out, and a home of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import code_cache
import pytest
import run_in_parallel
from mutation.faults import FAULTS, FOLDERS, SUFFIXES

from lumen_mlir import ir
from lumen_mlir.compiler import driver, targets

MODULE = "llvm.func @f(%x: i64) -> i64 {{ llvm.return %x : i64 }} llvm.func @{name}()"


@pytest.fixture
def generated(monkeypatch, tmp_path):
    """The modules that reached LLVM."""
    seen = []
    monkeypatch.setattr(code_cache, "FOLDER", tmp_path)
    monkeypatch.setattr(code_cache, "_generate", lambda *given: seen.append(given) or os.urandom(8))
    return seen


def test_llvm_works_once_on_each_content(generated):
    target, other = targets.get("x86-64-v3"), targets.get("x86-64-v2")
    with ir.Context():
        same, again, different = (ir.Module.parse(MODULE.format(name=name)) for name in "ggh")
        code = code_cache.generate(same, "obj", target, 3)
        assert code_cache.generate(again, "obj", target, 3) == code and len(generated) == 1
        for given in ((different, "obj", target, 3), (same, "asm", target, 3), (same, "obj", other, 3)):
            assert code_cache.generate(*given) != code
        assert code_cache.generate(same, "obj", target, 2) != code and len(generated) == 5


def test_code_of_another_llvm_is_not_taken():
    line = "7f00-7f01 r-xp 00000000 fe:00 123      {}\n"
    libraries = ["/usr/lib/libLLVM.so.22.1", "/usr/lib/libMLIR.so.22.1"]
    extension = "/home/my user/lumen_mlir/_mlir.{}.so"
    others = line.format("[heap]") + line.format("/usr/lib/libc.so.6") + 2 * line.format("/x/lib_mlir.so")
    built = [*libraries, extension.format("cpython-311-x86_64-linux-gnu")]
    maps = others + "".join(map(line.format, built))
    assert code_cache.libraries_with_llvm(maps) == libraries
    wheel = extension.format("abi3")
    assert code_cache.libraries_with_llvm(others + 3 * line.format(wheel)) == [wheel]
    assert code_cache.libraries_with_llvm(Path("/proc/self/maps").read_text())


def test_all_code_comes_from_the_cache():
    assert driver.generate_code is code_cache.generate


def test_what_is_old_or_unfinished_goes(generated, tmp_path, monkeypatch):
    monkeypatch.setattr(code_cache, "LIMIT", 25)
    for age, name in enumerate(("newest", "older", "oldest", "new-unfinished")):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (100 - age, 100 - age))
    code_cache.trim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "older"]


def test_objects_are_compiled_once(tmp_path):
    """By what is compiled, wherever it lies; with warnings, each time."""
    compiler, calls, kept = tmp_path / "compiler", tmp_path / "calls", tmp_path / "kept"
    compiler.write_text(
        f"#!/bin/sh\necho x >> {calls}\n"
        'for last; do :; done\ngrep -q odd "$last" && echo "warning: odd" >&2\ncat "$last" > "$3"\n'
    )
    compiler.chmod(0o755)

    def build(folder: str, *options: str, expected: str) -> int:
        """Compiles the source in a folder; how often the compiler has run."""
        source, output = tmp_path / folder / "runtime/embed/A.cpp", tmp_path / folder / "a.o"
        output.unlink(missing_ok=True)
        script = Path(code_cache.__file__).with_name("compile_once.py")
        command = [sys.executable, "-S", "-E", script, kept, compiler, f"-I{tmp_path / folder}", "-o", output]
        command += [*options, "-MF", tmp_path / "a.d", "-c", source]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0 and output.read_text() == expected
        assert ("warning" in done.stderr) == ("odd" in expected)
        return len(calls.read_text().split())

    for folder in ("one", "two"):
        (tmp_path / folder / "runtime/embed").mkdir(parents=True)
        (tmp_path / folder / "runtime/embed/A.cpp").write_text("int a;")
        (tmp_path / folder / "runtime/b.h").write_text("b")
    assert build("one", expected="int a;") == build("one", expected="int a;") == 1
    assert build("two", expected="int a;") == 1
    assert str(tmp_path / "two/runtime/b.h") in (tmp_path / "a.d").read_text()
    assert build("two", "-O1", expected="int a;") == 2
    (tmp_path / "two/runtime/b.h").write_text("c")
    assert build("two", expected="int a;") == 3
    (tmp_path / "two/runtime/b.h").unlink()
    assert build("two", expected="int a;") == 4
    (tmp_path / "one/runtime/embed/A.cpp").write_text("int odd;")
    assert build("one", expected="int odd;") == 5 and build("one", expected="int odd;") == 6
    os.utime(compiler, (1, 1))
    (tmp_path / "one/runtime/embed/A.cpp").write_text("int a;")
    assert build("one", expected="int a;") == 7


def test_files_stay_together_and_targets_apart():
    scope = run_in_parallel.scope
    assert scope("test/py/run/test_stepper.py::test_a") == scope(
        "test/py/run/test_stepper.py::test_b[x86-64-v3]"
    )
    kernels = "test/py/formats/test_kernels.py::test_pack[q4_0-{}]"
    assert scope(kernels.format("generic")) != scope(kernels.format("x86-64-v2"))
    assert scope(kernels.format("x86-64-v2")) == scope(kernels.format("x86-64-v2").replace("pack", "sums"))
    files = {
        path.relative_to(Path(__file__).parent).with_suffix("")
        for path in Path(__file__).parent.rglob("*.py")
    }
    assert set(map(Path, run_in_parallel.SLOW_FIRST)) <= files


def test_the_home_folder_is_not_the_users():
    import pwd

    assert not Path.home().samefile(pwd.getpwuid(os.geteuid()).pw_dir)
    assert not any(Path.home().iterdir())


WRITES = """
from pathlib import Path

def test_it():
    (Path.home() / "file").touch()
"""


def test_what_is_written_at_home_is_told(tmp_path):
    (tmp_path / "conftest.py").write_text("from own_home import *")
    (tmp_path / "test_it.py").write_text(WRITES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "1 passed, 1 error" in done.stdout and "written into the user's home folder: file" in done.stdout


INTERRUPTED = """
import signal, subprocess, sys
from own_signals import hear_interrupts

assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
hear_interrupts()
child = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"]
assert subprocess.run(child, stderr=subprocess.DEVNULL).returncode == -signal.SIGINT
signal.raise_signal(signal.SIGINT)
"""


def test_interrupts_are_heard_in_the_background():
    # As a shell without job control starts what ends in "&".
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN), timeout=60,
    )  # fmt: skip
    assert "KeyboardInterrupt" in done.stderr and "AssertionError" not in done.stderr


def test_faults_have_names_and_tests():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 24
    known = {path.name for path in Path(__file__).parent.rglob("test_*.py")}
    assert all(fault.old != fault.new for fault in FAULTS)
    assert {test for fault in FAULTS for test in fault.tests if test.endswith(".py")} <= known


def test_faults_have_one_place_each():
    root = Path(__file__).parents[2]
    sources = [
        (path.suffix, path.read_text())
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.suffix in SUFFIXES
    ]
    places = {fault.name: sum(len(fault.places(*source)) for source in sources) for fault in FAULTS}
    assert {name: count for name, count in places.items() if count != 1} == {}
