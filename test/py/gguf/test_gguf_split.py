# SPDX-License-Identifier: Apache-2.0
"""Models that are split into several GGUF files."""

from __future__ import annotations

import numpy as np
import pytest
from gguf_samples import split_model

from lumen_mlir import LLM
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile


def test_parts_are_one_model(tmp_path):
    source, paths = split_model(tmp_path)
    for path in (paths[0], paths[2]):
        whole = GGUFFile.open(path)
        assert whole.metadata.string("general.architecture") == "qwen2"
        assert whole.path == str(paths[0])
        assert list(whole.tensors) == list(source.tensors) and whole.size > source.size
        for name in source.tensors:
            assert np.array_equal(whole.raw(name), source.raw(name))
        assert np.array_equal(whole.array("output_norm.weight"), source.array("output_norm.weight"))
        whole.release("output_norm.weight")
        whole.release()
        with pytest.raises(LumenError, match="no tensor 'x' among"):
            whole.raw("x")
    assert whole.fingerprint() == GGUFFile.open(paths[0]).fingerprint() != source.fingerprint()


def test_a_split_model_generates_the_same(tmp_path):
    _, paths = split_model(tmp_path)
    options = {"context": 64, "threads": 1}
    texts = [
        LLM(path, **options).generate("배우들의", 8, temperature=0).text()
        for path in (embedded_model_path(), paths[0])
    ]
    assert texts[0] == texts[1] == " 연기가 정말 일품이었어요."


def test_missing_parts_are_named(tmp_path):
    _, paths = split_model(tmp_path)
    paths[1].unlink()
    with pytest.raises(LumenError, match="1 of 3 parts of the model are missing: model-00002-of-00003.gguf"):
        GGUFFile.open(paths[0])
    paths[2].unlink()
    with pytest.raises(LumenError, match="2 of 3 parts .*model-00002-of-00003.gguf, model-00003"):
        GGUFFile.open(paths[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({1: {"no": 2}}, "00002-of-00003.gguf: is part 2 by its name, 3 by 'split.no'"),
        ({0: {"count": 2}}, "one of 3 parts by its name, of 2 by 'split.count'"),
        ({1: {"count": 4}}, "'split.count' is 4, but 3 in .*different models"),
        ({2: {"tensors.count": 9}}, "00003.gguf: 'split.tensors.count' is 9, but .*different models"),
        ({n: {"tensors.count": 99} for n in range(3)}, "the 3 parts have 74 tensors, but .* is 99"),
    ],
)
def test_mixed_parts_are_refused(tmp_path, changes, message):
    _, paths = split_model(tmp_path, changes)
    with pytest.raises(LumenError, match=message) as caught:
        GGUFFile.open(paths[0])
    assert "\n" not in str(caught.value)


def test_tensors_that_come_twice_are_refused(tmp_path):
    _, paths = split_model(tmp_path, names={0: ["output_norm.weight"]})
    with pytest.raises(LumenError, match="tensor 'output_norm.weight' is in .*00001-of-00003.gguf too"):
        GGUFFile.open(paths[0])


def test_a_part_by_another_name_is_refused(tmp_path):
    _, paths = split_model(tmp_path)
    other = paths[1].rename(tmp_path / "other.gguf")
    with pytest.raises(LumenError, match="part 2 of 3 .* not called NAME-00002-of-00003.gguf"):
        GGUFFile.open(other)
