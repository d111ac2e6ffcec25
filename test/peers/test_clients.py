# SPDX-License-Identifier: Apache-2.0
"""The clients of other servers, as they are, ask ours."""

from __future__ import annotations

import json

import anthropic
import chat_models as models
import ollama
import openai
import pytest

ASKED = [{"role": "user", "content": "누구세요?"}]
FUNCTION = {"name": models.NAME, "description": "오늘의 날씨", "parameters": models.PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]
KEY = "a key"
# Newer clients of Anthropic's have no parameter for it.
GREEDY = {"extra_body": {"temperature": 0}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with models.serving_both(tmp_path_factory.mktemp("models"), api_keys=(KEY,)) as running:
        yield running


@pytest.fixture(scope="module")
def gpt(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(server):
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def llama(server):
    return ollama.Client(server.url, headers={"Authorization": f"Bearer {KEY}"})


def test_openai_chats(gpt):
    answer = gpt.chat.completions.create(
        model="parrot", messages=ASKED, temperature=0, logprobs=True, top_logprobs=2, seed=1
    )
    (choice,) = answer.choices
    assert choice.message.content == models.TEXT and choice.finish_reason == "stop"
    records = choice.logprobs.content
    assert [record.token for record in records] == models.ANSWER[:-1]
    assert bytes(records[0].bytes).decode() == models.ANSWER[0] and len(records[0].top_logprobs) == 2
    assert answer.usage.completion_tokens == len(models.ANSWER)
    stream = gpt.chat.completions.create(
        model="parrot", messages=ASKED, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == models.TEXT and chunks[-1].usage.completion_tokens == len(models.ANSWER)


def test_openai_tools(gpt):
    body = {"model": "caller", "messages": ASKED, "temperature": 0, "tools": TOOLS}
    answer = gpt.chat.completions.create(**body).choices[0]
    (call,) = answer.message.tool_calls
    assert answer.finish_reason == "tool_calls" and answer.message.content == models.CONTENT
    assert call.function.name == models.NAME and json.loads(call.function.arguments) == models.INPUT
    with gpt.chat.completions.stream(**body) as stream:
        final = stream.get_final_completion().choices[0].message
    assert final.content == models.CONTENT
    assert json.loads(final.tool_calls[0].function.arguments) == models.INPUT
    result = {"role": "tool", "tool_call_id": call.id, "content": "맑음"}
    messages = [*ASKED, answer.message.model_dump(exclude_none=True), result]
    assert gpt.chat.completions.create(**{**body, "messages": messages}).usage.prompt_tokens > 100


def test_openai_texts_and_models(gpt):
    text = gpt.completions.create(model="parrot", prompt="안녕", temperature=0, max_tokens=64).choices[0].text
    assert text == models.TEXT.removeprefix("안녕")
    assert [each.id for each in gpt.models.list()] == ["parrot", "caller"]
    with pytest.raises(openai.NotFoundError, match="gpt-4o"):
        gpt.chat.completions.create(model="gpt-4o", messages=ASKED)
    with pytest.raises(openai.BadRequestError, match="the context is 512 tokens"):
        gpt.completions.create(model="parrot", prompt="x" * 600)


def test_openai_embeddings(gpt):
    """The client asks for base64 unless it is told otherwise, and decodes it."""
    texts = ["안녕", "누구세요?"]
    answer = gpt.embeddings.create(model="parrot", input=texts, dimensions=8)
    plain = gpt.embeddings.create(model="parrot", input=texts, dimensions=8, encoding_format="float")
    assert [each.embedding for each in answer.data] == [each.embedding for each in plain.data]
    assert [len(each.embedding) for each in answer.data] == [8, 8] and answer.usage.prompt_tokens > 0
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        gpt.embeddings.create(model="parrot", input=texts, dimensions=1 << 20)


def test_openai_responses(gpt):
    answer = gpt.responses.create(model="parrot", input="누구세요?", temperature=0, top_logprobs=1)
    assert answer.output_text == models.TEXT and answer.status == "completed"
    assert [record.token for record in answer.output[0].content[0].logprobs] == models.ANSWER[:-1]
    assert gpt.responses.retrieve(answer.id).output_text == models.TEXT
    cut = gpt.responses.create(model="parrot", input="누구세요?", temperature=0, max_output_tokens=2)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    gpt.responses.delete(answer.id)
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(answer.id)


def test_openai_responses_with_tools(gpt):
    tools = [{"type": "function", "strict": True, **FUNCTION}]
    body = {"model": "caller", "tools": tools, "temperature": 0}
    with gpt.responses.stream(input="누구세요?", **body) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert "response.reasoning_text.delta" in kinds
    whole = gpt.responses.create(input="누구세요?", **body)
    assert final.output_text == whole.output_text == models.CONTENT
    for answer in (final, whole):
        reasoning, _, call = answer.output
        assert reasoning.content[0].text == models.REASONING
        assert (call.type, call.name) == ("function_call", models.NAME)
        assert json.loads(call.arguments) == models.INPUT
    output = {"type": "function_call_output", "call_id": whole.output[2].call_id, "output": "맑음"}
    second = gpt.responses.create(input=[output], previous_response_id=whole.id, **body)
    sent = [{"role": "user", "content": "누구세요?"}, *(each.to_dict() for each in whole.output), output]
    other = gpt.responses.create(input=sent, store=False, **body)
    assert second.usage.input_tokens == other.usage.input_tokens > whole.usage.input_tokens


def test_anthropic(claude):
    body = {"model": "parrot", "max_tokens": 64, "messages": ASKED, "system": "짧게"}
    answer = claude.messages.create(**body, **GREEDY, metadata={"user_id": "me"})
    assert answer.content[0].text == models.TEXT and answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == len(models.ANSWER)
    stopped = claude.messages.create(**body, **GREEDY, stop_sequences=["앵무"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "앵무")
    events = list(claude.messages.create(**body, **GREEDY, stream=True))
    assert [events[0].type, events[-1].type] == ["message_start", "message_stop"]
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == models.TEXT
    counted = claude.messages.count_tokens(model="parrot", messages=ASKED, system="짧게").input_tokens
    usage = answer.usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_anthropic_tools(claude):
    tools = [{"name": models.NAME, "description": "오늘의 날씨", "input_schema": models.PARAMETERS}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = {"model": "caller", "max_tokens": 2048, "messages": ASKED, "tools": tools, "thinking": thinking}
    with claude.messages.stream(**body, **GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = claude.messages.create(**body, **GREEDY)
    for answer in (final, whole):
        thought, said, call = answer.content
        assert (thought.thinking, said.text, text) == (models.REASONING, models.CONTENT, models.CONTENT)
        assert (call.name, call.input, answer.stop_reason) == (models.NAME, models.INPUT, "tool_use")
    result = {"type": "tool_result", "tool_use_id": whole.content[2].id, "content": "맑음"}
    history = [*ASKED, whole.to_param(), {"role": "user", "content": [result]}]
    second = claude.messages.create(**{**body, "messages": history}, **GREEDY)
    assert second.usage.cache_read_input_tokens + second.usage.input_tokens > 100


def test_anthropic_errors(claude, server):
    with pytest.raises(anthropic.NotFoundError, match="claude-opus"):
        claude.messages.create(model="claude-opus", max_tokens=8, messages=ASKED)
    with pytest.raises(anthropic.BadRequestError, match="the model reads text only") as error:
        image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
        claude.messages.create(model="parrot", max_tokens=8, messages=[{"role": "user", "content": [image]}])
    assert error.value.type == "invalid_request_error"
    wrong = anthropic.Anthropic(base_url=server.url, api_key="another", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError, match="the API key is wrong"):
        wrong.messages.create(model="parrot", max_tokens=8, messages=ASKED)


def test_ollama(llama):
    options = {"temperature": 0, "num_ctx": 512}
    answer = llama.chat("parrot", ASKED, options=options)
    assert answer.message.content == models.TEXT and answer.done_reason == "stop"
    assert answer.eval_count == len(models.ANSWER) and answer.total_duration > answer.eval_duration
    parts = list(llama.chat("parrot", ASKED, options=options, stream=True))
    assert "".join(part.message.content for part in parts) == models.TEXT and parts[-1].done
    assert llama.generate("parrot", "누구세요?", options=options).response == models.TEXT
    parts = list(llama.generate("parrot", "안녕", raw=True, options=options, stream=True))
    assert "".join(part.response for part in parts) == models.TEXT.removeprefix("안녕")
    answer = llama.chat("parrot", ASKED, options=options, logprobs=True, top_logprobs=1)
    assert [record.token for record in answer.logprobs] == models.ANSWER[:-1]


def test_ollama_embeddings(llama, gpt):
    texts = ["안녕", "누구세요?"]
    answer = llama.embed("parrot", texts, dimensions=8)
    plain = gpt.embeddings.create(model="parrot", input=texts, dimensions=8, encoding_format="float")
    assert [list(each) for each in answer.embeddings] == [each.embedding for each in plain.data]
    assert answer.prompt_eval_count == plain.usage.prompt_tokens
    assert len(llama.embeddings("parrot", texts[0]).embedding) == len(
        llama.embed("parrot", texts[0]).embeddings[0]
    )


def test_ollama_tools(llama):
    body = {"tools": TOOLS, "options": {"temperature": 0}, "think": True}
    message = llama.chat("caller", ASKED, **body).message
    assert (message.thinking, message.content) == (models.REASONING, models.CONTENT)
    (call,) = message.tool_calls
    assert (call.function.name, call.function.arguments) == (models.NAME, models.INPUT)
    parts = list(llama.chat("caller", ASKED, **body, stream=True))
    assert [call for part in parts for call in part.message.tool_calls or []] == [call]
    assert "".join(part.message.thinking or "" for part in parts) == models.REASONING
    result = {"role": "tool", "content": "맑음", "tool_name": models.NAME}
    assert llama.chat("caller", [*ASKED, message, result], **body).prompt_eval_count > 100


def test_ollama_models(llama):
    assert [each.model for each in llama.list().models] == ["parrot", "caller"]
    shown = llama.show("caller")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.modelinfo["general.architecture"] == "llama" and shown.details.family == "llama"
    assert llama.generate("parrot", keep_alive="5m").done_reason == "load"
    assert "parrot" in [each.model for each in llama.ps().models]
    assert llama.generate("parrot", keep_alive=0).done_reason == "unload"
    assert "parrot" not in [each.model for each in llama.ps().models]
    with pytest.raises(ollama.ResponseError, match="'llama3' is not here") as error:
        llama.chat("llama3", ASKED)
    assert error.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="num_ctx is 9999"):
        llama.chat("parrot", ASKED, options={"num_ctx": 9999})
