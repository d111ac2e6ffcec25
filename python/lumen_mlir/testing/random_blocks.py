# SPDX-License-Identifier: Apache-2.0
"""Random weights made directly as quantized blocks, without quantizing anything.

Every byte of a block that holds codes is a random byte (which is valid in each of these formats); the scales
are then set so that the dequantized weights have mean about 0 and the standard deviation asked for. Scales
vary from block to block, so that a kernel that mixes them up gives wrong results.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from lumen_mlir import formats
from lumen_mlir.gguf.types import TYPES_BY_NAME

# The 16 values that iq4_nl and iq4_xs codes stand for (``kvalues_iq4nl`` of ggml-common.h).
IQ4_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
# Likewise mxfp4: twice the values of the 4-bit float E2M1.
MXFP4_VALUES = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)

# Block scales are uniform in (1 ± this) times their mean; the factor keeps the standard deviation of the
# weights.
_SPREAD = 0.25
_SPREAD_RMS = (1 + _SPREAD**2 / 3) ** 0.5


def random_weights(rng: np.random.Generator, type_name: str, count: int, deviation: float) -> np.ndarray:
    """``count`` weights (a multiple of the block) of ggml type ``type_name``, as bytes (uint8).

    Dequantized, they have mean 0 and standard deviation ``deviation``. ``KeyError`` for types not in
    ``TYPES``.
    """
    if type_name in _FLOATS:
        return _FLOATS[type_name](rng.standard_normal(count, dtype=np.float32) * np.float32(deviation))
    kind = TYPES_BY_NAME[type_name]
    blocks = np.frombuffer(bytearray(rng.bytes(count // kind.block * kind.nbytes)), np.uint8)
    blocks = blocks.reshape(-1, kind.nbytes)
    _FILL[type_name](rng, blocks, deviation)
    return blocks.reshape(-1)


def _bf16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


_FLOATS = {
    "f32": lambda values: values.view(np.uint8),
    "f16": lambda values: values.astype(np.float16).view(np.uint8),
    "bf16": _bf16,
}


def _uniform_rms(levels: int) -> float:
    """Standard deviation of a uniform choice among ``levels`` consecutive integers."""
    return ((levels**2 - 1) / 12) ** 0.5


def _scales(rng: np.random.Generator, count: int, mean: float, signed: bool = False) -> np.ndarray:
    """Random block scales around ``mean``.

    ``signed`` ones are negative half of the time, which cancels the bias of codes whose range is not
    symmetric (-8 to 7, say).
    """
    scales = rng.random(count, dtype=np.float32) * (2 * _SPREAD) + (1 - _SPREAD)
    if signed:
        scales *= np.where(rng.integers(0, 2, count, dtype=np.uint8), np.float32(1), np.float32(-1))
    return scales * np.float32(mean / _SPREAD_RMS)


def _set_half(blocks: np.ndarray, offset: int, values: np.ndarray) -> None:
    blocks[:, offset : offset + 2] = values.astype("<f2").view(np.uint8).reshape(-1, 2)


def _symmetric(code_rms: float, offset: int = 0, signed: bool = True) -> Callable:
    """Formats with one scale per block (at ``offset``) over everything else."""

    def fill(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
        _set_half(blocks, offset, _scales(rng, len(blocks), deviation / code_rms, signed))

    return fill


def _affine(levels: int) -> Callable:
    """q4_1 and q5_1: d * code + m, with m placed so that the block's mean is 0."""

    def fill(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
        scales = _scales(rng, len(blocks), deviation / _uniform_rms(levels))
        _set_half(blocks, 0, scales)
        _set_half(blocks, 2, scales * np.float32(-(levels - 1) / 2))

    return fill


def _fill_q2_k(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
    # Scale nibble 4 to 15 and the same minimum: with dmin = 1.5 d each group's mean is 0.
    groups = blocks[:, :16]
    nibbles = 4 + groups % 12
    groups[:] = nibbles << 4 | nibbles
    nibble_rms = np.sqrt(np.mean(np.arange(4, 16) ** 2))
    scales = _scales(rng, len(blocks), deviation / (_uniform_rms(4) * nibble_rms))
    _set_half(blocks, 80, scales)
    _set_half(blocks, 82, scales * np.float32(1.5))


def _six_bit_scales(levels: int) -> Callable:
    """q4_k and q5_k: eight 6-bit scales and eight 6-bit minima in 12 bytes from byte 4 on."""

    def fill(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
        scale = 32 + rng.integers(0, 28, (len(blocks), 8), dtype=np.uint8)
        # The minimum differs from the scale by a little, so that mixing the two up shows.
        least = scale + rng.integers(0, 5, scale.shape, dtype=np.uint8) - np.uint8(2)
        packed = blocks[:, 4:16]
        packed[:, 0:4] = scale[:, :4] | scale[:, 4:] >> 4 << 6
        packed[:, 4:8] = least[:, :4] | least[:, 4:] >> 4 << 6
        packed[:, 8:12] = scale[:, 4:] & 15 | (least[:, 4:] & 15) << 4
        scale_rms = np.sqrt(np.mean(np.arange(32, 60) ** 2))
        supers = _scales(rng, len(blocks), deviation / (_uniform_rms(levels) * scale_rms))
        _set_half(blocks, 0, supers)
        _set_half(blocks, 2, supers * np.float32((levels - 1) / 2))

    return fill


def _fill_q6_k(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
    # Scale bytes 64 to 127 with a random sign: large enough to be exact, and no group's bias adds up.
    groups = blocks[:, 192:208]
    groups[:] = np.where(groups & 0x80, 192 - (groups & 0x3F), 64 + (groups & 0x3F))
    scale_rms = np.sqrt(np.mean(np.arange(64, 128) ** 2))
    _set_half(blocks, 208, _scales(rng, len(blocks), deviation / (_uniform_rms(64) * scale_rms)))


def _fill_mxfp4(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
    # The scale is a power of two, 2^(e-128): the nearest to what the deviation asks, or the next one down.
    exponent = round(np.log2(deviation / np.std(MXFP4_VALUES) / np.sqrt(0.625))) + 128
    blocks[:, 0] = exponent - (blocks[:, 0] & 1)


def _put_iq1_m(blocks: np.ndarray, values: np.ndarray) -> None:
    # The half is spread over the top nibbles of four words.
    bits = values.astype("<f2").view(np.uint16)
    for i in range(4):
        high = blocks[:, 49 + 2 * i]
        high[:] = high & 15 | (bits >> 4 * i & 15).astype(np.uint8) << 4


def _measured(put: Callable, name: str) -> Callable:
    """Formats whose random bytes stand for weights around 0, in units of one half per block.

    ``put`` writes the halves; what the bytes stand for is measured on a sample.
    """

    @cache
    def code_rms() -> float:
        fmt = formats.get(name)
        sample = np.random.default_rng(0).integers(0, 256, (4096, fmt.bytes_per_block), dtype=np.uint8)
        put(sample, np.ones(len(sample), np.float32))
        return float(np.square(fmt.dequantize(sample), dtype=np.float64).mean() ** 0.5)

    def fill(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
        put(blocks, _scales(rng, len(blocks), deviation / code_rms(), signed=True))

    return fill


def _half_at(offset: int) -> Callable:
    return lambda blocks, values: _set_half(blocks, offset, values)


def _fill_nvfp4(rng: np.random.Generator, blocks: np.ndarray, deviation: float) -> None:
    # Scales are E4M3 floats (0x7F is zero), half of what the doubled table asks for.
    exponent, mantissa = np.divmod(np.arange(0x7F), 8)
    values = np.where(exponent, (8 + mantissa) * 2.0 ** (exponent - 10.0), mantissa * 2.0**-9) / 2
    wanted = _scales(rng, len(blocks) * 4, deviation / float(np.std(MXFP4_VALUES)))
    middles = (values[1:] + values[:-1]) / 2
    blocks[:, :4] = np.searchsorted(middles, wanted).reshape(-1, 4)


_FILL: dict[str, Callable[[np.random.Generator, np.ndarray, float], None]] = {
    "q8_0": _symmetric(_uniform_rms(256)),
    "q4_0": _symmetric(_uniform_rms(16)),
    "q5_0": _symmetric(_uniform_rms(32)),
    "iq4_nl": _symmetric(float(np.std(IQ4_VALUES))),
    "q4_1": _affine(16),
    "q5_1": _affine(32),
    "q2_k": _fill_q2_k,
    # Random scale bytes are 6-bit numbers from -32 to 31; codes are -4 to 3.
    "q3_k": _symmetric(_uniform_rms(8) * _uniform_rms(64), offset=108),
    "q4_k": _six_bit_scales(16),
    "q5_k": _six_bit_scales(32),
    "q6_k": _fill_q6_k,
    "iq4_xs": _symmetric(float(np.std(IQ4_VALUES)) * _uniform_rms(64)),
    "mxfp4": _fill_mxfp4,
    "nvfp4": _fill_nvfp4,
    "tq1_0": _measured(_half_at(52), "tq1_0"),
    "tq2_0": _measured(_half_at(64), "tq2_0"),
    "iq1_m": _measured(_put_iq1_m, "iq1_m"),
    **{
        name: _measured(_half_at(0), name)
        for name in ("q1_0", "q2_0", "iq1_s", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s")
    },
}

TYPES = (*_FLOATS, *_FILL)
