# SPDX-License-Identifier: Apache-2.0
"""``LLM`` on the embedded model, with both engines."""

from __future__ import annotations

import numpy as np
import pytest

import lumen_mlir
from lumen_mlir.errors import LumenError
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import write_synthetic

GREEDY = dict(temperature=0.0)


def assert_same(llm, value, expected) -> None:
    """Equal; but NumPy rounds products differently for other numbers of rows, which tips 8-bit codes over."""
    tolerance = 0 if llm.engine == "compiled" else 1e-2
    assert np.linalg.norm(value - expected) <= tolerance * np.linalg.norm(expected)


@pytest.fixture(scope="module", params=["compiled", "reference"])
def llm(tmp_path_factory, request):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    return lumen_mlir.LLM(engine=request.param, context=128, chunk=16, cache=cache)


def evaluated(llm, ids) -> int:
    """How many tokens of a prompt are computed."""
    generation = llm.generate(ids, 1, **GREEDY)
    generation.text()
    return generation.evaluated


def test_the_package_offers_it():
    assert "LLM" in dir(lumen_mlir) and lumen_mlir.__version__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lumen_mlir.nothing


def test_tokens(llm):
    ids = llm.tokenize("이 영화")
    assert ids[0] == llm.tokenizer.bos and llm.detokenize(ids) == "이 영화"
    assert llm.tokenize("이 영화", add_bos=False) == ids[1:]


def test_module(llm):
    text = str(llm.module)
    assert "func.func @step" in text and "lumen.max_tokens = 16" in text


def test_generates_what_llama_cpp_generates(llm):
    assert llm.generate("배우들의", 16, **GREEDY).text() == " 연기가 정말 일품이었어요."
    generation = llm.generate("오랜만에", 16, **GREEDY)
    assert generation.text() == " 다시 봤는데 역시 재밌다" and generation.finish_reason == "end"


def test_empty_prompt_begins_a_text(llm):
    assert llm.generate("", 4, **GREEDY).prompt == [llm.tokenizer.bos]
    assert llm.generate("", 4, **GREEDY).text()


def test_seed(llm):
    def draw(seed):
        return llm.generate("이 영화", 8, temperature=1.5, seed=seed).text()

    assert draw(1) == draw(1) and draw(1) != draw(2)


def test_logits_do_not_depend_on_what_was_computed_before(llm):
    ids = llm.tokenize("이 영화는 정말 재미있게 봤어요. 배우들의 연기도 좋았습니다. " * 2)
    assert len(ids) > 16  # more than one chunk
    logits = llm.logits(ids)
    assert logits.dtype == np.float32 and logits.shape == (len(ids), 8192)
    assert_same(llm, llm.last_logits(ids[:-1]), logits[-2])
    assert_same(llm, llm.last_logits(ids), logits[-1])
    assert evaluated(llm, ids) == 1
    assert evaluated(llm, [*ids[:12], 7, 8, 9]) == 3
    llm.forget()
    assert evaluated(llm, ids) == len(ids)


def test_two_generations_at_once(llm):
    first, second = (llm.generate(prompt, 12, **GREEDY) for prompt in ("배우들의", "오랜만에"))
    pieces = [], []
    while True:
        found = [next(first, None), next(second, None)]
        if found == [None, None]:
            break
        for texts, piece in zip(pieces, found, strict=True):
            texts.append(piece or "")
    assert ["".join(texts) for texts in pieces] == [" 연기가 정말 일품이었어요.", " 다시 봤는데 역시 재밌다"]


def test_interrupted_step_leaves_no_trace(llm, monkeypatch):
    ids = llm.tokenize("배우들의 연기가")
    expected = llm.last_logits(ids)
    llm.forget()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(llm._batcher._scheduler.steps, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            llm.last_logits(ids)
    assert evaluated(llm, ids) == len(ids)
    llm.forget()
    assert_same(llm, llm.last_logits(ids), expected)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda llm: llm.logits([]), "there are no tokens to compute"),
        (lambda llm: llm.logits([8192]), "token id 8192 is outside the vocabulary of 8192 tokens"),
        (lambda llm: llm.generate([-1]), "token id -1 is outside"),
        (lambda llm: llm.logits([1] * 129), "129 tokens do not fit the context of 128 tokens"),
        (lambda llm: llm.logits(range(10**9)), "token id [0-9]+ is outside the vocabulary of"),
        (lambda llm: llm.last_logits(5), "token ids are 5; a list of whole numbers was expected"),
        (
            lambda llm: llm.generate("a", stop=np.array("b")),
            "stop is .*; a text or a list of texts was expected",
        ),
        (lambda llm: llm.generate("a", stop=["b"] * 2000), "there are more than 1024 stop strings"),
        (lambda llm: llm.chat("a", tools=5), "the tools are 5; a list of descriptions was expected"),
        (lambda llm: llm.chat("a", variables=5), "the variables are 5; a mapping was expected"),
        (lambda llm: llm.tokenize(np.zeros(2)), "the text is .*; a string was expected"),
        (lambda llm: llm.detokenize(1.5), "token ids are 1.5; a list of whole numbers was expected"),
        (lambda llm: llm.generate([1] * 129), "the prompt is 129 tokens long, but the context is 128 tokens"),
        (lambda llm: llm.generate("a", temperature=-1), "temperature is -1"),
        (lambda llm: llm.generate("\ud800"), "not valid Unicode"),
        (lambda llm: llm.chat([{"role": "user", "content": "안녕"}]), "the model has no chat template"),
    ],
)
def test_refusals(llm, call, message):
    with pytest.raises(LumenError, match=message):
        call(llm)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(engine="fast"), "unknown engine 'fast'; known are compiled, reference"),
        (dict(engine=np.zeros(2)), "unknown engine array.*; known are compiled, reference"),
        (dict(path=5), "the path of a model was expected, got int"),
        (dict(format=("q4_0",)), "format is .*; a name was expected"),
        (dict(threads=0), "threads is 0; a whole number of at least 1 and at most 1024"),
        (dict(context=-1), "context is -1"),
        (dict(context=False), "context is False"),
        (dict(context=4096), "a context of 4096 tokens is longer than the model's own of 2048 tokens"),
        (dict(kv_type="q4_0"), "unknown KV type 'q4_0'; known are f16, f32, q8_0"),
        (dict(activations="int4"), "unknown activations 'int4'"),
        (dict(chunk=0), "chunk is 0"),
        (dict(speed=1), "unknown option 'speed'; known are threads"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(LumenError, match=message):
        lumen_mlir.LLM(**options)


def test_chat(tmp_path):
    write_synthetic(tmp_path / "tiny.gguf", "tiny", "q8_0")
    llm = lumen_mlir.LLM(tmp_path / "tiny.gguf", context=256, cache=Cache(tmp_path / "cache"))
    messages = [{"role": "user", "content": "hello"}]
    answer = llm.chat(messages, 4, **GREEDY)
    assert llm.detokenize(answer.prompt, special=True) == (
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    text = answer.text()
    again = llm.chat([*messages, {"role": "assistant", "content": text}, *messages], 2, **GREEDY)
    # The conversation so far is not computed again.
    next(again, None)
    assert 0 < again.evaluated < len(again.prompt)
