# SPDX-License-Identifier: Apache-2.0
"""Models with weights in bf16, dense and with experts, on targets that multiply pairs of bf16."""

import numpy as np
import pytest
from emulated import marks_of
from pair_targets import PAIRS

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.testing.convert import convert_weights
from lumen_mlir.testing.families import tokens, write_family
from lumen_mlir.testing.step_check import CheckedSession, RecordedSession
from lumen_mlir.testing.synthetic import Shape, write_synthetic

BEST = list(PAIRS.values())[-1]
BFDOT = "armv8.6-a+i8mm"
TARGETS = [pytest.param(BEST, id=BEST.name), pytest.param(BFDOT, marks=marks_of(BFDOT))]
# The emulator takes long for every kernel of a step.
RARELY_EMULATED = [TARGETS[0], pytest.param(BFDOT, marks=[*marks_of(BFDOT), pytest.mark.matrix])]
# Columns that are no multiples of 8 pairs.
SHAPE = Shape(36, 1, 3, 1, 12, 46, 301, 128, False)
PROMPT = [5, 17, 200, 33, 7, 9, 11]


def options(target, **chosen) -> SessionOptions:
    settings = {"threads": 1, "context": 64, "chunk": 8, "pack_cache": False, **chosen}
    return SessionOptions(target=target, **settings)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.gguf"
    write_synthetic(path, SHAPE, "bf16", seed=2)
    return Model.open(path)


def run(session) -> np.ndarray:
    """The logits of a prompt and of one token behind it."""
    return np.concatenate([session.step(PROMPT, 0).copy(), session.step([44], len(PROMPT)).copy()])


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("target", RARELY_EMULATED)
def test_kernels(small, target):
    """Each kernel beside NumPy: activations are rounded to bf16 but where they were half-way."""
    chosen = options(target)
    checked = CheckedSession(small, chosen)
    logits = run(checked)
    assert any("to_bf16" in check.kernel for check in checked.checks)
    assert all(check.passed for check in checked.checks), checked.checks
    np.testing.assert_array_equal(logits, run(Stepper(small, chosen)))
    assert distance(logits, run(RecordedSession(small, chosen))) < 5e-3


@pytest.mark.parametrize("target", TARGETS)
def test_tokens_and_threads(small, target):
    """The same bits token by token, in chunks, and by a team."""
    whole = Stepper(small, options(target)).step(PROMPT, 0).copy()
    team = Stepper(small, options(target, threads=2, chunk=3))
    chunks = [team.step(PROMPT[i : i + 3], i).copy() for i in range(0, len(PROMPT), 3)]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    single = np.concatenate([team.step([token], i).copy() for i, token in enumerate(PROMPT)])
    np.testing.assert_array_equal(single, whole)


@pytest.mark.parametrize("activations", ["int8", "exact"])
@pytest.mark.parametrize("name", ["qwen3", "exaone-moe"])
def test_families(tmp_path, name, activations):
    ids = tokens()
    write_family(tmp_path / "f16.gguf", name, type_name="f16")
    convert_weights(GGUFFile.open(tmp_path / "f16.gguf"), tmp_path / "m.gguf", "bf16")
    model = Model.open(tmp_path / "m.gguf")
    chosen = options(BEST, kv_type="f32", activations=activations, chunk=32, threads=2)
    session = Stepper(model, chosen, tuned=Tuning(tile_tokens=2))
    logits = np.concatenate([session.step(ids[i : i + 32], i).copy() for i in (0, 32)])
    expected = RecordedSession(model, chosen).step(ids, 0)
    assert distance(logits, expected) < (5e-3 if activations == "int8" else 1e-4)
    single = np.concatenate([session.step([token], i).copy() for i, token in enumerate(ids)])
    np.testing.assert_array_equal(single, logits)


def test_the_embedded_model(tmp_path):
    """The most likely tokens are those of the reference; without rounding they seldom differ."""
    convert_weights(GGUFFile.open(embedded_model_path()), tmp_path / "m.gguf", "bf16")
    model = Model.open(tmp_path / "m.gguf")
    chosen = options(BEST, chunk=16)
    session, reference = Stepper(model, chosen), RecordedSession(model, chosen)
    assert "lumen.to_bf16" in str(reference.module)
    ids = np.random.default_rng(1).integers(0, model.config.vocabulary, 16).tolist()
    for _ in range(16):
        ids.append(int(reference.step(ids, 0)[-1].argmax()))
    logits, expected = (each.step(ids[:16], 0).copy() for each in (session, reference))
    assert distance(logits, expected) < 5e-3
    for position in range(16, len(ids) - 1):
        row = session.step([ids[position]], position)[-1]
        likely = np.sort(row)[-2:]
        # Or they are as likely within rounding.
        assert row.argmax() == ids[position + 1] or likely[1] - likely[0] <= 1e-2 * abs(row).max()
