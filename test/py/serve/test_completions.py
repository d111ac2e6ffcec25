# SPDX-License-Identifier: Apache-2.0
"""``/v1/completions``."""

from __future__ import annotations

import numpy as np
import pytest
from server_fixture import serving

from lumen_mlir import LLM

PATH = "/v1/completions"
PROMPT = "오늘 본 영화는"
TOKENS = 5


@pytest.fixture(scope="module")
def server():
    with serving(options={"context": 512}) as running:
        yield running


@pytest.fixture(scope="module")
def llm():
    with LLM(context=512) as model:
        yield model


def ask(server, **body):
    answer = server.post(PATH, {"prompt": PROMPT, "temperature": 0, "max_tokens": TOKENS, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_text_is_that_of_the_library(server, llm):
    text = llm.generate(PROMPT, TOKENS, temperature=0).text()
    answer = ask(server)
    assert answer["choices"] == [{"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}]
    prompt = len(llm.tokenize(PROMPT))
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, TOKENS)
    assert answer["object"] == "text_completion" and answer["model"] == "lumen-ko-comments-7m-q8_0"
    assert ask(server, prompt=llm.tokenize(PROMPT))["choices"][0]["text"] == text
    assert ask(server, prompt=[PROMPT])["choices"][0]["text"] == text


def test_a_stream_is_the_text(server):
    whole = ask(server, logprobs=2)
    body = {"prompt": PROMPT, "temperature": 0, "max_tokens": TOKENS, "logprobs": 2}
    events = server.events(PATH, {**body, "stream_options": {"include_usage": True}})
    choices = [event["choices"][0] for event in events[:-1]]
    assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
    joined = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for choice in choices:
        for name, values in (choice["logprobs"] or {}).items():
            joined[name] += values
    assert joined == whole["choices"][0]["logprobs"]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["length"]
    assert events[-1]["choices"] == []
    assert {**events[-1]["usage"], "prompt_tokens_details": None} == {
        **whole["usage"],
        "prompt_tokens_details": None,
    }


def test_several_texts_of_several_prompts(server, llm):
    prompts = [PROMPT, "이 영화는"]
    body = {"prompt": prompts, "n": 2, "seed": 7, "temperature": 1.0}
    answer = ask(server, **body)
    texts = [choice["text"] for choice in answer["choices"]]
    expected = [
        llm.generate(prompt, TOKENS, temperature=1.0, seed=seed).text()
        for prompt in prompts
        for seed in (7, 8)
    ]
    assert texts == expected
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 4 * TOKENS
    parts = ["", "", "", ""]
    for event in server.events(PATH, {"max_tokens": TOKENS, **body}):
        parts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert parts == expected


def test_echo_has_the_probabilities_of_the_prompt(server, llm):
    ids = llm.tokenize(PROMPT)
    answer = ask(server, echo=True, logprobs=1, max_tokens=3, prompt=ids)
    logprobs = answer["choices"][0]["logprobs"]
    written = llm.generate(PROMPT, 3, temperature=0)
    prompt = llm.detokenize(ids, special=True)
    assert answer["choices"][0]["text"] == prompt + written.text()
    logits = llm.logits([*ids, *written.tokens]).astype(np.float64)
    expected = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    expected -= logits.max(1, keepdims=True)
    following = [*ids, *written.tokens][1:]
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    np.testing.assert_allclose(
        logprobs["token_logprobs"][1:], expected[np.arange(len(following)), following], atol=2e-5
    )
    assert "".join(logprobs["tokens"]) == prompt + written.output
    assert logprobs["text_offset"] == [
        sum(map(len, logprobs["tokens"][:place])) for place in range(len(logprobs["tokens"]))
    ]
    streamed = server.events(
        PATH, {"prompt": ids, "temperature": 0, "echo": True, "logprobs": 1, "max_tokens": 3}
    )
    joined = [
        value
        for event in streamed
        for value in (event["choices"][0]["logprobs"] or {}).get("token_logprobs", [])
    ]
    assert joined == logprobs["token_logprobs"]


def test_the_token_that_ends_a_text_has_a_record(server, llm):
    """So there are as many records as tokens, whatever was drawn."""
    end = llm.tokenizer.eos
    body = {"logit_bias": {str(end): 100}, "echo": True, "logprobs": 1, "max_tokens": 1}
    answer = ask(server, **body)
    logprobs, usage = answer["choices"][0]["logprobs"], answer["usage"]
    assert usage["completion_tokens"] == 1 and answer["choices"][0]["finish_reason"] == "stop"
    assert len(logprobs["tokens"]) == usage["prompt_tokens"] + 1
    assert logprobs["tokens"][-1] == llm.detokenize([end], special=True)
    streamed = server.events(PATH, {"prompt": PROMPT, "temperature": 0, **body})
    joined = [
        token for event in streamed for token in (event["choices"][0]["logprobs"] or {}).get("tokens", [])
    ]
    assert joined == logprobs["tokens"]


def test_echo_alone(server, llm):
    answer = ask(server, echo=True, logprobs=0, max_tokens=0)
    choice = answer["choices"][0]
    assert choice["text"] == PROMPT and choice["finish_reason"] == "length"
    assert len(choice["logprobs"]["tokens"]) == len(llm.tokenize(PROMPT))
    assert answer["usage"]["completion_tokens"] == 0


def test_what_is_known_of_a_prompt_is_told(server):
    prompt = "가장 좋아하는 영화 이야기를 해 보자. " * 20
    first = ask(server, prompt=prompt)
    again = ask(server, prompt=prompt)
    assert first["choices"] == again["choices"]
    cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached > 0.7 * again["usage"]["prompt_tokens"]
    assert again["timings"]["cache_n"] == cached
    assert again["timings"]["prompt_n"] == again["usage"]["prompt_tokens"] - cached


def test_progress_of_a_prompt(server):
    body = {"prompt": "영화 " * 300, "max_tokens": 2, "return_progress": True}
    events = server.events(PATH, body)
    steps = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert steps and all(step["total"] == steps[0]["total"] >= step["processed"] for step in steps)
    assert [step["processed"] for step in steps] == sorted(step["processed"] for step in steps)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": None}, "prompt is None"),
        ({"prompt": []}, "prompt is []"),
        ({"prompt": [1, "a"]}, "a text, token ids or a list"),
        ({"prompt": 7}, "prompt: Expected"),
        ({"prompt": [1 << 30]}, "outside the vocabulary"),
        ({"suffix": "end"}, "a suffix is given"),
        ({"best_of": 3}, "best_of is 3"),
        ({"n": 0}, "n is 0"),
        ({"n": 100_000}, "n is 100000"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": "warm"}, "temperature: Expected `float | null`"),
        ({"top_p": 2}, "top_p is 2"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"999999999": 1}}, "outside the vocabulary"),
        ({"stop": [""]}, "a stop string is empty"),
        ({"seed": 1 << 80}, "seed"),
        ({"logprobs": 100_000}, "at most 1000"),
        ({"stop": [1]}, "stop[0]: Expected `str`"),
    ],
)
def test_wrong_requests(server, body, said):
    answer = server.post(PATH, {"prompt": PROMPT, "max_tokens": 4, **body})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    # The same with a stream: the status is known before anything is sent.
    assert server.post(PATH, {"prompt": PROMPT, "max_tokens": 4, **body, "stream": True}).status_code == 400


def test_unknown_fields_are_ignored(server):
    assert ask(server, frobnicate=[1, {}])["choices"][0]["text"] == ask(server)["choices"][0]["text"]


def test_biases_and_stops(server, llm):
    first = llm.generate(PROMPT, 1, temperature=0)
    first.text()
    banned = ask(server, logit_bias={str(first.tokens[0]): -100})["choices"][0]["text"]
    assert banned == llm.generate(PROMPT, TOKENS, temperature=0, logit_bias={first.tokens[0]: -100}).text()
    assert ask(server, logit_bias=[[first.tokens[0], -100]])["choices"][0]["text"] == banned
    text = ask(server)["choices"][0]["text"]
    stopped = ask(server, stop=text[3:6])["choices"][0]
    assert stopped == {"index": 0, "text": text[:3], "logprobs": None, "finish_reason": "stop"}
