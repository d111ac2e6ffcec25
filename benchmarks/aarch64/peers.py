# SPDX-License-Identifier: Apache-2.0
"""The products of llama.cpp and KleidiAI, built by the compiler that Lumen's are built with.

Nothing of theirs is part of Lumen. The sources of llama.cpp come with the package llama-cpp-python, those of
KleidiAI from its repository. They lie in ``build/peers/arm``.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from aarch64 import guest

FOLDER = guest.ROOT / "build" / "peers" / "arm"
LLAMA_CPP_PYTHON = "0.3.36"
KLEIDIAI_URL, KLEIDIAI_VERSION = "https://github.com/ARM-software/kleidiai", "v1.30.0"
# What CPUs have that have dot products, or matrix instructions.
ARCHITECTURES = {"dotprod": "armv8.2-a+dotprod+fp16", "i8mm": "armv8.6-a+i8mm+fp16"}
TARGETS = {"armv8.2-a+dotprod": "dotprod", "armv8.6-a+i8mm": "i8mm"}


@dataclass(frozen=True)
class Kernel:
    """A product of a peer.

    Attributes:
      function: what is called.
      folder: that of KleidiAI that has it.
      at_once: where a call takes some rows and as many tokens: how many.
    """

    peer: str
    function: str
    folder: str = ""
    at_once: int = 0

    @property
    def functions(self) -> str:
        """Matches the names of all functions that count."""
        called = self.function.replace("kai_run", "kai_(run|kernel)")
        return f"{called}|.*tinyBLAS.*" if self.function == _BLOCKS else called


def _llama(kind: str, fmt: str, tile: str, codes: str) -> Kernel:
    return Kernel("llama.cpp", f"ggml_{kind}_{fmt}_{tile}_{codes}")


def _llama_pair(fmt: str, tiles: dict[str, str], codes: str) -> dict[tuple[str, str], tuple[Kernel, Kernel]]:
    """What llama.cpp runs for a format: by features, for prompts and for one token."""
    from_name = fmt.replace("_k", "_K")
    return {
        (fmt, features): (_llama("gemm", from_name, tile, codes), _llama("gemv", from_name, tile, codes))
        for features, tile in tiles.items()
    }


_BY_4 = {"dotprod": "4x4", "i8mm": "4x8"}
_BY_8 = {"dotprod": "8x4", "i8mm": "8x8"}
_DOTS = {"dotprod": "4x4", "i8mm": "4x4"}
# As ggml_repack_get_optimal_repack_type chooses them; other formats are not repacked.
REPACKED = {
    **_llama_pair("q4_0", _BY_4, "q8_0"), **_llama_pair("q8_0", _BY_4, "q8_0"),
    **_llama_pair("q1_0", _BY_4, "q8_0"), **_llama_pair("iq4_nl", _DOTS, "q8_0"),
    **_llama_pair("mxfp4", _DOTS, "q8_0"), **_llama_pair("q4_k", _BY_8, "q8_K"),
    **_llama_pair("q5_k", _BY_8, "q8_K"), **_llama_pair("q6_k", _BY_8, "q8_K"),
}  # fmt: skip

# Formats that llama.cpp computes a row at a time: the codes of activations.
_BY_ROW = {
    "q4_1": "_q8_1", "q5_0": "_q8_0", "q5_1": "_q8_1", "q2_k": "_q8_K", "q3_k": "_q8_K", "iq4_xs": "_q8_K",
    "nvfp4": "_q8_0", "tq1_0": "_q8_K", "tq2_0": "_q8_K", "iq1_s": "_q8_K", "iq1_m": "_q8_K",
    "iq2_xxs": "_q8_K", "iq2_xs": "_q8_K", "iq2_s": "_q8_K", "iq3_xxs": "_q8_K", "iq3_s": "_q8_K",
    "q2_0": "_q8_0", "f16": "", "bf16": "",
}  # fmt: skip
# Of these, with matrix instructions, two rows and two tokens at a time.
_BY_TWO = ("q4_1",)
# What multiplies F16 with 8 tokens or more, in blocks.
_BLOCKS = "llamafile_sgemm"

_QSI4, _QAI4 = "matmul_clamp_f32_qsi8d32p_qsi4c32p", "matmul_clamp_f32_qsi8d32p_qai4c32p"


def _kleidiai(folder: str, shape: str) -> Kernel:
    activations, weights = folder.removeprefix("matmul_clamp_f32_").split("_")
    left, right, rest = shape.split(" ")
    return Kernel("KleidiAI", f"kai_run_matmul_clamp_f32_{activations}{left}_{weights}{right}_{rest}", folder)


# Those that llama.cpp is built with, where it is built with KleidiAI.
KLEIDIAI = {
    ("q4_0", "dotprod"): (
        _kleidiai(_QSI4, "4x4 4x4 16x4_neon_dotprod"),
        _kleidiai(_QSI4, "1x4 4x4 1x4_neon_dotprod"),
    ),
    ("q4_0", "i8mm"): (
        _kleidiai(_QSI4, "4x8 4x8 16x4_neon_i8mm"),
        _kleidiai(_QSI4, "1x8 4x8 1x4x32_neon_dotprod"),
    ),
    ("q4_1", "dotprod"): (
        _kleidiai(_QAI4, "4x4 4x4 8x4_neon_dotprod"),
        _kleidiai(_QAI4, "1x4 4x4 1x4_neon_dotprod"),
    ),
    ("q4_1", "i8mm"): (
        _kleidiai(_QAI4, "4x8 4x8 8x4_neon_i8mm"),
        _kleidiai(_QAI4, "1x8 4x8 1x4_neon_dotprod"),
    ),
}


def kernels(fmt: str, target: str, prompt: bool) -> list[Kernel]:
    """What peers have for a format on a target of Lumen's, by their own choice of kernels."""
    features = TARGETS.get(target)
    if features is None:
        return []
    pairs = [found for of_peer in (REPACKED, KLEIDIAI) if (found := of_peer.get((fmt, features)))]
    found = [for_prompts if prompt else for_one for for_prompts, for_one in pairs]
    if fmt == "f16" and prompt:
        found.append(Kernel("llama.cpp", _BLOCKS))
    elif fmt in _BY_ROW:
        function = f"ggml_vec_dot_{fmt.replace('_k', '_K')}{_BY_ROW[fmt]}"
        at_once = 2 if prompt and fmt in _BY_TWO and features == "i8mm" else 1
        found.append(Kernel("llama.cpp", function, at_once=at_once))
    return found


def _need(*tools: str) -> None:
    """Ends the program where a tool is missing that only builds of others need."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        sys.exit(f"missing: {' '.join(missing)}")


def llama_cpp() -> Path:
    """The sources of llama.cpp."""
    folder = FOLDER / f"llama_cpp_python-{LLAMA_CPP_PYTHON}"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        print("reading the sources of llama.cpp (75 MB)", file=sys.stderr)
        guest.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python",
             "-d", FOLDER, f"llama-cpp-python=={LLAMA_CPP_PYTHON}"]
        )  # fmt: skip
        part = FOLDER / "part"
        shutil.rmtree(part, ignore_errors=True)
        with tarfile.open(folder.with_name(folder.name + ".tar.gz")) as archive:
            archive.extractall(part)
        (part / folder.name).rename(folder)
        part.rmdir()
    return folder / "vendor" / "llama.cpp"


def kleidiai() -> Path:
    """The sources of KleidiAI."""
    folder = FOLDER / "kleidiai"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _need("git")
        guest.run(["git", "clone", "-q", "--depth", "1", "-b", KLEIDIAI_VERSION, KLEIDIAI_URL, folder])
    return folder


def llama_prompt(features: str) -> Path:
    """A program that reads tokens with llama.cpp on CPUs with these features: see llama_prompt.cpp."""
    result, source = FOLDER / f"llama-prompt-{features}", guest.HERE / "llama_prompt.cpp"
    if guest.newer(result, source):
        return result
    # Of its libraries, only this one depends on features.
    folders = (_llama_library("ggml-cpu", features), _llama_library("llama", "i8mm"))
    includes = [f"-I{llama_cpp() / 'include'}", f"-I{llama_cpp() / 'ggml' / 'include'}"]
    libraries = ["-lllama", "-lggml", "-lggml-cpu", "-lggml-base"]
    where = [option for folder in folders for option in (f"-L{folder}", f"-Wl,-rpath,{folder}")]
    guest.run([*guest.CXX, "-O2", *includes, source, *where, *libraries, "-o", result])
    return result


def _llama_library(name: str, features: str) -> Path:
    """The folder with a library of llama.cpp and what it needs, built for CPUs with these features."""
    folder = FOLDER / f"llama-{features}"
    if (folder / "bin" / f"lib{name}.so").exists():
        return folder / "bin"
    _need("cmake", "ninja")
    compilers = [f"-DCMAKE_{of}_COMPILER_TARGET=aarch64-linux-gnu" for of in ("C", "CXX", "ASM")]
    print(f"building {name} of llama.cpp in {folder}", file=sys.stderr)
    guest.run(
        ["cmake", "-S", llama_cpp(), "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
         "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_C_COMPILER=clang-22",
         "-DCMAKE_CXX_COMPILER=clang++-22", *compilers, "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=OFF",
         f"-DGGML_CPU_ARM_ARCH={ARCHITECTURES[features]}", "-DGGML_OPENMP=OFF", "-DLLAMA_OPENSSL=OFF",
         "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TOOLS=OFF",
         "-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_APP=OFF"]
    )  # fmt: skip
    guest.run(["cmake", "--build", folder, "--target", name])
    return folder / "bin"


def program(kernel: Kernel, features: str) -> Path:
    """A program that calls a kernel: TOKENS ROWS COLUMNS."""
    name = f"{kernel.function}-{kernel.at_once}" if kernel.at_once else kernel.function
    result, source = FOLDER / "kernels" / features / name, guest.HERE / "peer.cpp"
    if guest.newer(result, source):
        return result
    result.parent.mkdir(parents=True, exist_ok=True)
    objects = _kleidiai_objects(kernel, features) if kernel.folder else _llama_objects(features)
    options = [f"-DKERNEL={kernel.function}"]
    if kernel.folder:
        options.append("-DKLEIDIAI")
    elif kernel.function == _BLOCKS:
        options.append("-DBLOCKS")
    elif kernel.at_once:
        options.append(f"-DAT_ONCE={kernel.at_once}")
    # The kernels call nothing; other functions of their files do, and are left out.
    guest.run(
        [*guest.CXX, "-O2", "-static", *options, source, *objects, "-Wl,--gc-sections",
         "-Wl,--unresolved-symbols=ignore-all", "-o", result]
    )  # fmt: skip
    return result


def _llama_objects(features: str) -> list[Path]:
    ggml = llama_cpp() / "ggml"
    results = []
    for name in ("arch/arm/repack.cpp", "arch/arm/quants.c", "llamafile/sgemm.cpp", "vec.cpp"):
        result = FOLDER / "kernels" / features / f"{Path(name).name}.o"
        if not result.exists():
            compiler = [*guest.CXX] if name.endswith(".cpp") else [*guest.COMPILER, "-std=gnu11"]
            guest.run(
                [*compiler, "-O3", "-DNDEBUG", "-w", "-ffunction-sections",
                 f"-march={ARCHITECTURES[features]}", f"-I{ggml / 'include'}", f"-I{ggml / 'src'}",
                 f"-I{ggml / 'src' / 'ggml-cpu'}", "-c",
                 ggml / "src" / "ggml-cpu" / name, "-o", result]
            )  # fmt: skip
        results.append(result)
    return results


def _kleidiai_objects(kernel: Kernel, features: str) -> list[Path]:
    root = kleidiai()
    name = kernel.function.replace("kai_run_", "kai_")
    folder = root / "kai" / "ukernels" / "matmul" / kernel.folder
    results = []
    for source in (folder / f"{name}.c", folder / f"{name}_asm.S"):
        if source.exists():
            results.append(FOLDER / "kernels" / features / f"{source.name}.o")
            guest.run(
                [*guest.COMPILER, "-O3", "-DNDEBUG", "-w", f"-march={ARCHITECTURES[features]}",
                 f"-I{root}", "-c", source, "-o", results[-1]]
            )  # fmt: skip
    return results
