# SPDX-License-Identifier: Apache-2.0
"""What builds wheels: their list of contents, and the checks of a wheel."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from lumen_mlir.data import embedded_model_path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools" / "wheels"
ARCHIVES = [Path(f"/usr/lib/llvm-22/lib/lib{name}.a") for name in ("MLIRIR", "LLVMCore")]


def load(name):
    spec = importlib.util.spec_from_file_location(f"wheels_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_metadata_names_all_licences():
    metadata = importlib.metadata.metadata("lumen-mlir")
    files = metadata.get_all("License-File")
    assert "LICENSE" in files
    assert {f"licences/{path.name}" for path in (ROOT / "licences").iterdir()} <= set(files)
    for _, licence, text in load("sbom").ARCHIVES.values():
        assert (ROOT / "licences" / text).exists()
        # The exception of the C++ library lets programs have any licence.
        assert "GCC-exception" in licence or licence in metadata["License-Expression"]


def bill(tmp_path, archives):
    (tmp_path / "archives").write_text("".join(f"{path}\n" for path in archives))
    options = [
        "--archives",
        tmp_path / "archives",
        "--model",
        embedded_model_path(),
        "--version",
        "1.2.3",
        "--time",
        "1700000000",
    ]
    command = [sys.executable, TOOLS / "sbom.py", tmp_path / "bill.json", *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(not all(path.exists() for path in ARCHIVES), reason="needs MLIR's archives")
def test_list_of_contents(tmp_path):
    pytest.importorskip("nanobind")
    assert bill(tmp_path, ARCHIVES).returncode == 0
    text = (tmp_path / "bill.json").read_text()
    document = json.loads(text)
    assert document["bomFormat"] == "CycloneDX" and document["specVersion"] == "1.6"
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    components = {entry["name"]: entry for entry in document["components"]}
    page = json.loads((ROOT / "web" / "package.json").read_text())["dependencies"]
    others = {"LLVM", "MLIR", "llama.cpp", "lumen-ko-comments-7m", "nanobind", "robin-map"}
    assert set(components) == {*others, *page}
    for name, version in page.items():
        assert components[name]["version"] == version
    assert components["MLIR"]["version"] in components["MLIR"]["purl"]
    assert "22.1" in components["MLIR"]["version"]
    assert components["LLVM"]["licenses"] == [{"expression": "Apache-2.0 WITH LLVM-exception"}]
    assert all(entry["licenses"] for entry in components.values())
    bill(tmp_path, ARCHIVES[::-1])
    assert (tmp_path / "bill.json").read_text() == text, "the order of the archives shows"


@pytest.mark.skipif(not Path("/usr/bin/dpkg-query").exists(), reason="needs Debian's package manager")
def test_unknown_licence_ends_the_build(tmp_path):
    pytest.importorskip("nanobind")
    done = bill(tmp_path, [Path("/usr/bin/dpkg-query")])
    assert done.returncode == 1
    assert done.stderr == "sbom.py: the package dpkg is linked, but its licence is not listed here\n"


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_checks_of_a_wheel(tmp_path):
    path = tmp_path / "lumen_mlir-1.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lumen_mlir-1.0.dist-info/METADATA", "")
        archive.writestr("lumen_mlir-1.0.dist-info/licenses/LICENSE", "")
        archive.writestr("lumen_mlir/code.cpp", "")
        archive.writestr("lumen_mlir/runtime/ThreadTeam.cpp", "")
        archive.writestr("lumen_mlir/_mlir.so", Path(sys.executable).resolve().read_bytes())
        archive.writestr("lumen_mlir.libs/libLLVM.so.22", Path(sys.executable).resolve().read_bytes())
    found = load("build").problems(path)
    for problem in (
        "its platform is linux_x86_64",
        "the licence llvm.txt is missing",
        "it has no list of its contents",
        "it has 2 libraries: lumen_mlir/_mlir.so, lumen_mlir.libs/libLLVM.so.22",
        "it has lumen_mlir/code.cpp",
    ):
        assert problem in found
    assert not [problem for problem in found if "LICENSE" in problem or "ThreadTeam" in problem]
    assert any(problem.startswith("it shows ") for problem in found), "the symbols of a library"


def test_which_wheel_is_for_which_python(tmp_path):
    tags = ("cp310-cp310", "cp312-abi3")
    wheels = [tmp_path / f"lumen_mlir-1.0-{tag}-manylinux_2_34_x86_64.whl" for tag in tags]
    wheel_for = load("test").wheel_for
    assert wheel_for((3, 10), wheels) == wheels[0]
    assert wheel_for((3, 12), wheels) == wheel_for((3, 14), wheels) == wheels[1]
    assert wheel_for((3, 11), wheels) is None


def test_which_machine_a_wheel_is_for(tmp_path):
    tool = load("test")
    start = "lumen_mlir-1.0-cp312-abi3"
    assert tool.machine_of(tmp_path / f"{start}-manylinux_2_34_x86_64.whl") == "x86_64"
    assert tool.machine_of(tmp_path / f"{start}-manylinux_2_34_aarch64.whl") == "aarch64"
    assert tool.machine_of(tmp_path / f"{start}-linux_aarch64.whl") == "aarch64"
    for other in ("manylinux_2_34_riscv64", "macosx_11_0_arm64", "any"):
        with pytest.raises(SystemExit, match=f"{other}.whl is for no machine that is known here"):
            tool.machine_of(tmp_path / f"{start}-{other}.whl")


@pytest.mark.parametrize(
    ("entry", "runs"),
    [
        ("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n", True),
        ("disabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n", False),
        # qemu would have to be in the system.
        ("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OC\noffset 0\n", False),
        (None, False),
    ],
    ids=["fixed", "off", "not fixed", "no qemu"],
)
def test_programs_of_other_machines(tmp_path, monkeypatch, capsys, entry, runs):
    tool = load("test")
    monkeypatch.setattr(tool, "FORMATS", tmp_path)
    monkeypatch.setattr(tool, "HERE", "x86_64")
    if entry is not None:
        (tmp_path / "qemu-aarch64").write_text(entry)
    assert tool.runs("x86_64")
    assert tool.runs("aarch64") == runs
    if not runs:
        wheel = tmp_path / "lumen_mlir-1.0-cp312-abi3-manylinux_2_34_aarch64.whl"
        assert tool.test_emulated("aarch64", [wheel], ["trixie"]) == [False]
        assert capsys.readouterr().out == (
            f"{wheel.name}: FAILED: programs for aarch64 do not run on this machine "
            "(apt-get install qemu-user-static binfmt-support)\n"
        )


MODULE = b"func.func @f(%x: i32) -> i32 {\n  %y = arith.addi %x, %x : i32\n  return %y : i32\n}\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--canonicalize"], MODULE),
        ([], MODULE.replace(b"addi", b"no_such")),
        (["--no-such-option"], MODULE),
        (["--show-dialects"], b""),
        ([b"no-such-file-\xff.mlir"], b""),
        (["--canonicalize", "-o", "/no-such-folder/out"], MODULE),
    ],
    ids=["result", "diagnostic", "option", "dialects", "file", "output"],
)
def test_script_does_what_the_program_does(lumen_opt, options, text):
    """``lumen-opt`` of a wheel is a script: it says the same, and ends with the same code."""
    native, script = (
        subprocess.run([*command, *options], input=text, capture_output=True)
        for command in ([lumen_opt], [sys.executable, ROOT / "tools" / "lumen-opt" / "lumen-opt.py"])
    )
    assert (script.returncode, script.stdout) == (native.returncode, native.stdout)
    # Messages begin with the name of the program.
    names = (Path(lumen_opt).name.encode(), b"lumen-opt.py")
    assert script.stderr.replace(names[1], names[0]).count(b"\n") == native.stderr.count(b"\n")
    assert b"Traceback" not in script.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "end"])
def test_script_ends_by_signals(number):
    """As a program does, at once and without a word."""
    command = [sys.executable, ROOT / "tools" / "lumen-opt" / "lumen-opt.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        # It waits for its input.
        process.stdin.write(b"//")
        process.stdin.flush()
        while not Path(f"/proc/{process.pid}/task").exists() or not is_reading(process.pid):
            time.sleep(0.01)
        process.send_signal(number)
        assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == -number


def is_reading(pid: int) -> bool:
    """Whether the compiler's thread has started, which reads the input."""
    return len(os.listdir(f"/proc/{pid}/task")) > 1
