# SPDX-License-Identifier: Apache-2.0
"""The rotary embedding in ``config.json``, in GGUF's terms.

Until transformers 5, ``rope_theta`` and ``rope_scaling`` said what ``rope_parameters`` says now. Where a file
has several, ``rope_scaling`` counts before ``rope_parameters``, and both before keys outside of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from lumen_mlir.errors import shown
from lumen_mlir.gguf import types as T
from lumen_mlir.hf.values import Values
from lumen_mlir.models import llama3_divisors
from lumen_mlir.models.rope import yarn_magnitude

CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length")
"""Names of the longest context."""

# "dynamic" changes the base for texts beyond the longest context only, and there are none.
_SCALINGS = ("default", "linear", "yarn", "llama3", "longrope", "dynamic")
_OTHER_NAMES = {"su": "longrope", "none": "default", "dynamic": "default"}


class HFRope:
    """The parameters of one configuration.

    Args:
      config: the whole of it.
      head_size: values of a head.
      layer_types: of the layers whose heads turn; classes may have parameters for each.

    Attributes:
      base: theta.
      rotated: values of a head that turn with its position.
    """

    def __init__(self, config: Values, head_size: int, layer_types: Iterable[str]):
        self._config = config
        given = [self._object(name, set(layer_types)) for name in ("rope_scaling", "rope_parameters")]
        self._values = Values(f"{config.where}: 'rope_scaling'", {**given[1], **given[0]})
        self._kind = self._type(given)
        self.base = self._values.positive("rope_theta", default=config.positive("rope_theta", default=1e4))
        share = self._values.number("partial_rotary_factor", default=1.0)
        share = config.number("partial_rotary_factor", default=share)
        if not 0 < share <= 1:
            raise config.error(
                f"'partial_rotary_factor' is {share:g}; a number above 0, at most 1, was expected"
            )
        self.rotated = int(head_size * share)

    def _object(self, name: str, layer_types: set[str]) -> dict[str, Any]:
        values = self._config.get(name, {})
        if not isinstance(values, dict):
            raise self._config.error(f"'{name}' is {shown(values)}; an object was expected")
        if not values or not all(isinstance(value, dict) for value in values.values()):
            return values
        # A set of parameters for each type of layer.
        used = [values[kind] for kind in sorted(layer_types) if kind in values] or list(values.values())
        if any(other != used[0] for other in used):
            raise self._config.error(f"'{name}' differs by type of layer, which is not supported")
        return used[0]

    def _type(self, given: list[dict[str, Any]]) -> str:
        named = [values.get(key) for values in given for key in ("rope_type", "type")]
        kind = next((kind for kind in named if kind), "default")
        if not isinstance(kind, str) or kind not in (*_SCALINGS, *_OTHER_NAMES):
            raise self._config.error(
                f"'rope_scaling' is of type {shown(kind)}; supported are {', '.join(_SCALINGS)}"
            )
        if self._values.get("mrope_section") is not None:
            raise self._config.error(
                "'rope_scaling' has an 'mrope_section': rotary embeddings of images are not supported"
            )
        return _OTHER_NAMES.get(kind, kind)

    def _original_context(self) -> int:
        usual = self._config.integer(*CONTEXT, least=1)
        usual = self._config.integer("original_max_position_embeddings", default=usual, least=1)
        return self._values.integer("original_max_position_embeddings", default=usual, least=1)

    def entries(self) -> dict[str, tuple[Any, int]]:
        """The metadata of GGUF, without its prefix."""
        entries: dict[str, tuple[Any, int]] = {
            "rope.dimension_count": (self.rotated, T.U32),
            "rope.freq_base": (self.base, T.F32),
        }
        if self._kind in ("default", "llama3"):
            return entries
        entries["rope.scaling.type"] = self._kind, T.STRING
        if self._kind == "longrope":
            return {**entries, **self._longrope()}
        entries["rope.scaling.factor"] = self._values.positive("factor"), T.F32
        return entries if self._kind == "linear" else {**entries, **self._yarn()}

    def _longrope(self) -> dict[str, tuple[Any, int]]:
        original = self._original_context()
        # The factor follows from the lengths where both are there, as in transformers.
        stretch = self._config.integer(*CONTEXT) / original
        stretch = self._values.positive("factor", default=1.0) if stretch == 1 else stretch
        usual = 1.0
        if stretch > 1:
            if original == 1:
                raise self._config.error("'original_max_position_embeddings' is 1; LongRoPE needs more")
            usual = math.sqrt(1 + math.log(stretch) / math.log(original))
        return {
            "rope.scaling.original_context_length": (original, T.U32),
            "rope.scaling.attn_factor": (self._values.positive("attention_factor", default=usual), T.F32),
        }

    def _yarn(self) -> dict[str, tuple[Any, int]]:
        if self._values.flag("truncate", True) is False:
            raise self._config.error("'rope_scaling' is YaRN with truncate false, which is not supported")
        factor = self._values.positive("factor")
        entries: dict[str, tuple[Any, int]] = {
            "rope.scaling.original_context_length": (self._original_context(), T.U32)
        }
        for key in ("beta_fast", "beta_slow"):
            if self._values.get(key) is not None:
                entries[f"rope.scaling.yarn_{key}"] = self._values.positive(key), T.F32
        usual = wanted = yarn_magnitude(factor)
        if self._values.get("attention_factor") is not None:
            wanted = self._values.positive("attention_factor")
        elif self._values.get("mscale") and self._values.get("mscale_all_dim"):
            above, below = (
                yarn_magnitude(factor, self._values.number(key)) for key in ("mscale", "mscale_all_dim")
            )
            if below == 0:
                raise self._config.error("'rope_scaling' has an 'mscale_all_dim' that makes a magnitude of 0")
            wanted = above / below
        if wanted != usual:
            entries["rope.scaling.attn_factor"] = wanted / usual, T.F32
        return entries

    def divisors(self) -> dict[str, np.ndarray]:
        """The tensors, float32 [dimensions / 2], that divide the frequencies of the rotary embedding."""
        if self._kind == "llama3":
            low, high = (self._values.number(f"{name}_freq_factor") for name in ("low", "high"))
            if low == high:
                raise self._config.error(
                    f"'rope_scaling' has low_freq_factor and high_freq_factor {low:g}; they must differ"
                )
            factor = self._values.positive("factor")
            values = llama3_divisors(self.rotated, self.base, factor, low, high, self._original_context())
            return {"rope_freqs.weight": _float32(values)}
        if self._kind != "longrope":
            return {}
        count = self.rotated // 2
        return {
            f"rope_factors_{name}.weight": _float32(self._values.numbers(f"{name}_factor", count))
            for name in ("short", "long")
        }


def _float32(values: Iterable[float]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(list(values), np.float32)
