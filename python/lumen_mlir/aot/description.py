# SPDX-License-Identifier: Apache-2.0
"""What code and weights say of themselves: text of lines "key value …", which ``runtime/embed`` reads.

``docs/decisions/ahead-of-time.md`` lists the keys.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lumen_mlir.compiler.signature import Argument, Signature
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.generate.sampling import Sampling
from lumen_mlir.models import Model
from lumen_mlir.run.program import ABI_VERSION
from lumen_mlir.version import __version__

# Counts up when the keys change; runtime/embed/Description.cpp has the same number.
FORMAT = 1


@dataclass(frozen=True)
class RopePlace:
    """Where the frequencies of a rotary table lie, in bytes of the data.

    Attributes:
      offset: of those of contexts up to ``threshold``.
      threshold: the longest context that they are for; 0 where they are for all.
      long_offset: of those of longer contexts.
    """

    offset: int
    threshold: int
    long_offset: int


def code_text(model: Model, signature: Signature, target: Target, id_: str, chunk: int) -> str:
    """The text in the code of a model's step."""
    config = model.config
    lines = [
        f"format {FORMAT}",
        f"version {__version__}",
        f"abi {ABI_VERSION}",
        f"architecture {target.architecture}",
        f"target {target.name}",
        *(f"needs {feature}" for feature in target.needs),
        f"id {id_}",
        f"vocabulary {config.vocabulary}",
        f"context {config.context}",
        f"chunk {chunk}",
        *(f"argument {argument}" for argument in _arguments(model, signature)),
    ]
    return _joined(lines)


def step_kinds(model: Model, signature: Signature) -> list[str]:
    """What each argument of a step is.

    That is "tokens", "positions", "rows", "runs", "places", "pages", "rope", "cache", "weight" or "logits".
    """
    config = model.config
    kinds = ["tokens", "positions", "rows", "runs", *["places", "pages"] * len(config.windows)]
    kinds += ["rope"] * len(config.ropes) + ["cache"] * (2 * len(config.windows))
    kinds += ["weight"] * sum(argument.name is not None for argument in signature.arguments)
    kinds.append("logits")
    names = [argument.name is not None for argument in signature.arguments]
    if names != [kind == "weight" for kind in kinds]:
        raise LumenError(f"{model.file.path}: the step takes other arguments than a library can pass")
    return kinds


def argument_bytes(argument: Argument) -> int:
    """Bytes of an array, for each of its dynamic rows or blocks where it has them."""
    known = (size for size in argument.shape or () if size is not None)
    return math.prod(known) * argument.dtype.itemsize


def _arguments(model: Model, signature: Signature) -> Iterable[str]:
    """What stands behind "argument", in the order of the step's arguments."""
    windows = {kind: [w or 0 for w in model.config.windows] for kind in ("places", "pages")}
    windows["cache"] = [w for w in windows["pages"] for _ in ("key", "value")]
    for kind, argument in zip(step_kinds(model, signature), signature.arguments, strict=True):
        if kind == "rope":
            yield f"rope {(argument.shape or ())[-1]}"
        elif kind == "cache":
            yield f"cache {windows[kind].pop(0)} {argument_bytes(argument)}"
        elif kind in windows:
            yield f"{kind} {windows[kind].pop(0)}"
        elif kind == "weight":
            yield f"weight {argument_bytes(argument)} {argument.alignment} {one_line(argument.name)}"
        else:
            yield kind


def weights_text(
    model: Model,
    target: Target,
    id_: str,
    sampling: Sampling,
    ropes: Sequence[RopePlace],
    weights: Iterable[tuple[int, int, str]],
) -> str:
    """The text in a file of weights; ``weights``: place, bytes and name of each argument that is one."""
    chosen = (sampling.temperature, sampling.top_p, sampling.min_p, sampling.repeat_penalty)
    temperature, top_p, min_p, repeat_penalty = map(_bits, chosen)
    lines = [
        f"format {FORMAT}",
        f"version {__version__}",
        f"architecture {target.architecture}",
        f"target {target.name}",
        f"code {id_}",
        f"model {one_line(model.config.name)}",
        f"sampling {temperature} {max(sampling.top_k, 0)} {top_p} {min_p} {repeat_penalty}",
    ]
    for rope, place in zip(model.config.ropes, ropes, strict=True):
        numbers = f"{place.offset} {place.threshold} {place.long_offset}"
        lines.append(f"rope {rope.dimensions} {_bits(rope.magnitude)} {numbers}")
    lines += [f"weight {offset} {size} {one_line(name)}" for offset, size, name in weights]
    return _joined(lines)


def _bits(value: float) -> str:
    """The bits of a float64, in hexadecimal: text that no locale changes."""
    return struct.pack(">d", value).hex()


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
