# SPDX-License-Identifier: Apache-2.0
"""Reads hyperparameters from GGUF metadata, with checks that name the key, the file and the numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from lumen_mlir.errors import quoted
from lumen_mlir.gguf import Metadata, TensorInfo
from lumen_mlir.models.config import Attention, Experts, ModelConfig, ModelError
from lumen_mlir.models.rope import LongRope, Rope, Yarn, divisors_of, yarn_magnitude

# Above every real model and below what overflows a 32-bit index.
_LARGEST = (1 << 31) - 1
# Far above every real model; memory is taken by the number of layers and the size of a head before any tensor
# shows whether they are true.
MOST_LAYERS = MOST_HEAD_SIZE = 1 << 14
_SCALINGS = ("none", "linear", "yarn", "longrope")
_GATINGS = {1: "softmax", 2: "sigmoid"}
_BETAS = {"fast": 32.0, "slow": 1.0}


logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where a model is read from: metadata in GGUF's terms, and tensors by GGUF's names.

    ``lumen_mlir.gguf.GGUFFile`` is one.
    """

    path: str
    metadata: Metadata

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def array(self, name: str) -> np.ndarray:
        """The elements of a float tensor."""


class ConfigReader:
    """The keys of one architecture in one file.

    Args:
      source: the file.
      architecture: prefix of the keys.
    """

    def __init__(self, source: Source, architecture: str):
        self.source = source
        self.metadata = source.metadata
        self.architecture = architecture
        self.path = source.path

    def error(self, message: str) -> ModelError:
        return ModelError(f"{self.path}: {message}")

    def key(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def has(self, key: str) -> bool:
        return self.key(key) in self.metadata

    def size(
        self,
        key: str,
        default: int | None = None,
        least: int = 1,
        most: int = _LARGEST,
        by_layer: bool = False,
    ) -> int:
        """A count from ``least`` to ``most``; without ``default`` the key must be there.

        ``by_layer``: it may be an array, with the same count for each layer.
        """
        name = self.key(key)
        if default is not None and name not in self.metadata:
            return default
        if by_layer and self.metadata.is_array(name):
            values = sorted({int(value) for value in self.metadata.integers(name)})
            if len(values) != 1:
                what = f"from {values[0]} to {values[-1]}" if values else "an empty array"
                raise self.error(f"'{name}' is {what}; layers that differ in it are not supported")
            (value,) = values
        else:
            value = self.metadata.integer(name)
        if not least <= value <= most:
            raise self.error(f"'{name}' is {value}; {least} to {most} was expected")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above zero; without ``default`` the key must be there."""
        name = self.key(key)
        if default is not None and name not in self.metadata:
            return default
        value = self.metadata.number(name)
        if not (math.isfinite(value) and value > 0):
            raise self.error(f"'{name}' is {value:g}; a number above 0 was expected")
        return value

    # --- attention ------------------------------------------------------------------------------------------

    def head_size(self, width: int, heads: int) -> int:
        """Values per head: the given key and value lengths, which must agree, or ``width / heads``."""
        given = {key: self.size(f"attention.{key}", most=MOST_HEAD_SIZE)
                 for key in ("key_length", "value_length") if self.has(f"attention.{key}")}  # fmt: skip
        if not given and width % heads:
            raise self.error(
                f"'{self.key('embedding_length')}' {width} is not a multiple of "
                f"'{self.key('attention.head_count')}' {heads}, and no key length is given"
            )
        key, value = (given.get(name, width // heads) for name in ("key_length", "value_length"))
        if key != value:
            raise self.error(
                f"'{self.key('attention.key_length')}' is {key} but '{self.key('attention.value_length')}' "
                f"is {value}; heads of two sizes are not supported"
            )
        if key > MOST_HEAD_SIZE:
            raise self.error(f"heads have {key} values; at most {MOST_HEAD_SIZE} were expected")
        return key

    def rope(self, style: str, head_size: int, base_key: str = "rope.freq_base") -> Rope:
        """The rotary embedding with its scaling."""
        dimensions = self.size("rope.dimension_count", head_size)
        if not self.has("rope.dimension_count") and head_size % 2:
            raise self.error(
                f"heads of {head_size} values cannot turn by a rotary embedding: the size is odd"
            )
        if dimensions % 2 or dimensions > head_size:
            raise self.error(
                f"'{self.key('rope.dimension_count')}' is {dimensions}; an even number of at most "
                f"{head_size}, the size of a head, was expected"
            )
        scaling, factor = self._scaling()
        base = self.positive(base_key, 10000.0)
        magnitude = self.positive("rope.scaling.attn_factor", 1.0)
        yarn = long = None
        if scaling == "yarn":
            yarn = self._yarn()
            if base <= 1:
                raise self.error(f"'{self.key(base_key)}' is {base:g}; YaRN needs a number above 1")
            magnitude *= self.positive("rope.scaling.yarn_attn_factor", 1.0)
            # llama.cpp: where the weight over all dimensions is given, only the quotient remains.
            magnitude *= yarn_magnitude(factor) / self._yarn_weight(factor)
        elif scaling == "longrope":
            original = self.size("rope.scaling.original_context_length")
            short, long_ = (
                self._divisors(f"rope_factors_{kind}.weight", dimensions) for kind in ("short", "long")
            )
            if short is None or long_ is None:
                raise self.error("LongRoPE needs 'rope_factors_short.weight' and 'rope_factors_long.weight'")
            long = LongRope(original, short, long_)
        rope = Rope(
            dimensions, base, style, factor, self._divisors("rope_freqs.weight", dimensions), yarn, long,
            magnitude,
        )  # fmt: skip
        with np.errstate(all="ignore"):
            turns = [rope.frequencies(context) * _LARGEST for context in (1, _LARGEST)]
        if not (np.isfinite(turns).all() and 0 < magnitude < np.finfo(np.float32).max):
            raise self.error(f"the rotary embedding ({rope}) makes angles that are no finite numbers")
        return rope

    def _scaling(self) -> tuple[str, float]:
        """How contexts are lengthened, and by what factor.

        As in llama.cpp: older files call the factor ``rope.scale_linear``, and without a type it is linear.
        """
        keys = [key for key in ("rope.scaling.factor", "rope.scale_linear") if self.has(key)]
        name = self.key("rope.scaling.type")
        scaling = self.metadata.string(name, "linear" if keys else "none")
        if scaling not in _SCALINGS:
            raise self.error(
                f"'{name}' is {quoted(scaling)}; supported are "
                + ", ".join(f"'{known}'" for known in _SCALINGS)
            )
        return scaling, self.positive(keys[0]) if keys and scaling in ("linear", "yarn") else 1.0

    def _yarn_weight(self, factor: float) -> float:
        """What the magnitude of YaRN is divided by."""
        key = "rope.scaling.yarn_log_multiplier"
        value = yarn_magnitude(factor, self._number(key, 0.0))
        if not (math.isfinite(value) and value > 0):
            raise self.error(
                f"'{self.key(key)}' is {self._number(key, 0.0):g}, which makes a magnitude of {value:g}; "
                "a number above 0 was expected"
            )
        return value

    def _yarn(self) -> Yarn:
        extrapolation = self._number("rope.scaling.yarn_ext_factor", 1.0)
        if not 0 <= extrapolation <= 1:
            raise self.error(
                f"'{self.key('rope.scaling.yarn_ext_factor')}' is {extrapolation:g}; 0 to 1 was expected"
            )
        betas = [self.positive(f"rope.scaling.yarn_beta_{name}", usual) for name, usual in _BETAS.items()]
        for name, beta in zip(_BETAS, betas, strict=True):
            if not 1e-6 <= beta <= 1e6:
                raise self.error(
                    f"'{self.key(f'rope.scaling.yarn_beta_{name}')}' is {beta:g}; 1e-06 to 1e+06 was expected"
                )
        fast, slow = betas
        return Yarn(self.size("rope.scaling.original_context_length"), fast, slow, extrapolation)

    def context(self, rope: Rope) -> int:
        """The longest context the model was made for: with YaRN ``factor`` times the original one.

        Files often give the original one alone, as makers tell people to switch YaRN on by hand.
        """
        given = self.size("context_length")
        if rope.yarn is None:
            return given
        return max(given, int(min(rope.factor * rope.yarn.original_context, _LARGEST)))

    def _number(self, key: str, default: float) -> float:
        value = self.metadata.number(self.key(key), default)
        if not math.isfinite(value):
            raise self.error(f"'{self.key(key)}' is {value:g}; a finite number was expected")
        return value

    def _divisors(self, name: str, dimensions: int) -> tuple[float, ...] | None:
        """The tensor ``name``, which divides frequencies; None where there is none."""
        info = self.source.tensors.get(name)
        if info is None:
            return None
        if info.shape != (dimensions // 2,) or info.type not in ("f32", "f16"):
            raise self.error(
                f"tensor '{name}' is {info.type} {list(info.shape)}; float32 [{dimensions // 2}], one "
                "for each pair that turns, was expected"
            )
        values = np.asarray(self.source.array(name), np.float64)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise self.error(f"tensor '{name}' has a divisor that is not above 0")
        return divisors_of(values)

    def local_layers(self, layers: int, period: int | None = None) -> list[bool]:
        """True for the layers with a sliding window, by the pattern that the file gives.

        A pattern is an array with one entry per layer, or a period p: each p-th layer sees all tokens
        (``period`` where the file gives none; without one, every layer has the window).
        """
        name = self.key("attention.sliding_window_pattern")
        if name not in self.metadata:
            return [period is None or index % period < period - 1 for index in range(layers)]
        value = self.metadata[name]
        if isinstance(value, np.ndarray):
            if len(value) < layers:
                raise self.error(f"'{name}' has {len(value)} entries for {layers} layers")
            return [bool(entry) for entry in value[:layers]]
        period = self.size("attention.sliding_window_pattern", least=0)
        return [period == 0 or index % period < period - 1 for index in range(layers)]

    def window(self, default: int = 0) -> int | None:
        """Tokens that a layer with a sliding window sees; None where the file has none."""
        return self.size("attention.sliding_window", default, least=0) or None

    # --- the rest -------------------------------------------------------------------------------------------

    def experts(
        self, *, gating: str = "softmax", normalized: bool = True, scale: float = 1.0
    ) -> Experts | None:
        """The mixture of experts, with the architecture's own defaults; None for a dense model."""
        count = self.size("expert_count", 0, least=0)
        if not count:
            return None
        used = self.size("expert_used_count")
        if used > count:
            raise self.error(f"'{self.key('expert_used_count')}' is {used}, but there are {count} experts")
        if self.size("expert_group_count", 1, least=0) > 1:
            raise self.error(
                f"'{self.key('expert_group_count')}' is {self.size('expert_group_count')}; experts that are "
                "chosen by groups are not supported"
            )
        number = self.size("expert_gating_func", {"softmax": 1, "sigmoid": 2}[gating], least=0) or 1
        if number not in _GATINGS:
            raise self.error(
                f"'{self.key('expert_gating_func')}' is {number}; supported are 1 (softmax) and 2 (sigmoid)"
            )
        usual = self.size("feed_forward_length", 0, by_layer=True)
        width = self.size("expert_feed_forward_length", usual or None)
        return Experts(
            count=count,
            used=used,
            feed_forward=width,
            shared=self.size(
                "expert_shared_feed_forward_length",
                width * self.size("expert_shared_count", 0, least=0),
                least=0,
            ),
            gating=_GATINGS[number],
            normalized=self.metadata.boolean(self.key("expert_weights_norm"), normalized),
            scale=self.positive("expert_weights_scale", scale) if self._scaled() else scale,
            dense_layers=self.size("leading_dense_block_count", 0, least=0),
        )

    def _scaled(self) -> bool:
        # Converters write 0 where a model has no scale.
        return self.metadata.number(self.key("expert_weights_scale"), 0.0) != 0

    def vocabulary(self, rows: int) -> int:
        """``rows`` of the embedding table, if the sizes the metadata gives are the same.

        A tokenizer may have more: tokens that were added to it, but never to the model.
        """
        sizes = {}
        if self.has("vocab_size"):
            sizes[self.key("vocab_size")] = self.size("vocab_size")
        if "tokenizer.ggml.tokens" in self.metadata:
            sizes["tokenizer.ggml.tokens"] = len(self.metadata.strings("tokenizer.ggml.tokens"))
        for name, size in sizes.items():
            if name == "tokenizer.ggml.tokens" and size > rows:
                logger.warning(
                    "%s: the tokenizer has %d tokens, the model only the first %d", self.path, size, rows
                )
            elif size != rows:
                raise self.error(f"'{name}' gives {size} tokens, but the embedding table has {rows} rows")
        return rows

    def config(self, *, rope_style: str, vocabulary: int, experts: Experts | None = None) -> ModelConfig:
        """The configuration that all decoder-only architectures share."""
        width, heads = self.size("embedding_length"), self.size("attention.head_count", by_layer=True)
        kv_heads = self.size("attention.head_count_kv", heads, by_layer=True)
        if heads % kv_heads:
            raise self.error(
                f"'{self.key('attention.head_count')}' {heads} is not a multiple of "
                f"'{self.key('attention.head_count_kv')}' {kv_heads}"
            )
        head_size = self.head_size(width, heads)
        layers, extra = self.size("block_count"), self.size("nextn_predict_layers", 0, least=0)
        if layers > MOST_LAYERS:
            raise self.error(f"'{self.key('block_count')}' is {layers}; at most {MOST_LAYERS} were expected")
        if extra >= layers:
            raise self.error(f"'{self.key('nextn_predict_layers')}' is {extra}, of {layers} layers")
        rope = self.rope(rope_style, head_size)
        all_experts = experts is not None and experts.dense_layers == 0
        return ModelConfig(
            architecture=self.architecture,
            name=self.metadata.label("general.name", self.architecture),
            vocabulary=self.vocabulary(vocabulary),
            context=self.context(rope),
            width=width,
            layers=layers - extra,
            heads=heads,
            kv_heads=kv_heads,
            head_size=head_size,
            feed_forward=self.size(
                "feed_forward_length",
                0 if all_experts else None,
                least=0 if all_experts else 1,
                by_layer=True,
            ),
            epsilon=self.positive("attention.layer_norm_rms_epsilon"),
            rope=rope,
            experts=experts,
            attention_scale=self.positive("attention.scale") if self.has("attention.scale") else None,
            extra_layers=extra,
        )

    def attentions(
        self, config: ModelConfig, *, window: int | None, period: int | None = None, global_rope: Rope | None
    ) -> tuple[Attention, ...]:
        """The attention of each layer of a model with sliding windows; () where there is no ``window``."""
        if window is None:
            return ()
        local, full = Attention(window, config.rope), Attention(None, global_rope)
        return tuple(local if is_local else full for is_local in self.local_layers(config.layers, period))
