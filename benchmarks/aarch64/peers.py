# SPDX-License-Identifier: Apache-2.0
"""The products of llama.cpp and KleidiAI, built by the compiler that Lumen's are built with.

Nothing of theirs is part of Lumen. The sources of llama.cpp come with the package llama-cpp-python, those of
KleidiAI from its repository. They lie in ``build/peers/arm``.
"""

from __future__ import annotations

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
    """A product of a peer: its function, and the folder of KleidiAI that has it."""

    peer: str
    function: str
    folder: str = ""


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

# Formats that llama.cpp computes a row at a time: the codes of activations, and how many rows and tokens a
# call takes where there are matrix instructions.
_BY_ROW = {
    "q4_1": ("q8_1", 2), "q5_0": ("q8_0", 1), "q5_1": ("q8_1", 1), "q2_k": ("q8_K", 1), "q3_k": ("q8_K", 1),
    "iq4_xs": ("q8_K", 1), "nvfp4": ("q8_0", 1), "tq1_0": ("q8_K", 1), "tq2_0": ("q8_K", 1),
    "iq1_s": ("q8_K", 1), "iq1_m": ("q8_K", 1), "iq2_xxs": ("q8_K", 1), "iq2_xs": ("q8_K", 1),
    "iq2_s": ("q8_K", 1), "iq3_xxs": ("q8_K", 1), "iq3_s": ("q8_K", 1), "q2_0": ("q8_0", 1),
}  # fmt: skip

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
    if fmt in _BY_ROW:
        codes = _BY_ROW[fmt][0]
        found.append(Kernel("llama.cpp", f"ggml_vec_dot_{fmt.replace('_k', '_K')}_{codes}"))
    return found


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
        with tarfile.open(folder.with_name(folder.name + ".tar.gz")) as archive:
            archive.extractall(FOLDER)
    return folder / "vendor" / "llama.cpp"


def kleidiai() -> Path:
    """The sources of KleidiAI."""
    folder = FOLDER / "kleidiai"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        guest.run(["git", "clone", "-q", "--depth", "1", "-b", KLEIDIAI_VERSION, KLEIDIAI_URL, folder])
    return folder


def llama_prompt(features: str) -> Path:
    """A program that reads prompts with llama.cpp on CPUs with these features: MODEL TOKENS TIMES FLASH."""
    folder = FOLDER / f"llama-{features}"
    result, source = folder / "bin" / "lumen-llama-prompt", guest.HERE / "llama_prompt.cpp"
    if guest.newer(result, source):
        return result
    if not (folder / "bin" / "libllama.so").exists():
        compilers = [f"-DCMAKE_{of}_COMPILER_TARGET=aarch64-linux-gnu" for of in ("C", "CXX", "ASM")]
        print(f"building llama.cpp in {folder} (5 to 10 minutes)", file=sys.stderr)
        guest.run(
            ["cmake", "-S", llama_cpp(), "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
             "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_C_COMPILER=clang-22",
             "-DCMAKE_CXX_COMPILER=clang++-22", *compilers, "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=OFF",
             f"-DGGML_CPU_ARM_ARCH={ARCHITECTURES[features]}", "-DGGML_OPENMP=OFF", "-DLLAMA_OPENSSL=OFF",
             "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TOOLS=OFF",
             "-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_APP=OFF"]
        )  # fmt: skip
        guest.run(["cmake", "--build", folder, "--target", "llama"])
    includes = [f"-I{llama_cpp() / 'include'}", f"-I{llama_cpp() / 'ggml' / 'include'}"]
    libraries = [f"-L{folder / 'bin'}", "-lllama", "-lggml", "-lggml-cpu", "-lggml-base"]
    guest.run(
        [*guest.CXX, "-O2", *includes, source, *libraries, f"-Wl,-rpath,{folder / 'bin'}", "-o", result]
    )
    return result


def program(kernel: Kernel, features: str) -> Path:
    """A program that calls a kernel: TOKENS ROWS COLUMNS."""
    result = FOLDER / "kernels" / features / kernel.function
    if result.exists():
        return result
    result.parent.mkdir(parents=True, exist_ok=True)
    objects = _kleidiai_objects(kernel, features) if kernel.folder else _llama_objects(features)
    options = [f"-DKERNEL={kernel.function}"]
    if kernel.folder:
        options.append("-DKLEIDIAI")
    elif "vec_dot" in kernel.function:
        options.append(f"-DVECTORS={_at_once(kernel, features)}")
    # The kernels call nothing; other functions of their files do, and are left out.
    guest.run(
        [*guest.CXX, "-O2", "-static", *options, guest.HERE / "peer.cpp", *objects, "-Wl,--gc-sections",
         "-Wl,--unresolved-symbols=ignore-all", "-o", result]
    )  # fmt: skip
    return result


def _at_once(kernel: Kernel, features: str) -> int:
    """Rows and tokens that llama.cpp multiplies in a call."""
    fmt = next(fmt for fmt in _BY_ROW if f"_{fmt}_" in kernel.function.lower())
    return _BY_ROW[fmt][1] if features == "i8mm" else 1


def _llama_objects(features: str) -> list[Path]:
    ggml = llama_cpp() / "ggml"
    results = []
    for name in ("repack.cpp", "quants.c"):
        result = FOLDER / "kernels" / features / f"{name}.o"
        if not result.exists():
            compiler = [*guest.CXX] if name.endswith(".cpp") else [*guest.COMPILER, "-std=gnu11"]
            guest.run(
                [*compiler, "-O3", "-DNDEBUG", "-w", "-ffunction-sections",
                 f"-march={ARCHITECTURES[features]}", f"-I{ggml / 'include'}", f"-I{ggml / 'src'}",
                 f"-I{ggml / 'src' / 'ggml-cpu'}", "-c",
                 ggml / "src" / "ggml-cpu" / "arch" / "arm" / name, "-o", result]
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
