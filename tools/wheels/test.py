# SPDX-License-Identifier: Apache-2.0
"""Installs wheels where neither LLVM nor a compiler is, and runs ``smoke.py``: ``make test-wheel`` calls it.

``test.py WHEEL… --systems bookworm trixie --pythons python3.10 python3.12``. A system is a Debian release:
its smallest installation, with its own Python, is made once by debootstrap and kept in build/wheels/roots.
Pythons of this machine are shown to the first of the systems. Each Python gets the wheel that is for it.
Needs root.

Wheels for another machine, by their names, run on systems of that machine, those of ``--emulated``. Their
programs run in qemu, which the kernel starts.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOTS = ROOT / "build" / "wheels" / "roots"
DOWNLOADS = ROOT / "build" / "wheels" / "downloads"

HERE = platform.machine()
# What Debian calls the machines.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# What /proc/cpuinfo says in systems of the machine: what all its processors have. Old versions of qemu show
# the processor of this machine.
PROCESSORS = {"aarch64": "processor\t: 0\nFeatures\t: fp asimd\n"}
# Where the kernel says which programs start programs of other machines.
FORMATS = Path("/proc/sys/fs/binfmt_misc")

# Inside of the system; a venv, the wheel from a folder of files without any network, the checks. $1 is the
# Python, $2 the wheel, $3 options of pip; where there are some, pip itself is not installed first.
INSIDE = """
set -e
export HOME=/tmp LC_ALL=C.UTF-8 PATH=/usr/bin:/bin
if [ -n "$3" ]; then
  "$1" -m venv --without-pip /tmp/venv
  pip="/tmp/venv/bin/python $(echo /usr/share/python-wheels/pip-*.whl)/pip"
else
  "$1" -m venv /tmp/venv
  pip=/tmp/venv/bin/pip
fi
start=$(date +%s.%N)
export PIP_NO_INDEX=1 PIP_NO_CACHE_DIR=1 PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
$pip install -q $3 "/wheels/$2"
exec /tmp/venv/bin/python /wheels/smoke.py "$start" "$(date +%s.%N)"
"""

# What debootstrap downloaded into the system $1.
UNPACK = """
for package in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --keep-directory-symlink || exit
done
# In a container debootstrap makes this a link, which leads out of the system.
if [ -L "$1/proc" ]; then
  rm "$1/proc"
fi
mkdir -p "$1/proc"
# Without certificates pip does not start.
cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"
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
if [ -e "$WHEELS/cpuinfo" ]; then
  mount --bind "$WHEELS/cpuinfo" "$root/proc/cpuinfo"
fi
exec env -i "$(command -v chroot)" "$root" /bin/sh -c "$INSIDE" inside "$@"
"""


def machine_of(wheel: Path) -> str:
    """What the machine of a wheel is called, by the wheel's name."""
    found = re.fullmatch(r"(?:manylinux_\d+_\d+|linux)_(\w+)", wheel.stem.rpartition("-")[2])
    if found is None or found[1] not in ARCHITECTURES:
        sys.exit(f"test.py: {wheel.name} is for no machine that is known here: {', '.join(ARCHITECTURES)}")
    return found[1]


def runs(machine: str) -> bool:
    """Whether programs of this machine run here, also in systems that do not have qemu themselves."""
    if machine == HERE:
        return True
    try:
        text = (FORMATS / f"qemu-{machine}").read_text()
    except OSError:
        return False
    # F: the kernel has opened qemu already.
    return text.startswith("enabled") and re.search(r"^flags: .*F", text, re.MULTILINE) is not None


def system(name: str, machine: str) -> Path:
    """The folder of a Debian release for this machine."""
    architecture = ARCHITECTURES[machine]
    folder = ROOTS / (name if machine == HERE else f"{name}-{architecture}")
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"installing Debian {folder.name}", flush=True)
        options = [f"--arch={architecture}", "--variant=minbase", "--include=python3,python3-venv"]
        commands = [["debootstrap", *options, name, folder, *mirror()]]
        if machine != HERE:
            # Unpacked and not set up: that takes long in qemu, and Python needs nothing of it.
            commands[0].insert(1, "--foreign")
            commands.append(["sh", "-c", UNPACK, "unpack", folder])
        log = ROOTS / f"{folder.name}.log"
        with log.open("w") as output:
            for command in commands:
                if subprocess.run(command, stdout=output, stderr=output).returncode:
                    sys.exit(f"test.py: {command[0]} failed: {log}")
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
    machine = machine_of(wheel)
    folder = DOWNLOADS / "{}.{}-{}".format(*version, machine)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("lumen_mlir-*"):
        old.unlink()
    shutil.copyfile(wheel, folder / wheel.name)
    shutil.copyfile(Path(__file__).with_name("smoke.py"), folder / "smoke.py")
    target = ["--only-binary=:all:", "--python-version", "{}.{}".format(*version)]
    # pip takes the names of platforms as they are, not those of older systems too.
    target += [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(34, 16, -1)]
    target += [f"--platform=manylinux2014_{machine}"]
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
    machine, fast = machine_of(wheel), ""
    if machine != HERE:
        # Compiling Python's modules takes long in qemu.
        fast = "--no-compile"
        if machine in PROCESSORS:
            (packages / "cpuinfo").write_text(PROCESSORS[machine])
    command = ["unshare", "--mount", "sh", "-c", OUTSIDE, "outside", root, shown, python, wheel.name, fast]
    return subprocess.run(command, env=environment).returncode == 0


def test_here(wheels: list[Path], systems: list[str], pythons: list[str]) -> list[bool]:
    """Tries wheels of this machine on systems, with their Python and with this machine's."""
    roots = [system(name, HERE) for name in systems]
    passed = []
    for root in roots:
        passed.append(test(root, "/usr/bin/python3", "", version_inside(root), wheels))
    for name in pythons:
        described = describe([name])
        if described is None:
            print(f"{name} is not here: not tested")
            continue
        version, prefix = described
        program = f"{prefix}/bin/python{version[0]}.{version[1]}"
        if prefix != "/usr":
            passed.append(test(roots[0], program, prefix, version, wheels))
    return passed


def test_emulated(machine: str, wheels: list[Path], systems: list[str]) -> list[bool]:
    """Tries wheels of another machine on systems of that machine."""
    if not runs(machine):
        names = ", ".join(wheel.name for wheel in wheels)
        print(
            f"{names}: FAILED: programs for {machine} do not run on this machine "
            "(apt-get install qemu-user-static binfmt-support)",
            flush=True,
        )
        return [False]
    roots = [system(name, machine) for name in systems]
    return [test(root, "/usr/bin/python3", "", version_inside(root), wheels) for root in roots]


def version_inside(root: Path) -> tuple[int, int]:
    """The version of a system's Python."""
    described = describe(["chroot", str(root), "python3"])
    if described is None:
        sys.exit(f"test.py: {root} has no Python")
    return described[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--systems", nargs="+", default=["bookworm"], metavar="RELEASE")
    parser.add_argument("--emulated", nargs="+", default=["trixie"], metavar="RELEASE")
    parser.add_argument("--pythons", nargs="*", default=[], metavar="PYTHON")
    options = parser.parse_args()
    if os.geteuid() or shutil.which("debootstrap") is None:
        sys.exit("test.py: needs root and debootstrap (apt-get install debootstrap)")
    wheels: dict[str, list[Path]] = {}
    for wheel in options.wheels:
        wheels.setdefault(machine_of(wheel), []).append(wheel)
    passed = []
    if HERE in wheels:
        passed += test_here(wheels.pop(HERE), options.systems, options.pythons)
    for machine, others in wheels.items():
        passed += test_emulated(machine, others, options.emulated)
    print(f"{sum(passed)} passed, {passed.count(False)} failed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
