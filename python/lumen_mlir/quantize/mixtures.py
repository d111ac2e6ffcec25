# SPDX-License-Identifier: Apache-2.0
"""Which tensor of a model gets which type in a file of a given format.

llama.cpp's formats such as Q4_K_M are mixtures: matrices that matter more get more bits. The rules here are
those of its quantizer (``llama_tensor_get_type`` and ``tensor_type_fallback`` of ``src/llama-quant.cpp`` in
2026; those for Falcon and for formats that need an importance matrix are left out), so that files are laid
out alike. Any other format is its own mixture: all matrices are stored in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lumen_mlir import formats
from lumen_mlir.errors import LumenError

# What a mixture stores most matrices as, and its number in ``general.file_type``.
MIXTURES = {
    "f32": ("f32", 0),
    "f16": ("f16", 1),
    "q4_0": ("q4_0", 2),
    "q4_1": ("q4_1", 3),
    "q8_0": ("q8_0", 7),
    "q5_0": ("q5_0", 8),
    "q5_1": ("q5_1", 9),
    "q2_k": ("q2_k", 10),
    "q3_k_s": ("q3_k", 11),
    "q3_k_m": ("q3_k", 12),
    "q3_k_l": ("q3_k", 13),
    "q4_k_s": ("q4_k", 14),
    "q4_k_m": ("q4_k", 15),
    "q5_k_s": ("q5_k", 16),
    "q5_k_m": ("q5_k", 17),
    "q6_k": ("q6_k", 18),
    "iq4_nl": ("iq4_nl", 25),
    "iq4_xs": ("iq4_xs", 30),
    "bf16": ("bf16", 32),
    "tq1_0": ("tq1_0", 36),
    "tq2_0": ("tq2_0", 37),
    "mxfp4_moe": ("mxfp4", 38),
    "q1_0": ("q1_0", 40),
    "q2_0": ("q2_0", 41),
}
_ALIASES = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}
# Numbers of formats that llama.cpp does not mix, or mixes by an importance matrix.
_OTHER_NUMBERS = {
    "iq2_xxs": 19, "iq2_xs": 20, "iq3_xxs": 23, "iq1_s": 24, "iq3_s": 26, "iq2_s": 28, "iq1_m": 31,
    "mxfp4": 38, "nvfp4": 39,
}  # fmt: skip

# What a type becomes where a row is not a multiple of its block.
_FALLBACK = {
    "q2_k": "q4_0",
    "q3_k": "q4_0",
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
    "iq4_xs": "iq4_nl",
    "tq1_0": "q4_0",
    "tq2_0": "q4_0",
    "q2_0": "q4_0",
    **{name: "iq4_nl" for name in _OTHER_NUMBERS if name.startswith("iq")},
}

_VALUES = ("attn_v", "attn_qkv", "attn_kv_b")
# Parts of names of matrices that are small, or not multiplied with activations: they stay as they are.
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "position_embd",
    "per_layer_model_proj", "token_types", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight",
    "indexer.q_proj.weight", "time_mix_", "attn_rel_b.weight",
)  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """What the rules look at in a model.

    Attributes:
      layers: transformer blocks.
      group: query heads per head of keys and values.
      experts: 0 for a dense model.
      tied: True where the embedding table is also the output's.
      importance: True where an importance matrix is used.
    """

    layers: int
    group: int = 1
    experts: int = 0
    tied: bool = False
    importance: bool = False


def names() -> tuple[str, ...]:
    """All formats of files that llama.cpp knows."""
    return (*MIXTURES, *_OTHER_NUMBERS)


def find(name: str) -> str:
    """The canonical name of a mixture or format; LumenError for unknown ones."""
    name = name.lower()
    name = _ALIASES.get(name, name)
    if name not in MIXTURES:
        formats.get(name)
    return name


def base(mixture: str) -> str:
    """What ``mixture`` stores most matrices as."""
    return MIXTURES[mixture][0] if mixture in MIXTURES else mixture


def file_type(mixture: str) -> int | None:
    """The number in ``general.file_type``; None for formats that have none."""
    return MIXTURES[mixture][1] if mixture in MIXTURES else _OTHER_NUMBERS.get(mixture)


def part_of(tensor: str) -> str:
    """``attn_v`` of ``blk.3.attn_v.weight``."""
    return re.sub(r"^blk\.\d+\.", "", tensor).removesuffix(".weight")


def is_value(part: str) -> bool:
    """True for matrices that make the values of attention; the rules count these by themselves."""
    return part in _VALUES


def is_quantized(tensor: str, dimensions: int) -> bool:
    """True for tensors that are stored in the file's format: matrices that multiply activations."""
    return dimensions >= 2 and tensor.endswith("weight") and not any(kept in tensor for kept in _KEPT)


def matrix_type(mixture: str, part: str, columns: int, index: int, traits: Traits) -> str:
    """The type that a matrix should have in a file of the format ``mixture``, whether or not it fits.

    Args:
      mixture: as ``find`` returns it.
      part: as ``part_of`` returns it.
      columns: the matrix's.
      index: the layer it is of (of values: how many such matrices stand before it).
      traits: of the model.
    """
    if mixture not in MIXTURES:
        return mixture
    kind = MIXTURES[mixture][0]
    if formats.get(kind).is_float:
        return kind
    return _mixed(mixture, kind, part, columns, index, traits)


def fitting(kind: str, columns: int) -> str:
    """``kind``, or what takes its place where ``columns`` is not a multiple of its block.

    LumenError where nothing does: for formats that are not llama.cpp's.
    """
    for name in (kind, _FALLBACK.get(kind)):
        if name is not None and columns % formats.get(name).block == 0:
            return name
    if kind in {base for base, _ in MIXTURES.values()} or kind in _FALLBACK:
        return "f16"
    raise LumenError(
        f"a row of {columns} weights is not a multiple of the block of {kind}, {formats.get(kind).block}"
    )


def _mixed(mixture: str, kind: str, part: str, columns: int, index: int, traits: Traits) -> str:
    if part == "output" or (part == "token_embd" and traits.tied):
        if mixture in ("q8_0", "mxfp4_moe") or columns % formats.get(kind).block:
            return "q8_0"
        return "q6_k"
    if mixture == "mxfp4_moe":
        return kind if part.endswith("_exps") else "q8_0"
    if part == "token_embd":
        return "q4_k" if mixture in ("tq1_0", "tq2_0", "q2_0") else kind
    layers, grouped = traits.layers, traits.group >= 4
    early = index < layers // 8
    more = early or index >= 7 * layers // 8 or (index - layers // 8) % 3 == 2
    if part in _VALUES:
        return _values_type(mixture, kind, index, grouped, more, traits)
    if part == "attn_k" and traits.experts == 8:
        return "q8_0"
    if part.startswith("ffn_down"):
        special = {
            "q2_k": "q3_k",
            "q3_k_m": "q5_k" if index < layers // 16 else "q4_k",
            "q3_k_l": "q5_k",
            "q4_k_s": "q5_k" if early else kind,
            "q4_k_m": "q6_k" if more else kind,
            "q5_k_m": "q6_k" if more else kind,
        }
        if traits.importance:
            special |= {"q4_0": "q4_1", "q5_0": "q5_1"} if early else {}
        else:
            special |= {"iq4_nl": "q5_k", "iq4_xs": "q5_k"} if early else {}
        return special.get(mixture, kind)
    if part == "attn_output":
        if traits.experts == 8:
            return "q5_k" if mixture in _MORE_FOR_EIGHT_EXPERTS else kind
        return {"q2_k": "q3_k", "q3_k_m": "q4_k", "q3_k_l": "q5_k"}.get(mixture, kind)
    return kind


_MORE_FOR_EIGHT_EXPERTS = ("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m", "iq4_nl", "iq4_xs")


def _values_type(mixture: str, kind: str, index: int, grouped: bool, more: bool, traits: Traits) -> str:
    special = {
        "q2_k": "q4_k" if grouped else "q3_k",
        "q3_k_m": "q5_k" if index < 2 else "q4_k",
        "q3_k_l": "q5_k",
        "q4_k_s": "q5_k" if index < 4 else kind,
        "q4_k_m": "q6_k" if more else kind,
        "q5_k_m": "q6_k" if more else kind,
        "iq4_nl": "q5_k" if grouped else kind,
        "iq4_xs": "q5_k" if grouped else kind,
    }
    chosen = special.get(mixture, kind)
    if traits.layers == 80 and chosen in ("q3_k", "q4_k"):
        chosen = "q5_k"  # models of 70 billion weights, whose values are few
    return "q8_0" if traits.experts == 8 else chosen
