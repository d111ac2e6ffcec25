# SPDX-License-Identifier: Apache-2.0
"""Grammars through ``LLM``: sessions, lists of prompts, chats, bodies of requests, and whole vocabularies."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import unicodedata

import jsonschema
import pytest
from dice import Writer
from vocabularies import open_vocabulary

from lumen_mlir import LLM, AsyncLLM, Grammar, GrammarError, LumenError
from lumen_mlir.generate.batch_request import BatchRequest
from lumen_mlir.generate.grammar_body import grammar_of
from lumen_mlir.testing.scripted import write_scripted
from lumen_mlir.text.tokenizer import Tokenizer

GREEDY = {"temperature": 0}
PERSON = {
    "type": "object",
    "properties": {
        "이름": {"enum": ["철수", "영희"]},
        "age": {"type": "integer", "minimum": 1, "maximum": 150},
    },
    "required": ["이름", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm():
    with LLM(context=256, threads=2, sequences=4) as opened:
        yield opened


def test_one_text(llm):
    run = llm.generate("영화", grammar=Grammar.json_schema(PERSON), seed=1)
    jsonschema.validate(json.loads(run.text()), PERSON)
    assert (run.finish_reason, run.stopped_by) == ("end", None)
    # Compiled once, for any number of texts; with or without guesses, and computed together.
    compiled = llm.compile_grammar(Grammar.json_schema(PERSON))
    assert compiled is llm.compile_grammar(Grammar.json_schema(dict(PERSON)))
    runs = llm.generate(["영화", "배우", "영화"], grammar=compiled, seed=1)
    assert runs.texts()[0] == runs.texts()[2] == run.output
    assert llm.generate("영화", grammar=compiled, seed=1, speculate=True).text() == run.output
    assert llm.generate("영화", grammar=compiled, seed=1, logprobs=0).text() == run.output


def test_sessions_and_other_loops(llm):
    with llm.session() as session:
        first = session.generate("영화는", grammar=Grammar.choice(["좋다. ", "나쁘다. "]), seed=1).text()
        second = session.generate("배우는", grammar=Grammar.regex("[가-힣]{2,5}"), seed=1).text()
        assert session.text.endswith(f"영화는{first}배우는{second}") and first.endswith("다. ")

    async def several():
        async with AsyncLLM(LLM(context=128, threads=1)) as model:
            return await asyncio.gather(
                *(model.generate("a", grammar=Grammar.regex(f"{n}[0-9]{{3}}")).text() for n in range(4))
            )

    assert [text[0] for text in asyncio.run(several())] == list("0123")


def test_what_is_wrong_is_said_at_once(llm):
    with pytest.raises(GrammarError, match="Invalid type: strin"):
        llm.generate("a", grammar=Grammar.json_schema({"type": "strin"}))
    for value in ({"type": "object"}, "root ::= x", 3):
        with pytest.raises(GrammarError, match="grammar is .*; a Grammar was expected"):
            llm.generate("a", grammar=value)
    with LLM(context=64, threads=1) as other:
        compiled = other.compile_grammar(Grammar.json_object())
        with pytest.raises(GrammarError, match="the grammar was compiled for another model"):
            llm.generate("a", grammar=compiled)
    with pytest.raises(LumenError, match="the model is closed"):
        other.compile_grammar(Grammar.json_object())
    # Good ones go on.
    assert llm.generate("a", grammar=Grammar.choice(["예", "아니요"])).text() in ("예", "아니요")


def test_threads(llm):
    found: dict[int, str] = {}

    def work(number: int) -> None:
        grammar = Grammar.regex(f"{number}: [가-힣]{{4}}")
        found[number] = llm.generate("영화", grammar=grammar, seed=number).text()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(re.fullmatch(f"{number}: [가-힣]{{4}}", text) for number, text in found.items())
    assert len(found) == 8
    # What each has alone.
    for number, text in list(found.items()):
        work(number)
        assert found[number] == text


def test_drafts(llm):
    """Another model guesses, and knows nothing of grammars."""
    from lumen_mlir.data import embedded_model_path

    grammar = Grammar.json_schema(PERSON)
    with LLM(context=256, threads=2, draft=embedded_model_path()) as guessed:
        for seed in range(3):
            run = guessed.generate("배우들의 연기가", grammar=grammar, seed=seed)
            assert run.text() == llm.generate("배우들의 연기가", grammar=grammar, seed=seed).text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes like that here")
def test_a_forked_process(llm):
    grammar = Grammar.regex("[가-힣]{4}")
    # Threads that compute masks begin here.
    texts = llm.generate(["영화", "배우"], grammar=grammar, seed=3).texts()
    child = os.fork()
    if not child:
        try:
            same = llm.generate(["영화", "배우"], grammar=grammar, seed=3).texts() == texts
            os._exit(0 if same and llm.compile_grammar(Grammar.regex("new")) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_chats(tmp_path):
    """A template's stops and control tokens are as they are without a grammar."""
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}[assistant]"
    write_scripted(
        tmp_path / "m.gguf",
        ["yes", "no", "<|end|>"],
        control=["<s>", "</s>", "<|end|>"],
        bos="<s>",
        eos="</s>",
        template=template,
    )
    llm = LLM(tmp_path / "m.gguf", engine="reference")
    schema = {"type": "object", "properties": {"ok": {"enum": ["yes", "no"]}}, "required": ["ok"]}
    run = llm.chat("?", 60, grammar=Grammar.json_schema({**schema, "additionalProperties": False}), seed=1)
    assert json.loads(run.text())["ok"] in ("yes", "no") and run.finish_reason == "end"
    with llm.session() as session:
        assert session.chat("?", grammar=Grammar.choice(["yes", "no"])).text() in ("yes", "no")
        assert session.conversation.answered


# --- vocabularies of models ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ggml-vocab-qwen2", "vocab-llama-spm", "vocab-llama-bpe"])
def whole(request, tmp_path_factory):
    return Writer(Tokenizer.from_gguf(open_vocabulary(request.param, tmp_path_factory.mktemp("vocabulary"))))


NFD = unicodedata.normalize("NFD", "한국어")


TEXTS = [
    "한국어입니다 ",
    NFD,
    "👨‍👩‍👧‍👦👋🏽",
    "  two  spaces\n\n\tand a tab",
    "the quick brown fox",
    "１２３ é é",
    "<|im_end|></s>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_forced_texts_of_whole_vocabularies(whole, text):
    """What is forced is written as it is, also where a tokenizer would change it (NFC)."""
    run = whole.write(Grammar.json_schema({"const": text}))
    assert json.loads(run.output) == text and run.finish_reason == "end"
    assert not any(run._tokenizer.is_control(token) for token in run.tokens)
    # One token was drawn at most, and the others came with it.
    begun = whole.dice.calls
    run = whole.write(Grammar.regex(f"(x|y) {re.escape(text)}"))
    assert run.output[1:] == f" {text}" and whole.dice.calls - begun <= 3


def test_forced_tokens_are_the_tokenizer_s(whole):
    text = " the model writes what the grammar says, and nothing else than that"
    run = whole.write(Grammar.regex(f"x{text}"))
    assert run.output == f"x{text}"
    ids = whole.tokenizer.encode(f"\nx{text}", special=False, add_bos=False)
    pieces = [whole.tokenizer.token_bytes(token) for token in ids]
    assert run.tokens == ids[pieces.index(b"\n") + 1 :]


def test_texts_of_whole_vocabularies(whole):
    for seed in range(3):
        run = whole.write(Grammar.json_schema(PERSON), seed=seed, prompt=seed)
        jsonschema.validate(json.loads(run.output), PERSON)
        run = whole.write(Grammar.regex("[가-힣]{5} 👋[🏻-🏿]"), seed=seed, prompt=seed)
        assert re.fullmatch("[가-힣]{5} 👋[🏻-🏿]", run.output)


# --- bodies of requests -------------------------------------------------------------------------------------

SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("body", "grammar"),
    [
        ({}, None),
        ({"response_format": None, "grammar": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "text"}, "regex": "a"}, Grammar.regex("a")),
        ({"response_format": {"type": "json_object"}}, Grammar.json_object()),
        ({"response_format": {"type": "json_object", "schema": PERSON}}, Grammar.json_schema(PERSON)),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": PERSON},
                }
            },
            Grammar.json_schema(PERSON),
        ),
        ({"response_format": {"type": "json_schema", "schema": PERSON}}, Grammar.json_schema(PERSON)),
        ({"json_schema": PERSON}, Grammar.json_schema(PERSON)),
        ({"grammar": 'root ::= "a"'}, Grammar.gbnf('root ::= "a"')),
        ({"grammar": 'start: "a"'}, Grammar.lark('start: "a"')),
        ({"structured_outputs": {"json": json.dumps(PERSON)}}, Grammar.json_schema(PERSON)),
        ({"structured_outputs": {"json_object": True}}, Grammar.json_object()),
        ({"structured_outputs": {"json_object": False, "regex": None}}, None),
        ({"structured_outputs": {"regex": "a+"}}, Grammar.regex("a+")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, Grammar.choice(["a", "b"])),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, Grammar.gbnf('root ::= "a"')),
    ],
)
def test_bodies(body, grammar):
    assert grammar_of(body) == grammar
    line = {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "x", **body}}
    for request in (line, {"prompt": "x", **body}):
        parsed = BatchRequest.parse(json.dumps(request), 0)
        assert parsed.error is None and parsed.parameters.get("grammar") == grammar
        assert set(parsed.parameters) <= {"prompt", "grammar"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"response_format": "json"}, "response_format is 'json'; a type of text, json_object, json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format is {'type': 'xml'}; a type of"),
        ({"response_format": {"type": ["text"]}}, "response_format is {'type': \\['text'\\]}; a type of"),
        ({"response_format": {"type": "json_schema"}}, "response_format has no schema"),
        ({"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format has no schema"),
        ({"json_schema": 3}, "the JSON schema is 3; an object was expected"),
        ({"grammar": 3}, "the Lark grammar is 3; text was expected"),
        ({"regex": ["a"]}, "the regular expression is \\['a'\\]; text was expected"),
        ({"regex": "a", "json_schema": SCHEMA}, "json_schema and regex are given; a text has one grammar"),
        ({"structured_outputs": 3}, "structured_outputs is 3; an object was expected"),
        (
            {"structured_outputs": {"regexp": "a"}},
            "unknown field 'regexp' of structured_outputs; did you mean",
        ),
        (
            {"structured_outputs": {"regex": "a", "json": {}}},
            "structured_outputs has regex and json; a text",
        ),
        ({"structured_outputs": {"choice": "a"}}, "the choice is 'a'; a list of texts was expected"),
    ],
)
def test_wrong_bodies(body, message):
    with pytest.raises(LumenError, match=message):
        grammar_of(body)
    assert re.search(message, str(BatchRequest.parse(json.dumps({"prompt": "x", **body}), 0).error))
