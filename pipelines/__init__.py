# SPDX-License-Identifier: Apache-2.0
"""The stages of the compiler: the only place where the order of passes is written.

A stage is named after the form it produces, its pipeline ``lumen-<from>-to-<to>`` is text that ``lumen-opt``
takes as ``--pass-pipeline``, and it ends in a check that the promised form holds. Imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """``name``: the form of the IR after it. ``pipeline``: ``builtin.module(...)``."""

    name: str
    pipeline: str


INPUT = "lumen"
"""The form that the compiler is given."""


def _nested(operation: str, *passes: str) -> str:
    return f"{operation}({','.join(passes)})"


def _pipeline(*passes: str) -> str:
    return _nested("builtin.module", *passes)


def stages(
    activations: str = "int8",
    profile: bool = False,
    tile_tokens: int = 0,
    block_bytes: int = 0,
    launches: bool = False,
) -> tuple[Stage, ...]:
    """All stages in order. ``activations``: what quantized weights meet, ``int8`` codes or ``exact`` f32.
    (With ``int8`` weights in bf16 meet bf16, where the target has an instruction for it.)
    ``profile``: the code counts the calls and the time of its kernels. ``tile_tokens``, ``block_bytes``: how
    products are cut, options of ``lumen-synthesize-product``; 0 for what the pass does by itself.
    ``launches``: kernels are launched one after the other, so that the last stage has kernels only.

    Everything else that the passes want to know is in the module: its ``lumen.target`` and
    ``lumen.max_tokens``.
    """
    return (
        lumen_to_fused(activations),
        fused_to_loops(tile_tokens, block_bytes),
        loops_to_vector(launches),
        VECTOR_TO_LAUNCHED if launches else vector_to_llvm(profile),
    )


def lumen_to_fused(activations: str) -> Stage:
    """What is computed together, on weights in their packed layout: layers and steps only call kernels."""
    return Stage(
        "fused",
        _pipeline(
            # First: products of linalg take the same way as lumen.linear.
            "lumen-raise-linalg",
            # What is left of linalg, and its neighbours.
            "lumen-prepare-tensors",
            # Everything behind it works on lumen.qlinear.
            "lumen-fuse-quantized-linear",
            # Before products merge, which compares their activations.
            f"lumen-quantize-activations{{mode={activations}}}",
            "lumen-merge-linears",
            # Behind merging, so that it changes the weights of a product once.
            "lumen-pack-weights",
            # Last: a kernel's name and signature follow from all of the above.
            "lumen-form-kernels",
            "lumen-check-fused",
        ),
    )


def fused_to_loops(tile_tokens: int, block_bytes: int) -> Stage:
    """How it is computed: kernels as loops over buffers, the register tiles of products in linalg."""
    chosen = (("tokens", tile_tokens), ("block-bytes", block_bytes))
    options = " ".join(f"{name}={value}" for name, value in chosen if value)
    cut = f"{{{options}}}" if options else ""
    return Stage(
        "loops",
        _pipeline(
            # The synthesis writes loops over buffers, so there must be buffers; and the straight lines of
            # calls are still tensors with one definition each, from which the place of every result follows.
            "lumen-bufferize",
            # Each replaces the bodies of its own kind of kernel; their order does not matter.
            f"lumen-synthesize-product{cut}",
            "lumen-synthesize-rows",
            "lumen-synthesize-attention",
            "lumen-synthesize-routing",
            "lumen-synthesize-pack",
            "lumen-synthesize-tensors",
            # For whoever reads this stage. (Canonicalization would change slices that the next one matches.)
            "cse",
            "lumen-check-stage{stage=loops}",
        ),
    )


def loops_to_vector(launches: bool) -> Stage:
    """Registers and memory: vectors, ``lumen.dot4``, buffers in one arena; alike for every thread count."""
    # While the buffers of a function are apart; it decides how long these are in use. (Between launches,
    # there is no memory of a block.)
    repeat = () if launches else ("lumen-repeat-rows",)
    return Stage(
        "vector",
        _pipeline(
            "lumen-vectorize-product",
            "lumen-vectorize-tensors",
            *repeat,
            # Any time after bufferization would do; here the vector stage shows where each buffer lies.
            "lumen-plan-memory",
            # Unrolled tiles repeat their constants: merged first, canonicalization takes a hundredth of the
            # time.
            _nested("func.func", "cse", "canonicalize", "cse"),
            "lumen-check-stage{stage=vector}",
        ),
    )


def _shared_out(profile: bool) -> tuple[str, ...]:
    """The first half of the last stage, for which functions must be seen together with what they call."""
    return (
        # First, so that everything behind it works on each loop once.
        "lumen-share-loops",
        # Loops become shares of a worker, then the worker becomes a pointer that functions pass on. Only
        # then is it known which functions meet a barrier, which decides what LLVM may assume of pointers.
        _nested("func.func", "lumen-spmd", "lumen-order-lanes"),
        # While functions are called by name: a warp's memory is that of the kernel that takes the most.
        "lumen-distribute-lanes",
        # When it is known where workers wait.
        "lumen-fetch-ahead",
        # While kernels are called by name, and there still is a worker to ask for.
        *(["lumen-profile-kernels"] if profile else []),
        "lumen-lower-team",
        "lumen-flatten-arguments",
    )


_TO_LLVM = (
    # What targets differ in, while vectors still are of the vector dialect.
    _nested("func.func", "lumen-approximate-math"),
    "lumen-lower-dot4",
    "lumen-expand-f16",
    _nested("func.func", "lumen-fuse-multiply-add"),
    "lumen-lower-warps",
    # Its slots are the flat arguments.
    "lumen-export-entry",
    # Function by function, so that several are lowered at once.
    _nested(
        "func.func",
        # Division by constants and index arithmetic fold while they still are of the arith dialect.
        "canonicalize",
        "cse",
        # Views become address arithmetic, which expands into affine.apply.
        "expand-strided-metadata",
        "lower-affine",
        # When all of it is there, while loops still show how far they count.
        "lumen-narrow-indices",
        "convert-scf-to-cf",
        # Lowers multi-dimensional vectors, which convert-to-llvm does not.
        "convert-vector-to-llvm",
    ),
    "convert-to-llvm",
    # The memrefs built from pointers, and their uses by now-flat calls, cancel out.
    "reconcile-unrealized-casts",
    _nested("llvm.func", "canonicalize", "cse"),
    # What lives across calls is known when all addresses are computed.
    "lumen-park-values",
    "lumen-emulate-gpu",
    "lumen-define-gpu-runtime",
    "lumen-check-stage{stage=llvm}",
)


def vector_to_llvm(profile: bool) -> Stage:
    """One native entry per public function, for a team of threads."""
    return Stage("llvm", _pipeline(*_shared_out(profile), *_TO_LLVM))


def vector_to_kernels(profile: bool) -> Stage:
    """The first half of ``vector_to_llvm``, which ends with each kernel in a module of its own."""
    return Stage("kernels", _pipeline(*_shared_out(profile), "lumen-split-kernels"))


KERNEL_TO_LLVM = Stage("llvm", _pipeline(*_TO_LLVM))
"""The second half, for the module of a kernel, or of what calls kernels."""


_TO_LAUNCHES = (
    _nested("func.func", "lumen-spmd", "lumen-order-lanes"),
    "lumen-distribute-lanes",
    # Kernels end where all workers meet. What calls them then has no kernels to call, but a list to write.
    "lumen-split-phases",
    "lumen-record-launches",
)

VECTOR_TO_LAUNCHES = Stage("kernels", _pipeline("lumen-share-loops", *_TO_LAUNCHES))
"""In place of ``vector_to_kernels`` for hosts that launch kernels one after the other: NVIDIA's GPUs.

Kernels are then code for the device, for ``KERNELS_TO_LLVM``, and what calls them is code for the host, for
``CALLS_TO_LLVM``.
"""

_TO_KERNELS = (
    "lumen-keep-side{side=device}",
    # The team is an argument of each kernel.
    "lumen-lower-team",
    "lumen-flatten-arguments",
    *_TO_LLVM,
)

KERNELS_TO_LLVM = Stage("llvm", _pipeline(*_TO_KERNELS))
"""All kernels in one module, each of which can be launched."""

CALLS_TO_LLVM = Stage("llvm", _pipeline("lumen-keep-side{side=host}", "lumen-flatten-arguments", *_TO_LLVM))
"""What writes the list of launches."""

VECTOR_TO_LAUNCHED = Stage("llvm", _pipeline("lumen-share-loops", *_TO_LAUNCHES, *_TO_KERNELS))
"""``VECTOR_TO_LAUNCHES`` and ``KERNELS_TO_LLVM``."""

VECTOR_TO_SHADERS = Stage(
    "kernels", _pipeline(*_TO_LAUNCHES, "lumen-split-kernels", "lumen-flatten-arguments")
)
"""The same for Vulkan: each kernel in a module of its own.

What calls kernels is code for the host, which ``KERNEL_TO_LLVM`` takes.
"""

_TO_SPIRV = (
    # What targets differ in, while vectors still are of the vector dialect.
    _nested("func.func", "lumen-approximate-math"),
    "lumen-lower-dot4",
    _nested("func.func", "lumen-fuse-multiply-add"),
    "lumen-lower-workgroups",
    # Views become address arithmetic, which expands into affine.apply.
    _nested("func.func", "canonicalize", "cse", "expand-strided-metadata", "lower-affine"),
    "lumen-lower-buffers",
    # What SPIR-V has no instructions for. (Its control flow is structured: scf stays.)
    "lumen-scalarize-vectors",
    _nested("func.func", "arith-expand{include-bf16=true}", "canonicalize", "cse"),
    "lumen-convert-to-spirv",
)

KERNEL_TO_SPIRV = Stage("spirv", _pipeline(*_TO_SPIRV))
"""A shader for Vulkan, of the module of a kernel."""

VECTOR_TO_SPIRV = Stage(
    "spirv", _pipeline(*_TO_LAUNCHES, "lumen-split-kernels", _nested("builtin.module", *_TO_SPIRV))
)
"""All shaders, each in a module inside of the one that has what launches them."""


LLVM_PASSES = "function({})".format(
    ",".join(
        (
            "early-cse<memssa>",
            "simplifycfg",
            # What does not change leaves the loop, whose condition moves to its end.
            "loop-mssa(loop-rotate,licm)",
            # Loops count in the way that takes one instruction less; what stands in short ones becomes
            # straight lines.
            "loop(indvars,loop-unroll-full)",
            "loop-unroll<O3>",
            # Shuffles first: what they make of vectors decides which of them are on the stack.
            "vector-combine",
            "instcombine<no-verify-fixpoint>",
            "early-cse<memssa>",
            "simplifycfg",
        )
    )
)
"""What LLVM does to its IR, as ``opt -passes`` takes it, before it generates code.

Kernels come unrolled and vectorized, so they need none of the passes that look for such chances, which take
most of the time of LLVM's own pipelines. All passes work on single functions: code does not depend on what
else there is in a module.
"""
