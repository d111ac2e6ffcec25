# SPDX-License-Identifier: Apache-2.0
"""The runtime library for tests: built from this checkout, and its C interface called by ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import subprocess
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path

import code_cache
import numpy as np

REPOSITORY = Path(__file__).parents[2]
# Such as "address,undefined", for what runs on this machine (tools/sanitize.sh). Python needs their runtime.
SANITIZERS = os.environ.get("LUMEN_TEST_SANITIZERS", "")
BUILDS = REPOSITORY / "build" / ("embed-sanitized" if SANITIZERS else "embed")
OK, ARGUMENT, FILE, DAMAGED, VERSION, TARGET, CPU, MEMORY, CONTEXT, LOGITS = range(10)


class Failed(Exception):
    """A call that did not end in ``OK``."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Code(ctypes.Structure):
    """``lumen_code``."""

    _fields_ = [("text", c_char_p), ("step", c_void_p), ("arena_bytes", c_int64)]


class Options(ctypes.Structure):
    """``lumen_options``."""

    _fields_ = [
        ("threads", c_int), ("context", c_int), ("skip_checksum", c_int), ("code", POINTER(Code))
    ]  # fmt: skip


class Sampling(ctypes.Structure):
    """``lumen_sampling``."""

    _fields_ = [
        ("temperature", c_double), ("top_k", c_int), ("typical_p", c_double), ("top_p", c_double),
        ("min_p", c_double), ("repeat_penalty", c_double), ("repeat_last", c_int),
        ("presence_penalty", c_double), ("frequency_penalty", c_double), ("seed", c_int64),
    ]  # fmt: skip


def build(source: Path, folder: Path, *options: str) -> Path:
    """``folder``, where CMake has built ``source`` with the system's compilers, as users do.

    Tests of several processes take turns. A folder that another checkout has built is built anew.
    """
    # ``make`` chooses compilers and a generator for Lumen itself.
    chosen = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CMAKE_GENERATOR")
    environment = {name: value for name, value in os.environ.items() if name not in chosen}

    def run(*command: object) -> subprocess.CompletedProcess:
        words = [str(word) for word in command]
        return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)

    if SANITIZERS and not any("TOOLCHAIN" in option for option in options):
        flags = f"-fsanitize={SANITIZERS} -fno-sanitize-recover=all -shared-libsan -g"
        compilers = {"C": "clang-22", "CXX": "clang++-22"}
        options += tuple(f"-DCMAKE_{name}_COMPILER={compiler}" for name, compiler in compilers.items())
        options += tuple(f"-DCMAKE_{name}_FLAGS={flags}" for name in compilers)
    launcher = f"{sys.executable};-S;-E;{Path(__file__).with_name('compile_once.py')};{code_cache.OBJECTS}"
    options += tuple(f"-DCMAKE_{name}_COMPILER_LAUNCHER={launcher}" for name in ("C", "CXX"))
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configured = run("cmake", "-S", source, "-B", folder, *options)
        if configured.returncode:
            (folder / "CMakeCache.txt").unlink(missing_ok=True)
            shutil.rmtree(folder / "CMakeFiles", ignore_errors=True)
            configured = run("cmake", "-S", source, "-B", folder, *options)
        assert configured.returncode == 0, configured.stderr
        built = run("cmake", "--build", folder, "--parallel", "2")
        output = configured.stderr + built.stdout + built.stderr
        assert built.returncode == 0, output[-4000:]
        # (clang finds something in the headers of the C++ library.)
        assert SANITIZERS or "warning" not in output, output
    return folder


@functools.cache
def load() -> ctypes.CDLL:
    """The shared library, without the code of a model."""
    folder = build(REPOSITORY / "runtime" / "embed", BUILDS / "shared", "-DBUILD_SHARED_LIBS=ON")
    # Code looks for the functions of teams in it.
    library = ctypes.CDLL(str(folder / "liblumen_runtime.so"), ctypes.RTLD_GLOBAL)
    for name in ("lumen_target", "lumen_name", "lumen_version", "lumen_status_text"):
        getattr(library, name).restype = c_char_p
    library.lumen_default_sampling.restype = Sampling
    for name in ("lumen_close", "lumen_sampler_free", "lumen_team_free"):
        getattr(library, name).argtypes = [c_void_p]
    return library


def called(name: str, *arguments: object) -> None:
    """Calls a function that can fail."""
    error = ctypes.create_string_buffer(512)
    status = getattr(load(), name)(*arguments, error, c_size_t(len(error)))
    if status != OK:
        raise Failed(status, error.value.decode())
    assert error.value == b""


class Model:
    """A ``lumen_model``."""

    def __init__(self, bundle: object, code: Code | None, threads=1, context=0, skip=False):
        options = Options(threads, context, skip, None if code is None else ctypes.pointer(code))
        self.handle = c_void_p()
        called("lumen_open", str(bundle).encode(), byref(options), byref(self.handle))
        self.vocabulary = load().lumen_vocabulary(self.handle)
        self.context = load().lumen_context(self.handle)

    def step(self, tokens: object, logits: bool = True) -> np.ndarray | None:
        """The logits of the last token."""
        ids = np.array(tokens, np.int32)
        out = np.empty(self.vocabulary, np.float32) if logits else None
        place = None if out is None else out.ctypes.data_as(POINTER(c_float))
        called("lumen_step", self.handle, ids.ctypes.data_as(POINTER(c_int32)), c_int(len(ids)), place)
        return out

    def rewind(self, position: int) -> None:
        called("lumen_rewind", self.handle, c_int(position))

    @property
    def position(self) -> int:
        return load().lumen_position(self.handle)

    def close(self) -> None:
        load().lumen_close(self.handle)
        self.handle = c_void_p()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Sampler:
    """A ``lumen_sampler``."""

    def __init__(self, **parameters: float):
        sampling = load().lumen_default_sampling(None)
        for name, value in parameters.items():
            setattr(sampling, name, value)
        self.handle = c_void_p()
        called("lumen_sampler_new", byref(sampling), byref(self.handle))

    def set_bias(self, token: int, bias: float) -> None:
        called("lumen_sampler_set_bias", self.handle, c_int32(token), c_double(bias))

    def accept(self, tokens: object) -> None:
        ids = np.array(tokens, np.int32)
        called("lumen_sampler_accept", self.handle, ids.ctypes.data_as(POINTER(c_int32)), c_int(len(ids)))

    def sample(self, logits: np.ndarray) -> int:
        token = c_int32()
        place = np.ascontiguousarray(logits, np.float32).ctypes.data_as(POINTER(c_float))
        called("lumen_sampler_sample", self.handle, place, c_int(len(logits)), byref(token))
        return token.value

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            load().lumen_sampler_free(self.handle)


def code_of(path: Path) -> Code:
    """The code of a library that ``lumen compile`` has written. It stays loaded."""
    load()
    library = ctypes.CDLL(str(path))
    text = ctypes.cast(library.lumen_code_text, c_char_p)
    step = ctypes.cast(library.lumen_entry_step, c_void_p)
    return Code(text.value, step.value, c_int64.in_dll(library, "lumen_arena_size_step"))
