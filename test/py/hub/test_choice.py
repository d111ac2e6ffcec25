# SPDX-License-Identifier: Apache-2.0
"""Which files of a repository a name means."""

from __future__ import annotations

import pytest

from lumen_mlir.hub.choice import candidates, choose
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName

FORMATS = {
    "qwen2.5-0.5b-instruct-q4_k_m.gguf": "q4_k_m",
    "Llama-3.2-1B-Instruct-Q8_0.gguf": "q8_0",
    "Model.Q5_K_S.gguf": "q5_k_s",
    "tiny_llama_Q4_0.gguf": "q4_0",
    "Model.i1-IQ3_XXS.gguf": "iq3_xxs",
    "Model-UD-Q4_K_XL.gguf": "ud-q4_k_xl",
    "model-MXFP4_MOE.gguf": "mxfp4_moe",
    "phi-3-fp16.gguf": "f16",
    "EXAONE-4.0-1.2B-BF16.gguf": "bf16",
    "Q2_K/model-00001-of-00001.gguf": "q2_k",
    "BF16/model.gguf": "bf16",
    "model.gguf": None,
    "Qwen2-1_5b.gguf": None,
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_in_names(name):
    (found,) = candidates([name])
    assert found.format == FORMATS[name]


FILES = [
    ".gitattributes",
    "README.md",
    "config.json",
    "imatrix.gguf",
    "m-F16.gguf",
    "m-Q4_K_M.gguf",
    "m-Q8_0.gguf",
    "m-UD-Q4_K_XL.gguf",
    "mmproj-m-F16.gguf",
    "Q6_K/m-Q6_K-00001-of-00003.gguf",
    "Q6_K/m-Q6_K-00002-of-00003.gguf",
    "Q6_K/m-Q6_K-00003-of-00003.gguf",
]
CHOICES = {
    "hf:u/r": ["m-Q4_K_M.gguf"],
    "hf:u/r:q8_0": ["m-Q8_0.gguf"],
    "hf:u/r:Q8_0": ["m-Q8_0.gguf"],
    "hf:u/r:fp16": ["m-F16.gguf"],
    "hf:u/r:q4_k_xl": ["m-UD-Q4_K_XL.gguf"],
    "hf:u/r:ud-q4_k_xl": ["m-UD-Q4_K_XL.gguf"],
    "hf:u/r:m-q8_0": ["m-Q8_0.gguf"],
    "hf:u/r:m-q8_0.gguf": ["m-Q8_0.gguf"],
    "hf:u/r:q6_k": FILES[-3:],
    "hf:u/r/Q6_K/m-Q6_K-00002-of-00003.gguf": FILES[-3:],
}


@pytest.mark.parametrize("text", CHOICES)
def test_choice(text):
    assert list(choose(candidates(FILES), HubName.parse(text)).files) == CHOICES[text]


def test_defaults():
    def default(*names: str) -> str:
        return choose(candidates(names), HubName("u/r")).files[0]

    assert default("a-F16.gguf", "a-Q8_0.gguf", "a-Q2_K.gguf") == "a-Q8_0.gguf"
    assert default("a-F16.gguf", "a-IQ2_S.gguf") == "a-F16.gguf"
    assert default("a-IQ2_S.gguf") == "a-IQ2_S.gguf"
    assert default("config.json", "model.safetensors", "tokenizer.json", "a.gguf") == "a.gguf"


FOLDER = [
    "README.md", "config.json", "generation_config.json", "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "onnx/model.onnx", "original/c.pth",
    "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip


def test_folders():
    """Small files first, so that what is interrupted is not taken for a model."""
    chosen = choose(candidates(FOLDER), HubName.parse("hf:u/r:q4_k_m"))
    assert chosen.is_folder
    assert chosen.files == (
        "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json",
        "tokenizer_config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    )  # fmt: skip
    # A single file is what transformers takes.
    one = choose(candidates([*FOLDER, "model.safetensors", "consolidated.safetensors"]), HubName("u/r"))
    assert [name for name in one.files if name.endswith("safetensors")] == ["model.safetensors"]
    # What GGUF files do not have, the folder is quantized to.
    both = candidates([*FOLDER, "m-Q8_0.gguf"])
    assert not choose(both, HubName.parse("hf:u/r")).is_folder
    assert choose(both, HubName.parse("hf:u/r:q4_0")).is_folder


MISTAKES = {
    "hf:u/r:q3_k_m": "hf:u/r: has no 'q3_k_m'; there are f16, q4_k_m, q6_k, q8_0, ud-q4_k_xl",
    "hf:u/r/x.gguf": "hf:u/r: has no file 'x.gguf'; there are f16, ",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes(text):
    with pytest.raises(HubError) as caught:
        choose(candidates(FILES), HubName.parse(text))
    assert str(caught.value).startswith(MISTAKES[text])


def test_what_cannot_be_chosen():
    def error(text: str, *names: str) -> str:
        with pytest.raises(HubError) as caught:
            choose(candidates(names), HubName.parse(text))
        return str(caught.value)

    assert error("hf:u/r", "README.md", "mmproj-x-f16.gguf") == (
        "hf:u/r: has neither GGUF files nor a model in safetensors"
    )
    said = error("hf:u/r:q4_0", "a-q4_0.gguf", "b-q4_0.gguf", "c.gguf")
    assert said == "hf:u/r:q4_0: could be a-q4_0.gguf, b-q4_0.gguf; name one: hf:u/r:a-q4_0"
    said = error("hf:u/r:q4_0", "x/a-q4_0.gguf", "y/a-q4_0.gguf")
    assert said.endswith("name one: hf:u/r:x/a-q4_0.gguf")
    assert "could be a.gguf, b.gguf" in error("hf:u/r", "a.gguf", "b.gguf")
    assert error("hf:u/r", "a-q4_0-00001-of-00003.gguf") == (
        "hf:u/r: 2 parts of a-q4_0-00001-of-00003.gguf are missing"
    )
    assert "missing" in error("hf:u/r", *FOLDER[:3], *FOLDER[4:])
    many = error("hf:u/r:q4_0", *(f"m{number}.gguf" for number in range(40)))
    assert many.endswith(" and 28 more")
