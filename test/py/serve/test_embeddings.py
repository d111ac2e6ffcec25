# SPDX-License-Identifier: Apache-2.0
"""``/v1/embeddings``."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from server_fixture import serving

from lumen_mlir import LLM

PATH = "/v1/embeddings"
TEXTS = ["오늘 본 영화는", "이 영화는 정말 재미있어요"]


@pytest.fixture(scope="module")
def server():
    with serving(options={"context": 128}) as running:
        yield running


@pytest.fixture(scope="module")
def llm():
    with LLM(context=128) as model:
        yield model


def ask(server, **body):
    answer = server.post(PATH, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def vectors(answer) -> np.ndarray:
    assert [each["index"] for each in answer["data"]] == list(range(len(answer["data"])))
    return np.array([each["embedding"] for each in answer["data"]], np.float32)


def test_vectors_are_those_of_the_library(server, llm):
    before = server.metric("vllm:prompt_tokens_total")
    answer = ask(server, input=TEXTS)
    np.testing.assert_array_equal(vectors(answer), llm.embed(TEXTS))
    ids = [llm.tokenize(text) for text in TEXTS]
    tokens = sum(map(len, ids))
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert answer["object"] == "list" and answer["model"] == "lumen-ko-comments-7m-q8_0"
    assert {each["object"] for each in answer["data"]} == {"embedding"}
    assert server.metric("vllm:prompt_tokens_total") == before + tokens
    np.testing.assert_array_equal(vectors(ask(server, input=TEXTS[0])), vectors(answer)[:1])
    np.testing.assert_array_equal(vectors(ask(server, input=ids[0])), vectors(answer)[:1])
    np.testing.assert_array_equal(vectors(ask(server, input=ids)), vectors(answer))
    np.testing.assert_array_equal(vectors(ask(server, input=[TEXTS[0], ids[1]])), vectors(answer))


def test_forms_and_sizes(server, llm):
    answer = ask(server, input=TEXTS, encoding_format="base64", dimensions=16, pooling="mean")
    found = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in answer["data"]]
    np.testing.assert_array_equal(found, llm.embed(TEXTS, "mean", 16))
    plain = ask(server, input=TEXTS, encoding_format="float", dimensions=16, pooling="mean")
    np.testing.assert_array_equal(vectors(plain), found)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, None, "missing required field `input`"),
        ({"input": []}, "input", "a text, token ids or a list of them was expected"),
        ({"input": [["가"]]}, "input", "was expected"),
        ({"input": [1, "가"]}, "input", "was expected"),
        ({"input": [True]}, "input", "was expected"),
        ({"input": {"a": 1}}, "input", "Expected"),
        ({"input": ["가"] * 2049}, "input", "there are 2049 texts; at most 2048 were expected"),
        ({"input": [[]]}, None, "there are no tokens"),
        ({"input": [-1]}, None, "outside the vocabulary"),
        ({"input": "가", "dimensions": 257}, None, "vectors have 256 numbers"),
        ({"input": "가", "dimensions": 0}, None, "dimensions is 0"),
        ({"input": "가", "encoding_format": "hex"}, "encoding_format", "Invalid enum value 'hex'"),
        ({"input": "가", "pooling": "max"}, "pooling", "Invalid enum value 'max'"),
    ],
)
def test_wrong_requests(server, body, field, message):
    answer = server.post(PATH, body)
    error = answer.json()["error"]
    assert answer.status_code == 400 and message in error["message"], error
    assert error["param"] == field


def test_a_text_longer_than_the_context(server):
    answer = server.post(PATH, {"input": [[5], [5] * 129]})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_it_is_given_up_in_time():
    with serving(options={"context": 128}, request_timeout=1e-6) as running:
        answer = running.post(PATH, {"input": [[5] * 128] * 20})
        assert answer.status_code == 504, answer.text


def test_ollama_has_the_same_vectors(server, llm):
    name = "lumen-ko-comments-7m-q8_0"
    expected = vectors(ask(server, input=TEXTS, dimensions=16)).tolist()
    answer = server.post("/api/embed", {"model": name, "input": TEXTS, "dimensions": 16, "keep_alive": "5m"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["model"] == name and np.float32(found["embeddings"]).tolist() == expected
    assert found["prompt_eval_count"] == sum(len(llm.tokenize(text)) for text in TEXTS)
    assert 0 <= found["load_duration"] <= found["total_duration"] < 60e9
    whole = vectors(ask(server, input=TEXTS[0])).tolist()
    one = server.post("/api/embed", {"model": name, "input": TEXTS[0]}).json()
    assert np.float32(one["embeddings"]).tolist() == whole
    old = server.post("/api/embeddings", {"model": name, "prompt": TEXTS[0]}).json()
    assert list(old) == ["embedding"] and [np.float32(old["embedding"]).tolist()] == whole


def test_ollama_cuts_what_is_too_long(server, llm):
    name, text = "lumen-ko-comments-7m-q8_0", "오늘 본 영화는 " * 100
    ids = llm.tokenize(text)
    assert len(ids) > llm.context
    answer = server.post("/api/embed", {"model": name, "input": text}).json()
    expected = vectors(ask(server, input=ids[: llm.context])).tolist()
    assert np.float32(answer["embeddings"]).tolist() == expected
    assert answer["prompt_eval_count"] == llm.context
    refused = server.post("/api/embed", {"model": name, "input": text, "truncate": False})
    assert refused.status_code == 400 and "context" in refused.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/api/embed", {"input": []}, "a text, token ids or a list of them was expected"),
        ("/api/embed", {"input": [1]}, "input"),
        ("/api/embed", {}, "input"),
        ("/api/embed", {"input": "x", "dimensions": 0}, "dimensions"),
        ("/api/embed", {"input": "x", "options": {"num_ctx": 1 << 30}}, "num_ctx"),
        ("/api/embed", {"input": "x", "keep_alive": "soon"}, "keep_alive"),
        ("/api/embeddings", {"prompt": ["x"]}, "prompt"),
    ],
)
def test_wrong_requests_of_ollama(server, path, body, says):
    answer = server.post(path, {"model": "lumen-ko-comments-7m-q8_0", **body})
    assert answer.status_code == 400 and says in answer.json()["error"]


def test_unknown_models_of_ollama(server):
    assert server.post("/api/embed", {"model": "other", "input": "x"}).status_code == 404
