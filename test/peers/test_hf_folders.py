# SPDX-License-Identifier: Apache-2.0
"""Folders that transformers saved: run as they are, and converted to GGUF for llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peers
import pytest
import torch
import transformers
from family_peers import LLAMA_VOCABULARY, hf_config, hf_state
from hf_samples import tokenizer_json, write_json

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.model_source import open_model
from lumen_mlir.hf import HFFolder
from lumen_mlir.quantize import quantization
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.testing import families
from lumen_mlir.testing.families import FAMILIES
from lumen_mlir.text.tokenizer import Tokenizer

SAVED = [name for name, family in FAMILIES.items() if family.hf_class]


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.fixture(params=SAVED)
def saved(request, tmp_path):
    """The family, the folder that transformers wrote, in two shards, and its logits."""
    family = FAMILIES[request.param]
    cls, config = hf_config(family, LLAMA_VOCABULARY)
    model = cls(config).to(torch.float32).eval()
    state = hf_state(family, LLAMA_VOCABULARY)
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        ids = torch.from_numpy(families.tokens(LLAMA_VOCABULARY).astype(np.int64))
        logits = model(ids[None]).logits[0].numpy()
    folder = tmp_path / "model"
    model.half().save_pretrained(folder, max_shard_size="100kB")
    write_json(folder / "tokenizer.json", tokenizer_json(LLAMA_VOCABULARY))
    return family, folder, logits


def test_folder(saved):
    family, folder, expected = saved
    session = ReferenceSession(open_model(folder), context=64, kv_type="f32")
    assert distance(session.step(families.tokens(LLAMA_VOCABULARY), 0), expected) < 1e-4


def test_converted_for_llama_cpp(saved, tmp_path):
    family, folder, expected = saved
    if not family.llama_cpp:
        pytest.skip("llama.cpp does not compute this family's attention or does not know it")
    if family.name in ("qwen2", "exaone4"):
        pytest.skip("llama.cpp wants heads of width / heads values in this family")
    check_llama_cpp(folder, expected, families.tokens(LLAMA_VOCABULARY), tmp_path)


def check_llama_cpp(folder: Path, expected: np.ndarray, ids: np.ndarray, tmp_path: Path) -> None:
    source = HFFolder.open(folder)
    experts = any("_exps" in name for name in source.tensors)
    # With F16 weights llama.cpp rounds what they are multiplied with to F16 too, which sends tokens to other
    # experts; in dense models half of the tokens are nearer than the limit.
    for format in ("f32",) if experts else ("f32", "f16"):
        path = tmp_path / f"{format}.gguf"
        quantization.quantize_file(source, path, quantization.Choices(format))
        logits = peers.LlamaCpp(path, 128, kv_type="f32").logits(ids)
        if format == "f32":
            assert distance(logits, expected) < 1e-4
        else:
            assert np.median([distance(*rows) for rows in zip(logits, expected, strict=True)]) < 2e-3


@pytest.mark.parametrize("shape", peers.SHAPES)
def test_converted_qwen2_for_llama_cpp(tmp_path, shape):
    model = peers.tiny_qwen2(shape, 5)
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, 60)
    expected = peers.transformers_logits(model, ids)
    folder = tmp_path / "model"
    model.half().save_pretrained(folder)
    write_json(folder / "tokenizer.json", tokenizer_json(model.config.vocab_size))
    check_llama_cpp(folder, expected, ids, tmp_path)


def test_tokenizer_of_converted_files(tmp_path):
    """llama.cpp and transformers give the ids that Lumen gives."""
    family = FAMILIES["llama"]
    cls, config = hf_config(family, LLAMA_VOCABULARY)
    folder = tmp_path / "model"
    cls(config).half().save_pretrained(folder)
    write_json(folder / "tokenizer.json", tokenizer_json(LLAMA_VOCABULARY))
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "add_bos_token": False})
    path = tmp_path / "f16.gguf"
    quantization.quantize_file(HFFolder.open(folder), path, quantization.Choices("f16"))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    llama = peers.LlamaCpp(path, 64)
    own = Tokenizer.from_gguf(HFFolder.open(folder))
    for text in ("abc hello 한국어 12345", "<|im_start|>user\nab<|im_end|>", " \n\n x\t", "don't I'VE"):
        assert own.encode(text) == theirs(text, add_special_tokens=False).input_ids
        assert own.encode(text, special=False) == llama.tokenize(text)


def test_pickles_of_transformers(tmp_path: Path):
    cls, config = hf_config(FAMILIES["qwen2"], LLAMA_VOCABULARY)
    config.save_pretrained(tmp_path)
    config_path = tmp_path / "config.json"
    config_path.write_text(config_path.read_text().replace("{", '{"architectures": ["Qwen2ForCausalLM"],', 1))
    torch.save(cls(config).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(LumenError, match="only pickled weights"):
        HFFolder.open(tmp_path)
