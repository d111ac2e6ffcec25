# SPDX-License-Identifier: Apache-2.0
"""What the peers compute: models made and run by transformers, files quantized and run by llama.cpp."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import torch
import transformers

from lumen_mlir.testing.vocabulary import synthetic_vocabulary

# hidden, layers, heads, KV heads, feed-forward, vocabulary, tied: odd vocabularies; rows of "narrow" are not
# multiples of 256, so that a Q4_K_M file of it would fall back to other formats; "wide" takes K-quants.
SHAPES = {
    "narrow": (64, 3, 4, 2, 160, 1031, False),
    "wide": (256, 2, 4, 2, 256, 283, True),
}
_HF_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name: str) -> str:
    """The name transformers gives to the tensor ``name`` of a GGUF file."""
    if name.startswith("blk."):
        _, layer, part, kind = name.split(".")
        return f"model.layers.{layer}.{_HF_NAMES[part]}.{kind}"
    part, kind = name.split(".")
    whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    return f"{whole[part]}.{kind}"


def tiny_qwen2(shape: str, seed: int) -> transformers.Qwen2ForCausalLM:
    """A random model whose parameters are all far from trivial, and exact in float16."""
    hidden, layers, heads, kv_heads, feed_forward, vocabulary, tied = SHAPES[shape]
    config = transformers.Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_theta": 5000.0, "rope_type": "default"},
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    model = transformers.Qwen2ForCausalLM(config).to(torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                values = 1 + 0.25 * values
            elif name.endswith("bias"):
                values = 0.5 * values
            elif "embed_tokens" not in name:
                values = values * 1.5 / parameter.shape[1] ** 0.5
            parameter.copy_(values.half().float())
    return model


def write_gguf(path: Path, model: transformers.Qwen2ForCausalLM, type_name: str) -> None:
    """Writes the model with float matrices ("f32" or "f16") by the ``gguf`` package."""
    config = model.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny random Qwen2")
    writer.add_file_type({"f32": 0, "f16": 1}[type_name])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    vocabulary = synthetic_vocabulary(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(vocabulary.end_of_turn)
    writer.add_bos_token_id(vocabulary.end_of_text)
    writer.add_add_bos_token(False)
    state = model.state_dict()
    names = ["token_embd.weight", "output_norm.weight"]
    names += [] if config.tie_word_embeddings else ["output.weight"]
    for layer in range(config.num_hidden_layers):
        names += [f"blk.{layer}.{part}.weight" for part in _HF_NAMES]
        names += [f"blk.{layer}.{part}.bias" for part in ("attn_q", "attn_k", "attn_v")]
    for name in names:
        values = state[hf_name(name)].numpy()
        writer.add_tensor(
            name, values.astype(np.float16) if values.ndim == 2 and type_name == "f16" else values
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, target: Path, file_type: int) -> None:
    """Quantizes a float file by llama.cpp; ``file_type`` is one of its ``LLAMA_FTYPE`` numbers."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type
    parameters.nthread = 1
    with _quiet():
        status = llama_cpp.llama_model_quantize(
            str(source).encode(), str(target).encode(), ctypes.byref(parameters)
        )
    if status:
        raise RuntimeError(f"llama.cpp could not quantize {source} to type {file_type}")


def dequantized(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file as float32, by the ``gguf`` package."""
    reader = gguf.GGUFReader(path)
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        .astype(np.float32)
        .reshape(tuple(reversed(tensor.shape)))
        for tensor in reader.tensors
    }


def transformers_model(path: Path) -> transformers.Qwen2ForCausalLM:
    """The Qwen2 model of a GGUF file with its weights as float32, run by transformers."""
    reader = gguf.GGUFReader(path)

    def value(key: str):
        return reader.fields[f"qwen2.{key}"].contents()

    weights = dequantized(path)
    vocabulary, hidden = weights["token_embd.weight"].shape
    config = transformers.Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=value("attention.head_count"),
        num_key_value_heads=value("attention.head_count_kv"),
        max_position_embeddings=value("context_length"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_theta": value("rope.freq_base"), "rope_type": "default"},
        tie_word_embeddings="output.weight" not in weights,
        attn_implementation="eager",
    )
    model = transformers.Qwen2ForCausalLM(config).to(torch.float32).eval()
    state = {hf_name(name): torch.from_numpy(array) for name, array in weights.items()}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    return model


def transformers_logits(model: transformers.Qwen2ForCausalLM, ids: np.ndarray) -> np.ndarray:
    """float32 [tokens, vocabulary]."""
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(ids, np.int64))[None]).logits[0].numpy()


class LlamaCpp:
    """A file run by llama.cpp on the CPU, with an f16 (its default) or f32 KV cache."""

    def __init__(self, path: Path, context: int, kv_type: str = "f16"):
        kind = {"f16": llama_cpp.GGML_TYPE_F16, "f32": llama_cpp.GGML_TYPE_F32}[kv_type]
        with _quiet():
            self._llama = llama_cpp.Llama(
                str(path), n_ctx=context, n_batch=context, n_ubatch=context, n_threads=1, n_threads_batch=1,
                logits_all=True, verbose=False, n_gpu_layers=0, type_k=kind, type_v=kind, use_mmap=False,
            )  # fmt: skip

    def tokenize(self, text: str) -> list[int]:
        """Token ids, with the BOS token where the file asks for it."""
        return self._llama.tokenize(text.encode(), add_bos=True)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """float32 [tokens, vocabulary] of one prompt."""
        self._llama.reset()
        self._llama.eval([int(i) for i in ids])
        return np.array(self._llama.scores[: len(ids)], dtype=np.float32)

    def perplexity(self, ids: list[int], context: int) -> tuple[float, float, int]:
        """Value, standard error and scored tokens, as ``llama-perplexity`` computes them."""
        bos = [self._llama.token_bos()] if self._adds_bos() else []
        losses = []
        for begin in range(0, len(ids) // context * context, context):
            part = ids[begin : begin + context]
            logits = self.logits([*bos, *part[len(bos) :]])[context // 2 : -1].astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            targets = part[context // 2 + 1 :]
            losses.append(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets])
        found = np.concatenate(losses)
        value = float(np.exp(found.mean()))
        return value, value * float(found.std()) / (len(found) - 1) ** 0.5, len(found)

    def _adds_bos(self) -> bool:
        return llama_cpp.llama_vocab_get_add_bos(llama_cpp.llama_model_get_vocab(self._llama.model))

    def greedy(self, ids: list[int], count: int) -> tuple[list[int], list[float]]:
        """The ``count`` likeliest next tokens, and by how much each beats the second (of the logits)."""
        self._llama.reset()
        self._llama.eval(ids)
        tokens, gaps = [], []
        while True:
            scores = np.array(self._llama.scores[len(ids) + len(tokens) - 1])
            second, first = np.argpartition(scores, -2)[-2:]
            if scores[second] > scores[first]:
                first, second = second, first
            tokens.append(int(first))
            gaps.append(round(float(scores[first] - scores[second]), 5))
            if len(tokens) == count:
                return tokens, gaps
            self._llama.eval([tokens[-1]])


def embed(path: Path, texts: list[str], pooling: str, context: int) -> np.ndarray:
    """What llama.cpp makes of texts: float32 [texts, width], of length one."""
    kind = getattr(llama_cpp, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    with _quiet():
        llama = llama_cpp.Llama(
            str(path), n_ctx=context, n_batch=context, n_ubatch=context, n_threads=1, n_threads_batch=1,
            verbose=False, n_gpu_layers=0, embedding=True, pooling_type=kind,
        )  # fmt: skip
    return np.array([llama.embed(text, normalize=True) for text in texts], np.float32)


@contextlib.contextmanager
def _quiet():
    """llama.cpp's own messages go to the null device."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    """Relative error, norm over norm."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
