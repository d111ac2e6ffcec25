# SPDX-License-Identifier: Apache-2.0
"""Whole models in formats: the compiled session generates the tokens of the reference.

Formats that together have every feature that kernels are made by, and the floats; the rest is in the matrix.
"""

import numpy as np
import pytest
from emulated import EMULATED, EMULATED_GPU, EMULATED_LAUNCHES, WASM
from format_classes import representatives

from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.models import Model
from lumen_mlir.quantize import mixtures
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.testing.step_check import RecordedSession
from lumen_mlir.testing.synthetic import FORMATS, Shape, write_synthetic

# As wide as the largest block; the vocabulary fills no tile.
SHAPE = Shape(256, 1, 4, 2, 64, 256, 301, 128, False)
# One mixture for each format that most matrices are stored in.
ONE_EACH = {mixtures.base(name): name for name in FORMATS}
QUANTIZED = {name: formats.get(name) for name in ONE_EACH if not formats.get(name).is_float}
CHOSEN = {*representatives(QUANTIZED), *(ONE_EACH.keys() - QUANTIZED.keys())}
PROMPT, COUNT = [5, 17, 200, 33, 7], 6


def generate(run) -> tuple[list[int], np.ndarray]:
    """Greedy tokens, and the logits of all steps."""
    ids, logits = list(PROMPT), [run.step(PROMPT, 0, len(PROMPT) - 1).copy()]
    while len(ids) < len(PROMPT) + COUNT:
        ids.append(int(logits[-1][-1].argmax()))
        logits.append(run.step(ids[-1:], len(ids) - 1).copy())
    return ids, np.concatenate(logits)


def formats_on_targets() -> list:
    """In an emulator, only floats outside of the matrix: ``test_kernels`` has the others there."""
    result = []
    for name, mixture in sorted(ONE_EACH.items()):
        result.append(pytest.param(mixture, "native", marks=[] if name in CHOSEN else pytest.mark.matrix))
        for target in EMULATED:
            left = name in QUANTIZED or target != EMULATED[-1]
            marks = [pytest.mark.emulated, *([pytest.mark.matrix] if left else [])]
            result.append(pytest.param(mixture, target.name, marks=marks))
        marks = [pytest.mark.gpu, *([pytest.mark.matrix] if name not in ("f16", "bf16") else [])]
        result.append(pytest.param(mixture, EMULATED_GPU.name, marks=marks))
        marks = [pytest.mark.gpu, pytest.mark.matrix]
        result.append(pytest.param(mixture, EMULATED_LAUNCHES.name, marks=marks))
        for target in WASM:
            left = mixture != "bf16" or target != WASM[-1]
            marks = [pytest.mark.wasm, *([pytest.mark.matrix] if left else [])]
            result.append(pytest.param(mixture, target.name, marks=marks))
    return result


@pytest.mark.parametrize(("format", "target"), formats_on_targets())
def test_tokens(tmp_path, format, target):
    path = tmp_path / "m.gguf"
    write_synthetic(path, SHAPE, format, seed=2)
    model = Model.open(path)
    options = SessionOptions(threads=1, target=target, chunk=8, pack_cache=False)
    # Two sizes of tiles: the others are much to compile, and formats know nothing of them.
    ids, logits = generate(Stepper(model, options, cache=None, tuned=Tuning(tile_tokens=2)))
    if format == "bf16" and targets.get(target).bf16_dot:
        reference = RecordedSession(model, options)  # which rounds activations, as the kernels do
    else:
        reference = ReferenceSession(model, activations="int8")
    expected_ids, expected = generate(reference)
    assert np.linalg.norm(logits[0] - expected[0]) <= 2e-3 * np.linalg.norm(expected[0])
    if ids != expected_ids:
        # A tie: where they part, the reference finds both tokens as likely within rounding.
        at = next(i for i, (a, b) in enumerate(zip(ids, expected_ids, strict=True)) if a != b)
        row = expected[at - len(PROMPT)]
        assert abs(row[ids[at]] - row[expected_ids[at]]) <= 1e-3 * np.abs(row).max()
