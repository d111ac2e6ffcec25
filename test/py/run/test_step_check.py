# SPDX-License-Identifier: Apache-2.0
"""Steps kernel by kernel: they are those of a session, and a kernel that is wrong is found."""

import numpy as np
import pytest
from emulated import EMULATED, marks_of

from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.reference import ops
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.testing.step_check import CheckedSession, RecordedSession
from lumen_mlir.testing.synthetic import Shape, write_synthetic

SHAPE = Shape(256, 1, 4, 2, 64, 512, 301, 128, False)
PROMPT = [5, 17, 200, 33, 7]


# Exact products of quantized weights take long to compile.
SMALL = Shape(96, 1, 3, 1, 32, 160, 301, 128, False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.gguf"
    write_synthetic(path, SHAPE, "q4_k_m", seed=2)
    return Model.open(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.gguf"
    write_synthetic(path, SMALL, "f16", seed=2)
    return Model.open(path)


def options(**chosen) -> SessionOptions:
    return SessionOptions(threads=1, context=64, chunk=8, pack_cache=False, **chosen)


def run(session) -> np.ndarray:
    """The logits of a prompt and of one token behind it."""
    return np.concatenate([session.step(PROMPT, 0).copy(), session.step([44], len(PROMPT)).copy()])


def kinds_on_targets() -> list:
    kinds, result = [("model", "int8", "f16"), ("small", "exact", "f32")], []
    for target in ("native", *(each.name for each in EMULATED)):
        left = [pytest.mark.matrix] if target != "native" and target != EMULATED[0].name else []
        result += [pytest.param(*kind, target, marks=[*marks_of(target), *left]) for kind in kinds]
    return result


@pytest.mark.parametrize(("name", "activations", "kv_type", "target"), kinds_on_targets())
def test_kernels(request, name, activations, kv_type, target):
    model = request.getfixturevalue(name)
    chosen = options(activations=activations, kv_type=kv_type, target=target)
    # All sizes of tiles are much to compile: for this machine's target alone.
    tile = 0 if target == "native" else 2
    checked, reference = CheckedSession(model, chosen, tile), RecordedSession(model, chosen)
    logits = run(checked)
    np.testing.assert_array_equal(logits, run(Stepper(model, chosen, tuned=Tuning(tile_tokens=tile))))
    assert all(check.passed for check in checked.checks), checked.checks
    expected = run(reference)
    assert len(checked.activations) == len(reference.activations) == (10 if activations == "int8" else 0)
    for ours, theirs in zip(checked.activations, reference.activations, strict=True):
        np.testing.assert_allclose(ours.values, theirs.values, atol=1)
    bound = 2e-2 if activations == "int8" else 1e-4
    assert np.linalg.norm(logits - expected) <= bound * np.linalg.norm(expected)


def floor_codes(x, group, sum_group, bias):
    codes, scales, _, _ = QUANTIZE(x, group, sum_group)
    values = x.reshape(len(x), -1, group) / scales[..., None]
    codes = np.floor(values).clip(-127, 127).astype(np.int8).reshape(codes.shape)
    totals = codes.reshape(len(x), -1, sum_group).sum(axis=-1, dtype=np.int32)
    return codes, scales, bias * totals, totals.astype(np.float32)


def larger_keys(cache, x, *operands, **attributes):
    """By a quarter of a float16 step."""
    return KV_APPEND(cache, x * np.float32(1 + 2**-12), *operands, **attributes)


def larger_norm(x, weight, epsilon):
    return RMS_NORM(x, weight, epsilon) * np.float32(1 + 1e-4)


QUANTIZE, KV_APPEND, RMS_NORM = ops.quantize, ops.kv_append, ops.rms_norm


@pytest.mark.parametrize(
    ("operation", "other", "kernel"),
    [
        ("quantize", floor_codes, "quantize_512"),
        ("rms_norm", larger_norm, "rms_norm_quantize_256"),
        ("kv_append", larger_keys, "rope_kv_append_256_128"),
    ],
)
def test_a_difference_is_found(model, monkeypatch, operation, other, kernel):
    monkeypatch.setattr(ops, operation, other)
    monkeypatch.setitem(ops.MEANINGS, operation, other)
    checked = CheckedSession(model, options())
    run(checked)
    failed = {check.kernel for check in checked.checks if not check.passed}
    assert kernel in failed
    assert not any(name.startswith("qlinear") for name in failed)


def test_quantized_caches_are_refused(model):
    with pytest.raises(LumenError, match="KV caches of floats"):
        CheckedSession(model, options(kv_type="q8_0"))
