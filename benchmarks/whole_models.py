# SPDX-License-Identifier: Apache-2.0
"""Whole models with random weights in every format: do the kernels generate the reference's tokens?

    python benchmarks/whole_models.py [--shape qwen2.5-0.5b] [--layers 2] [--vocab 4096] [--formats q4_k_m,…]

For each format a file of the shape is written, and the reference continues a prompt greedily. The compiled
engine gets the same tokens, so that every position is compared by itself, and NumPy runs beside each of its
kernels with the same inputs (``lumen_mlir.testing.step_check``). What is printed of a format:

  equal      the same choice at every position.
  near-tie   another choice, and rounding explains it: no kernel is further from NumPy than the order of a
             sum makes it, and 8-bit codes differ only where the value was half-way between two. For each
             such position: both tokens, how far apart the reference has their logits, how far the engine
             moved them, and the first codes by which the two runs differ.
  differs    anything else, also with the same choices; the exit status is 1.

That the gap is less than twice the largest difference of a logit is no evidence: it follows from the choice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from lumen_mlir.models import Model
from lumen_mlir.quantize import mixtures
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.step_check import CheckedSession, RecordedSession
from lumen_mlir.testing.synthetic import FORMATS, SHAPES, write_synthetic

PROMPT = list(range(5, 14))
TOKENS = 8


def logits_of(session, tokens: list[int] | None = None) -> np.ndarray:
    """float32 [TOKENS, vocabulary]: behind the prompt and each of ``tokens`` (default: the likeliest)."""
    rows = [session.step(PROMPT, 0, len(PROMPT) - 1)[-1].copy()]
    while len(rows) < TOKENS:
        token = int(rows[-1].argmax()) if tokens is None else tokens[len(rows) - 1]
        rows.append(session.step([token], len(PROMPT) + len(rows) - 1)[-1].copy())
    return np.stack(rows)


def moved_codes(checked: CheckedSession, reference: RecordedSession) -> str:
    """By how much of their codes and KV caches the two runs differ, and what the first codes were before."""
    pairs = list(zip(checked.activations, reference.activations, strict=True))
    differing = [(number, a, b, a.codes != b.codes) for number, (a, b) in enumerate(pairs)]
    caches = list(zip(checked.caches, reference.caches, strict=True))
    text = (
        f"from the reference's run differ {sum(int(m.sum()) for *_, m in differing)} codes "
        f"and {sum(int((a != b).sum()) for a, b in caches)} elements of KV caches"
    )
    for number, a, b, moved in differing:
        if moved.any():
            at = tuple(np.argwhere(moved)[0])
            return (
                f"{text}; first, in activation {number}: {b.values[at]:.5f} became {b.codes[at]} there "
                f"and {a.values[at]:.5f} {a.codes[at]} here"
            )
    return text


def compare(model: Model, options: SessionOptions, cache: Cache) -> tuple[str, list[str]]:
    """The verdict, and lines that explain it."""
    reference, checked = RecordedSession(model, options), CheckedSession(model, options)
    expected = logits_of(reference)
    tokens = expected.argmax(axis=1).tolist()
    logits = logits_of(Stepper(model, options, cache=cache), tokens)
    same = np.array_equal(logits_of(checked, tokens), logits)
    distance = np.linalg.norm(logits - expected, axis=1) / np.linalg.norm(expected, axis=1)
    moved, codes = sum(c.moved for c in checked.checks), sum(a.codes.size for a in checked.activations)
    lines = [
        f"logits differ by {distance.min():.1e} to {distance.max():.1e} of their norm",
        f"kernels by at most {max(c.error for c in checked.checks):.1e} of a row's norm, "
        f"{moved} of {codes} codes by at most {max(c.margin for c in checked.checks):.1e} from half-way",
    ]
    failed = [check for check in checked.checks if not check.passed]
    partings = np.flatnonzero(logits.argmax(axis=1) != tokens)
    for at in partings:
        chosen = int(logits[at].argmax())
        gap, move = expected[at, tokens[at]] - expected[at, chosen], (logits - expected)[at]
        lines.append(
            f"position {at}: {chosen} instead of {tokens[at]}; the reference has them {gap:.1e} apart, "
            f"the engine moved them by {abs(move[tokens[at]] - move[chosen]):.1e} "
            f"(logits: {distance[at]:.1e} of their norm)"
        )
    if len(partings):
        lines.append(moved_codes(checked, reference))
    if not same:
        lines.append("the session's logits are not those of its kernels one by one")
    lines += [f"not explained: {check}" for check in failed]
    return "differs" if failed or not same else "near-tie" if len(partings) else "equal", lines


def main() -> int:
    first = {mixtures.base(name): name for name in reversed(FORMATS)}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="qwen2.5-0.5b", choices=SHAPES)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--formats", default=",".join(first.values()))
    parser.add_argument("--kv-type", default="f16", choices=("f16", "f32"))
    parser.add_argument("--activations", default="int8", choices=("int8", "exact"))
    options = parser.parse_args()
    session = SessionOptions(
        threads=1, context=64, kv_type=options.kv_type, activations=options.activations, pack_cache=False
    )
    counts = {"equal": 0, "near-tie": 0, "differs": 0}
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "model.gguf", Cache(folder)
        for name in options.formats.split(","):
            write_synthetic(path, options.shape, name, 1, options.layers, options.vocab)
            verdict, lines = compare(Model.open(path), session, cache)
            counts[verdict] += 1
            print(f"{name:8} {verdict}", *lines, sep="\n  ", flush=True)
            cache.clear()
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"{options.shape}, {options.layers} layers, {options.activations}, KV {options.kv_type}: {summary}")
    return 1 if counts["differs"] else 0


if __name__ == "__main__":
    sys.exit(main())
