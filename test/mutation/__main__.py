# SPDX-License-Identifier: Apache-2.0
"""Puts faults into a copy of Lumen, one at a time, and says which of them the tests catch.

    PYTHONPATH=test python -m mutation [FAULT …] [--source FOLDER] [--extension FILE] [--all]

The copy (``build/mutation``) has its own build, made the first time; faults in Python need only the
extension that ``--extension`` names. A fault counts as caught by the first test that fails: those that are
likely to see it run first, and all of them behind, if these pass (``--likely``: not). Without FAULT all are
tried.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mutation.faults import FAULTS, FOLDERS, SUFFIXES, Fault

ROOT = Path(__file__).resolve().parents[2]


class Copy:
    """A copy of the sources in which faults are made."""

    def __init__(self, source: Path, folder: Path, extension: Path | None):
        self.folder, self._extension = folder, extension
        self._build = folder / "build/rel"
        folder.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=source, capture_output=True, check=True)
        names = [name for name in listed.stdout.decode().split("\0") if (source / name).is_file()]
        for name in names:
            target = folder / name
            # Files that are the same keep their times, so that they are not compiled again.
            if not target.exists() or target.read_bytes() != (source / name).read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target)
        self._sources = [
            folder / name for name in names if name.split("/")[0] in FOLDERS and Path(name).suffix in SUFFIXES
        ]
        if extension is not None:
            package = folder / "python/lumen_mlir"
            for link, target in (
                (package / extension.name, extension),
                (package / "pipelines", folder / "pipelines"),
            ):
                link.unlink(missing_ok=True)
                link.symlink_to(target.resolve())

    def find(self, fault: Fault) -> tuple[Path, re.Match]:
        """The only place of the fault's text. Raises ``LookupError`` where there is none, or several."""
        places = [
            (path, found) for path in self._sources for found in fault.places(path.suffix, path.read_text())
        ]
        if len(places) != 1:
            raise LookupError(
                f"{fault.name}: its text stands in {len(places)} places, not in one: {fault.old}"
            )
        return places[0]

    def build(self) -> None:
        """Builds Lumen in the copy, if faults in C++ are to be tried."""
        if self._extension is not None:
            return
        if not (self._build / "build.ninja").exists():
            options = ["-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"]
            if shutil.which("ccache"):
                options += [f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache" for language in ("C", "CXX")]
            self._run("cmake", "-S", ".", "-B", self._build, "-G", "Ninja", *options)
        self._run("ninja", "-C", self._build)

    def _run(self, *command: object) -> None:
        done = subprocess.run(list(map(str, command)), cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command[0]} fails:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def catches(self, fault: Fault, likely: bool) -> str | None:
        """The test that fails first, or None."""
        files = [path for path in self.folder.glob("test/py/**/test_*.py")]
        first = [str(path) for name in fault.tests for path in files if path.name == name]
        runs = [self._lit] if fault.cpp and self._extension is None else []
        runs += [lambda: self._pytest("-n", "0", *first)] if first else []
        runs += [] if likely else [lambda: self._pytest("-n", "auto")]
        return next((caught for run in runs if (caught := run())), None)

    def _pytest(self, *arguments: str) -> str | None:
        package = self.folder / "python" if self._extension is not None else self._build / "python"
        environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider"]
        if not (self.folder / "test/py/run_in_parallel.py").exists():
            arguments = tuple(each for each in arguments if each not in ("-n", "0", "auto"))
        done = subprocess.run(
            [*command, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        if done.returncode == 0:
            return None
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
        if done.returncode == 5 or not found:
            raise RuntimeError(
                f"pytest ends with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return found[1]

    def _lit(self) -> str | None:
        binary = self._build / "bin/lumen-opt"
        lit = Path(sys.executable).with_name("lit")
        command = [lit, "-q", "-D", f"lumen_opt={binary}", "test/lit"]
        done = subprocess.run(list(map(str, command)), cwd=self.folder, capture_output=True, text=True)
        failed = re.search(r"^  \S+ :: (\S+)", done.stdout, re.M)
        return f"lit {failed[1]}" if failed else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT")
    parser.add_argument("--source", type=Path, default=ROOT, help="a checkout of Lumen (default: this one)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/mutation", help="where the copy is")
    parser.add_argument("--extension", type=Path, help="a built _mlir*.so, for faults in Python alone")
    parser.add_argument("--likely", action="store_true", help="run only the tests that should see the fault")
    parser.add_argument("--find", action="store_true", help="only find the texts")
    options = parser.parse_args()
    known = {fault.name: fault for fault in FAULTS}
    if unknown := set(options.faults) - set(known):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    chosen = [known[name] for name in options.faults or known]
    if options.extension is not None:
        chosen = [fault for fault in chosen if not fault.cpp]
    copy = Copy(options.source.resolve(), options.folder.resolve(), options.extension)
    # Before anything is built: a fault that cannot be made must not pass for one that is caught.
    lost = []
    for fault in chosen:
        try:
            copy.find(fault)
        except LookupError as error:
            lost.append(str(error))
    if lost:
        sys.exit("\n".join(lost))
    if options.find:
        print(f"{len(chosen)} faults have their places")
        return 0
    copy.build()
    missed = 0
    for fault in chosen:
        path, found = copy.find(fault)
        text, began = path.read_text(), time.monotonic()
        try:
            path.write_text(text[: found.start()] + fault.new + text[found.end() :])
            copy.build()
            caught = copy.catches(fault, options.likely)
        finally:
            path.write_text(text)
        missed += caught is None
        where = path.relative_to(copy.folder)
        result = f"caught by {caught}" if caught else "MISSED"
        print(f"{fault.name} ({fault.area}, {where}): {result}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
