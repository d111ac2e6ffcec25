# SPDX-License-Identifier: Apache-2.0
"""Installs wheels where neither LLVM nor a compiler is, and runs ``smoke.py``: ``make test-wheel`` calls it.

``test.py WHEEL… --systems bookworm trixie --pythons python3.10 python3.12``. A system is a Debian release:
its smallest installation, with its own Python, is made once by debootstrap and kept in build/wheels/roots.
Pythons of this machine are shown to the first of the systems. Each Python gets the wheel that is for it.
Needs root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOTS = ROOT / "build" / "wheels" / "roots"
DOWNLOADS = ROOT / "build" / "wheels" / "downloads"

# Inside of the system; a venv, the wheel from a folder of files without any network, the checks.
INSIDE = """
set -e
export HOME=/tmp LC_ALL=C.UTF-8 PATH=/usr/bin:/bin
"$1" -m venv /tmp/venv
start=$(date +%s.%N)
export PIP_NO_INDEX=1 PIP_NO_CACHE_DIR=1 PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
/tmp/venv/bin/pip install -q "/wheels/$2"
exec /tmp/venv/bin/python /wheels/smoke.py "$start" "$(date +%s.%N)"
"""

# In a mount namespace of its own: what is mounted goes away with it. $1 is the system, $2 a folder of this
# machine to be seen at the same place, or nothing.
OUTSIDE = """
set -e
root=$1 shown=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/wheels"
mount --bind "$WHEELS" "$root/wheels"
if [ -n "$shown" ]; then
  mkdir -p "$root$shown"
  mount --bind "$shown" "$root$shown"
fi
exec env -i "$(command -v chroot)" "$root" /bin/sh -c "$INSIDE" inside "$@"
"""


def system(name: str) -> Path:
    """The folder of a Debian release."""
    folder = ROOTS / name
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"installing Debian {name}", flush=True)
        include = "--include=python3,python3-venv"
        log = ROOTS / f"{name}.log"
        with log.open("w") as output:
            command = ["debootstrap", "--variant=minbase", include, name, folder, *mirror()]
            if subprocess.run(command, stdout=output, stderr=output).returncode:
                sys.exit(f"test.py: debootstrap failed: {log}")
        (folder / ".complete").touch()
    return folder


def mirror() -> list[str]:
    """Where this machine takes Debian's packages from."""
    answer = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    ).stdout
    found = [line.split()[1] for line in answer.splitlines() if line.startswith("Debian ")]
    # Not those of security updates, which have no whole release.
    return [address for address in found if "security" not in address][:1]


def describe(python: list[str]) -> tuple[tuple[int, int], str] | None:
    """Version and folder of a Python, given as the command that starts it; None where it does not run."""
    program = "import sys; print(*sys.version_info[:2], sys.base_prefix)"
    try:
        answer = subprocess.run([*python, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor, prefix = answer.stdout.split(maxsplit=2)
    return (int(major), int(minor)), prefix.strip()


def wheel_for(version: tuple[int, int], wheels: list[Path]) -> Path | None:
    """The wheel of this version, or of the stable ABI."""
    tag = "cp312-abi3" if version >= (3, 12) else "cp{}{}-cp{}{}".format(*version, *version)
    return next((wheel for wheel in wheels if f"-{tag}-" in wheel.name), None)


def download(version: tuple[int, int], wheel: Path, python: str) -> Path:
    """A folder with the wheel and all packages that it needs, for this version; ``python`` looks for them."""
    folder = DOWNLOADS / "{}.{}".format(*version)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("lumen_mlir-*"):
        old.unlink()
    shutil.copyfile(wheel, folder / wheel.name)
    shutil.copyfile(Path(__file__).with_name("smoke.py"), folder / "smoke.py")
    target = ["--only-binary=:all:", "--python-version", "{}.{}".format(*version)]
    command = [python, "-m", "pip", "download", "-qq", "--disable-pip-version-check", *target]
    if subprocess.run([*command, "-d", folder, "--find-links", folder, folder / wheel.name]).returncode:
        sys.exit(f"test.py: the packages that {wheel.name} needs cannot be downloaded")
    return folder


def test(root: Path, python: str, shown: str, version: tuple[int, int], wheels: list[Path]) -> bool:
    """Whether all checks passed with this Python of the system."""
    wheel = wheel_for(version, wheels)
    title = f"Debian {root.name}, Python {version[0]}.{version[1]}"
    if wheel is None:
        print(f"{title}: there is no wheel for it", flush=True)
        return False
    print(f"{title}: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    # What a system's Python needs, this one finds out: there is no network inside.
    packages = download(version, wheel, python if shown else sys.executable)
    environment = os.environ | {"WHEELS": str(packages), "INSIDE": INSIDE}
    command = ["unshare", "--mount", "sh", "-c", OUTSIDE, "outside", root, shown, python, wheel.name]
    return subprocess.run(command, env=environment).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--systems", nargs="+", default=["bookworm"], metavar="RELEASE")
    parser.add_argument("--pythons", nargs="*", default=[], metavar="PYTHON")
    options = parser.parse_args()
    if os.geteuid() or shutil.which("debootstrap") is None:
        sys.exit("test.py: needs root and debootstrap (apt-get install debootstrap)")
    roots = [system(name) for name in options.systems]
    passed = []
    for root in roots:
        version, _ = describe(["chroot", str(root), "python3"]) or sys.exit(f"test.py: {root} has no Python")
        passed.append(test(root, "/usr/bin/python3", "", version, options.wheels))
    for name in options.pythons:
        described = describe([name])
        if described is None:
            print(f"{name} is not here: not tested")
            continue
        version, prefix = described
        program = f"{prefix}/bin/python{version[0]}.{version[1]}"
        if prefix != "/usr":
            passed.append(test(roots[0], program, prefix, version, options.wheels))
    print(f"{sum(passed)} passed, {passed.count(False)} failed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
