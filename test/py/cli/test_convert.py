# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders on the command line: ``lumen convert``, and running a folder."""

from __future__ import annotations

import pytest
from hf_samples import write_folder

from lumen_mlir.gguf import GGUFFile

GREEDY = ("--temp", "0", "-n", "6", "-c", "64", "--ignore-eos")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("hf") / "tiny-qwen3", "qwen3", "BF16", shards=2)


def test_convert_and_run(lumen, folder, tmp_path):
    done = lumen("convert", folder, tmp_path / "a.gguf")
    assert done.returncode == 0 and done.stdout == "", done
    assert "a.gguf: qwen3 " in done.stderr and "as bf16" in done.stderr
    inspected = lumen("inspect", folder).stdout
    assert "Hugging Face folder, 2 safetensors files" in inspected and "runs           yes" in inspected
    texts = {lumen("generate", path, "-p", "abc", *GREEDY).stdout for path in (folder, tmp_path / "a.gguf")}
    assert len(texts) == 1 and texts.pop().strip()


def test_formats(lumen, folder, tmp_path):
    done = lumen("convert", folder, tmp_path / "q.gguf", "--format", "q8_0", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert GGUFFile.open(tmp_path / "q.gguf").tensors["blk.0.ffn_up.weight"].type == "q8_0"
    texts = [
        lumen("generate", folder, "-p", "abc", "--format", "q8_0", *GREEDY),
        lumen("generate", tmp_path / "q.gguf", "-p", "abc", *GREEDY),
    ]
    assert texts[0].stdout == texts[1].stdout and texts[0].returncode == 0, texts
    assert "quantized weights" in lumen("cache", "list").stdout
    assert (
        lumen("tokenize", folder, "-p", "ab", "--ids").stdout
        == lumen("tokenize", tmp_path / "q.gguf", "-p", "ab", "--ids").stdout
    )
    ends = lumen("chat", folder, "--format", "q8_0", "-n", "3", input="a\n")
    assert ends.returncode == 0, ends


def test_bad_input(refused, folder, tmp_path):
    assert "none: does not exist; a Hugging Face folder" in refused("convert", tmp_path / "none", "a.gguf")
    gguf = tmp_path / "a.gguf"
    gguf.write_bytes(b"GGUF")
    assert "a.gguf: is not a folder;" in refused("convert", gguf, "b.gguf")
    assert "unknown quantization format 'q9'" in refused(
        "convert", folder, tmp_path / "b.gguf", "--format", "q9"
    )
    assert "unknown quantization format 'q9'" in refused("generate", folder, "-p", "a", "--format", "q9")
    assert "cannot write" in refused("convert", folder, tmp_path / "no" / "b.gguf")
    assert list(tmp_path.iterdir()) == [gguf]
    assert "no 'config.json'" in refused("generate", tmp_path / "..", "-p", "a")
    broken = write_folder(tmp_path / "c", "qwen3", shards=2)
    (broken / "model-00002-of-00002.safetensors").unlink()
    message = refused("generate", broken, "-p", "a")
    assert message.endswith("1 of 2 files with weights are missing: 'model-00002-of-00002.safetensors'")
    assert "1 of 2 files with weights are missing" in refused("inspect", broken)
    (broken / "model.safetensors.index.json").unlink()
    (broken / "model-00001-of-00002.safetensors").rename(broken / "pytorch_model.bin")
    assert "Lumen never does" in refused("convert", broken, tmp_path / "b.gguf")
