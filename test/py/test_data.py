# SPDX-License-Identifier: Apache-2.0
"""The embedded model is shipped, small enough, and readable."""

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile


def test_embedded_model():
    path = embedded_model_path()
    assert path.stat().st_size <= 8_000_000
    f = GGUFFile.open(path)
    assert f.metadata["general.architecture"] == "qwen2"
    assert len(f.metadata["tokenizer.ggml.tokens"]) == f.tensors["token_embd.weight"].shape[0] == 8192
    assert path.with_name("lumen-ko-comments-7m.md").is_file()
