# SPDX-License-Identifier: Apache-2.0
"""A bundle is built by CMake, here and for 64-bit ARM, and its programs write what Lumen writes."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import embed_library as embed
import emulated
import pytest

from lumen_mlir import LLM
from lumen_mlir.cli import main
from lumen_mlir.compiler import targets
from lumen_mlir.testing.emulation import EMULATORS

_PROMPT = "주말에 가족들과"
_EXAMPLES = embed.REPOSITORY / "examples" / "embed"
# The least that 64-bit ARM runs.
_ARM = [target.name for target in targets.TARGETS if target.architecture == "aarch64"][-1]


class Bundle:
    """A bundle with its example in C, built where builds are kept."""

    def __init__(self, name: str, target: str, options: tuple[str, ...], command: tuple[str, ...] = ()):
        folder = embed.BUILDS / name
        self.path, self.build = folder / "bundle", folder / "build"
        folder.mkdir(parents=True, exist_ok=True)
        assert main(["compile", "--target", target, "--bundle", str(self.path), "-q"]) == 0
        toolchain = [f"-DCMAKE_TOOLCHAIN_FILE={self.path / 'toolchain.cmake'}"] if command else []
        embed.build(_EXAMPLES / "c", self.build, f"-DBUNDLE={self.path}", *toolchain, *options)
        self._command = command

    @property
    def lumen_run(self) -> Path:
        return self.build / "bundle" / "lumen-run"

    def run(self, *arguments: object, bundle: object = None, program: Path | None = None):
        """Runs the example, or another program."""
        command = [*self._command, program or self.build / "continue", bundle or self.path, *arguments]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def native():
    return Bundle("native", "native", ())


@pytest.fixture(scope="module")
def arm():
    emulated.check_installed()
    emulator = EMULATORS["aarch64"]
    return Bundle("aarch64", _ARM, (), (*emulator.command, emulator.cpus[0]))


@pytest.fixture(scope="module")
def expected():
    """Texts of Lumen by temperature and seed."""
    with LLM(threads=1) as llm:
        texts = {(0, 1): llm.generate(_PROMPT, 24, temperature=0).text()}
        for seed in (1, 2, 3):
            texts[0.9, seed] = llm.generate(_PROMPT, 24, temperature=0.9, seed=seed).text()
    assert len(set(texts.values())) == 4
    return texts


def test_the_text_is_that_of_lumen(native, expected):
    for (temperature, seed), text in expected.items():
        done = native.run(_PROMPT, 24, temperature, seed)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")


@pytest.mark.emulated
def test_the_text_on_arm(arm, expected):
    """In an emulator of a CPU that has nothing besides NEON."""
    done = arm.run(_PROMPT, 24)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected[0, 1] + "\n", "")


def check_lumen_run(bundle: Bundle, texts: dict) -> None:
    """The program that every bundle has is small, and writes the same texts."""
    for (temperature, seed), text in texts.items():
        options = ["-p", _PROMPT, "-n", 24, "--temp", temperature, "--seed", seed, "-t", 2, "-q"]
        done = bundle.run(*options, program=bundle.lumen_run)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")
    assert embed.SANITIZERS or bundle.lumen_run.stat().st_size < 2_000_000


def test_lumen_run(native, expected):
    check_lumen_run(native, expected)


@pytest.mark.emulated
def test_lumen_run_on_arm(arm, expected):
    check_lumen_run(arm, dict(list(expected.items())[:2]))


@pytest.mark.emulated
def test_bundles_of_others(native, arm, tmp_path):
    done = native.run("x", bundle=arm.path)
    assert done.returncode == embed.TARGET and done.stdout == ""
    assert done.stderr.endswith(f"made for aarch64 (target {_ARM}); this program runs on x86_64\n")
    done = arm.run("x", bundle=native.path)
    assert done.returncode == embed.TARGET
    assert done.stderr.endswith("; this program runs on aarch64\n")
    done = native.run("x", bundle=tmp_path)
    assert done.returncode == embed.FILE and done.stderr.count("\n") == 1


@pytest.mark.emulated
def test_a_bundle_needs_its_compiler(arm, tmp_path):
    """Without the toolchain, CMake says for what the bundle is."""
    done = subprocess.run(["cmake", "-S", arm.path, "-B", tmp_path], capture_output=True, text=True)
    assert done.returncode != 0 and "this bundle is for aarch64, not for x86_64" in done.stderr


def test_only_two_files_are_read(native, tmp_path):
    for name in ("weights.lumen", "tokenizer.bin"):
        shutil.copy(native.path / name, tmp_path)
    assert native.run(_PROMPT, 3, bundle=tmp_path).stdout == native.run(_PROMPT, 3).stdout
    (tmp_path / "tokenizer.bin").unlink()
    done = native.run(_PROMPT, 3, bundle=tmp_path)
    assert done.returncode == embed.FILE and "tokenizer.bin" in done.stderr


def test_rust(native, expected, tmp_path):
    """The example in Rust, where its compiler is there: no other test needs it."""
    if shutil.which("cargo") is None:
        pytest.skip("there is no Rust (apt-get install cargo)")
    command = [
        "cargo", "build", "--offline", "--manifest-path", _EXAMPLES / "rust" / "Cargo.toml",
        "--target-dir", embed.BUILDS / "rust", "--locked", "--quiet",
    ]  # fmt: skip
    library = native.build / "bundle"
    environment = {**os.environ, "BUNDLE_BUILD": str(library), "RUSTFLAGS": "-Dwarnings"}
    environment["CARGO_HOME"] = str(tmp_path / "cargo")
    # Of a Rust that somebody has installed at home, which is not the home of tests.
    environment.setdefault("RUSTUP_HOME", f"{Path('~' + getpass.getuser()).expanduser()}/.rustup")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    program = embed.BUILDS / "rust" / "debug" / "continue"
    for (temperature, seed), text in expected.items():
        words = [program, native.path, _PROMPT, 24, temperature, seed]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")
    done = subprocess.run([program, tmp_path, "x"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(
        f"continue: {tmp_path}/weights.lumen: cannot be opened"
    )
