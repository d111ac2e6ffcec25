# SPDX-License-Identifier: Apache-2.0
"""Answers in pieces: the same however they are cut, complete where calls are malformed, without markers."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import cache

import pytest
from answer_templates import FAMILIES
from answer_vocabulary import ByteVocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.testing.scripted import write_scripted
from lumen_mlir.text.answer_format import AnswerFormat
from lumen_mlir.text.answers.deltas import Answer, CallArguments, CallBegin, ContentText
from lumen_mlir.text.answers.reader import Source
from lumen_mlir.text.answers.values import NoValueError, from_literal
from lumen_mlir.text.chat import ChatTemplate
from lumen_mlir.text.special_text import LETTERS

QUESTION = {"role": "user", "content": "?"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "code": {"type": "string"},
                    "days": {"type": "integer"},
                    "wet": {"type": "boolean"},
                    "names": {"type": "array", "items": {"type": "string"}},
                    "free": {},
                },
            },
        },
    }
    for name in ("weather", "search")
]
CALLS = [
    ("weather", {"city": "서울 👨‍👩‍👧", "days": 3, "wet": True}),
    ("search", {"code": "if a < b:\n    print('x')", "names": ["하나", "둘"], "free": {"a": [1.5]}}),
]
WITH_CALLS = [name for name, family in FAMILIES.items() if family.calls is not None]
THOUGHT, SAID = "음, <b> 한글 👩\n\nthen {x}", "Let me look: a < b, {y}."


@cache
def opened(name) -> tuple[ChatTemplate, AnswerFormat]:
    family = FAMILIES[name]
    template = ChatTemplate(family.source, family.bos, family.ends[0])
    return template, AnswerFormat.of(template, ByteVocabulary(family))


def written(name, content=None, thought=None, calls=()) -> tuple[str, str]:
    """A prompt, and the answer that the template writes behind it, up to the token that ends it."""
    template, format = opened(name)
    message = {"role": "assistant", "content": content}
    if thought is not None:
        message[format.reasoning_field] = thought
    if calls:
        message["tool_calls"] = [
            {"id": f"abcdef01{i}", "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
            for i, (n, a) in enumerate(calls)
        ]
    given = {"tools": TOOLS} if format.tools is not None else {}
    full = template.render([QUESTION, message], add_generation_prompt=False, **given)
    prompt = template.render([QUESTION], **given)
    if not full.startswith(prompt):
        shared = len(template.render([QUESTION], add_generation_prompt=False, **given))
        # What the template begins a turn with, as far as it is the same in both.
        while full[shared : shared + 1] == prompt[shared : shared + 1] not in ("", "<"):
            shared += 1
        for opening in ("<|assistant|>", "<｜Assistant｜>", "<|im_start|>", "<|begin|>"):
            if full.startswith(opening, shared):
                shared += len(opening)
        prompt = full[:shared]
    answer = full[len(prompt) :]
    ends = [place for end in FAMILIES[name].ends if (place := answer.find(end)) >= 0]
    return prompt, answer[: min(ends, default=len(answer))]


def read(format, prompt, pieces, tools=TOOLS) -> Answer:
    parser = format.parser(prompt, tools)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.finish()
    assert all(getattr(delta, "text", None) != "" for delta in deltas)
    assert parser.finish() == [] and not parser.is_thinking
    return Answer.of(deltas)


def parts(answer: Answer):
    return answer.reasoning, answer.content, [(c.name, json.loads(c.arguments)) for c in answer.calls]


def cuts(text: str, rng: random.Random):
    """``text`` as it is, by the character, by the byte, and cut by chance."""
    yield [text]
    yield list(text)
    # Bytes come as a decoder gives them: whole characters.
    yield [part for character in text for part in ["", character, ""]]
    for _ in range(8):
        places = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(1, 6)))
        yield [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize("name", FAMILIES)
def test_streamed_as_unstreamed(name):
    format, rng = opened(name)[1], random.Random(name)
    calls = [[], CALLS[:1], CALLS[1:], CALLS] if format.tools is not None else [[]]
    for content in (SAID, None):
        for thought in (THOUGHT, None) if format.reasoning_field else (None,):
            for some in calls:
                if (len(some) > 1 and not format.tools.parallel) or not (content or some):
                    continue
                prompt, text = written(name, content, thought, some)
                whole = read(format, prompt, [text])
                expected = (thought or "", content or "", [(n, a) for n, a in some])
                if not (content and some and content not in text):
                    # Some templates write white space behind an answer.
                    assert parts(replace(whole, content=whole.content.rstrip())) == expected, text
                for pieces in cuts(text, rng):
                    assert parts(read(format, prompt, pieces)) == parts(whole), pieces


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3-coder", "solar-open", "llama-pythonic", "hyperclovax-think"]
)
def test_every_place_to_cut(name):
    format = opened(name)[1]
    thought = THOUGHT if format.reasoning_field else None
    prompt, text = written(name, SAID if name != "llama-pythonic" else None, thought, CALLS)
    whole = parts(read(format, prompt, [text]))
    assert len(whole[2]) == 2
    for place in range(len(text)):
        assert parts(read(format, prompt, [text[:place], text[place:]])) == whole


def damaged(rng: random.Random, text: str) -> str:
    """``text`` with something left out, doubled, put elsewhere, or cut off."""
    for _ in range(rng.randrange(1, 4)):
        a, b = sorted(rng.choices(range(len(text) + 1), k=2))
        b = min(b, a + rng.choice([1, 3, 20]))
        how = rng.randrange(5)
        if how == 0:
            text = text[:a] + text[b:]
        elif how == 1:
            text = text[:b] + text[a:]
        elif how == 2:
            text = text[:a]
        elif how == 3:
            text = (
                text[:a]
                + rng.choice(["{", "}", '"', "\\", "<", "</", "\n", "]", "'", "\ud800", LETTERS[0]])
                + text[a:]
            )
        else:
            text = text[:a] + text[a:b][::-1] + text[b:]
    return text


@pytest.mark.parametrize("name", WITH_CALLS)
def test_malformed_calls(name):
    """Nothing is an error, nothing is lost, and pieces change nothing."""
    format, rng = opened(name)[1], random.Random(name)
    prompt, text = written(name, None, None, CALLS[: 2 if format.tools.parallel else 1])
    for _ in range(150):
        bad = damaged(rng, text)
        whole = read(format, prompt, [bad])
        for call in whole.calls:
            assert isinstance(json.loads(call.arguments), dict) and call.name
            call.arguments.encode()
        if not whole.calls and not whole.reasoning:
            assert same_text(whole.content, bad, format), (whole.content, bad)
        pieces = next(cut for i, cut in enumerate(cuts(bad, rng)) if i == rng.randrange(1, 8) or i == 7)
        assert parts(read(format, prompt, pieces)) == parts(whole), pieces


def same_text(content, text, format):
    """Whether ``content`` has all of ``text`` but for markers of reasoning, ends of turns and white space."""
    for marker in (format.turn_end, format.lead.marker):
        for piece in marker.pieces:
            text, content = text.replace(piece, ""), content.replace(piece, "")
    if format.reasoning is not None:
        for marker in (format.reasoning.begin, format.reasoning.end):
            for piece in marker.pieces:
                text, content = text.replace(piece, ""), content.replace(piece, "")
    return "".join(text.split()) == "".join(content.split())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen3", '<tool_call>\n{"name": "weather", "arguments": {"city": "서울"}'),
        ("qwen3", "<tool_call>\nweather\n</tool_call>"),
        ("qwen3", '<tool_call>{"name": "weather"}</tool_call> and more'),
        ("qwen3", '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>'),
        ("qwen3", '<tool_call>{"name": 3, "arguments": {}}</tool_call>'),
        ("qwen3", '<tool_call>{"name": "weather", "arguments": {"days": NaN}}</tool_call>'),
        ("qwen3", '<tool_call>{"name": "weather", "arguments": {"days": 1e999}}</tool_call>'),
        ("qwen3", "<tool_call>" + "{" * 1000 + "}" * 1000),
        ("qwen3", "<tool_call>" * 500),
        ("qwen3-coder", "<tool_call>\n<function=weather>\n<parameter=city>\nx\n</function>\n</tool_call>"),
        ("qwen3-coder", "<tool_call>\n<function=weather>\nno\n</function>\n</tool_call>"),
        ("qwen3-coder", f"<tool_call>\n<function={'x' * 500}>\n</function>\n</tool_call>"),
        ("llama-3", '{"name": "else", "parameters": {}}'),
        ("llama-3", '{"a": 1} is JSON'),
        ("llama-3", "{ not JSON"),
        ("llama-pythonic", "[1, 2, 3]"),
        ("llama-pythonic", "[weather(city=open('x'))]"),
        ("kanana-1.5", "<function=weather>{city}</function>"),
        ("solar-open", '<|tool_calls|><|tool_call:begin|>1<|tool_call:name|>weather{"city": 1}'),
    ],
)
def test_malformed_calls_stand_in_the_content(name, text):
    format = opened(name)[1]
    for tools in (TOOLS, True):
        if tools is True and "else" in text:
            continue
        answer = read(format, "", ["Text. ", *text] if format.tools.is_marked else list(text), tools)
        assert answer.calls == []
        assert answer.content == ("Text. " if format.tools.is_marked else "") + text


def test_calls_without_tools_are_text():
    format = opened("qwen3")[1]
    text = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    for tools in (None, False, []):
        assert read(format, "", list(text), tools) == Answer(content=text)
    assert len(read(format, "", list(text), True).calls) == 1


def test_what_stands_around_calls():
    format = opened("qwen3")[1]
    call = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    answer = read(format, "", [f"  a b \n\n{call}\n \n{call} c\n{call}d "])
    assert answer.content == "  a b\nc\nd "
    assert len(answer.calls) == 3
    bad = '<tool_call>{"name": 1}</tool_call>'
    answer = read(format, "", [f"{call}\n{bad}\n{call}"])
    assert [call.name for call in answer.calls] == ["weather"] * 2 and answer.content == bad


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        # The prompt has begun the reasoning.
        ("think\n</think>\n\nsaid", "<think>\n", ("think", "said")),
        ("<think>\nthink</think>said", "<think>\n", ("think", "said")),
        ("think, and no end \n", "<think>\n", ("think, and no end \n", "")),
        ("\n</think>\n\nsaid", "<think>\n", ("", "said")),
        # The prompt has ended it.
        ("said", "<think>\n\n</think>\n\n", ("", "said")),
        ("</think>\n\nsaid", "<think>\n\n</think>\n\n", ("", "said")),
        # The model begins it.
        ("<think>\na</think>\n\nsaid", "", ("a", "said")),
        ("\n <think>a</think> said ", "", ("a", "said ")),
        ("<think>a</think></think>\nsaid", "", ("a", "said")),
        ("<think>a</think>said </think> more", "", ("a", "said </think> more")),
        ("</think>said", "", ("", "said")),
        ("said\n</think>\nmore", "", ("", "said\nmore")),
        (" said <think>", "", ("", " said <think>")),
        ("<thin", "", ("", "<thin")),
        ("a</thin", "<think>\n", ("a</thin", "")),
        ("", "", ("", "")),
    ],
)
def test_reasoning(text, prompt, expected):
    format = opened("qwen3")[1]
    prompt = f"<|im_start|>assistant\n{prompt}"
    for pieces in ([text], list(text)):
        parser = format.parser(prompt)
        answer = Answer.of([d for piece in pieces for d in parser.feed(piece)] + parser.finish())
        assert (answer.reasoning, answer.content) == expected


def test_a_marker_is_a_whole_word():
    format = opened("hyperclovax-think")[1]
    for text, expected in (("/thinking aloud", Answer(content="/thinking aloud")), ("/think", Answer())):
        for pieces in ([text], list(text)):
            assert read(format, "<|im_start|>assistant", pieces) == expected


def test_what_is_said_has_a_marker_of_its_own():
    format = opened("solar-open")[1]
    for prompt in ("<|begin|>assistant", "<|begin|>assistant<|think|><|end|><|begin|>assistant"):
        for text in ("<|content|>said<|end|>", "<|content|>said"):
            for pieces in ([text], list(text)):
                assert read(format, prompt, pieces) == Answer(content="said")


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"properties": 3, "required": 3},
        {"properties": {"city": 3, "days": {"type": 5}}, "required": [{}, "city"]},
        {"properties": {"city": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"city": {"enum": [[], {}]}}},
    ],
)
def test_strange_schemas(schema):
    """What is wrong with them says who compiles the grammar."""
    tools = [{"name": "weather", "parameters": schema}]
    for name in ("qwen3", "qwen3-coder", "llama-pythonic"):
        format = opened(name)[1]
        assert "weather" in format.grammar(tools, "required")
        _, text = written(name, None, None, CALLS[:1])
        assert read(format, "", [text], tools).calls[0].name == "weather"


def test_it_is_known_whether_the_model_thinks():
    parser = opened("qwen3-thinking")[1].parser("<|im_start|>assistant\n<think>\n")
    assert parser.is_thinking
    parser.feed("a</thi")
    assert parser.is_thinking
    parser.feed("nk>")
    assert not parser.is_thinking
    parser = opened("qwen3")[1].parser("")
    assert not parser.is_thinking
    parser.feed("<think>")
    assert parser.is_thinking


def test_text_comes_as_soon_as_it_is_certain():
    parser = opened("qwen3")[1].parser("", TOOLS)
    assert parser.feed("a b") == [ContentText("a b")]
    assert parser.feed(" ") == [] and parser.feed("<") == [] and parser.feed("c") == [ContentText(" <c")]
    assert parser.feed(" <tool_ca") == []
    assert parser.feed('ll>{"name": "weather", "arguments": {"city"') == []
    begin, arguments = parser.feed(': "서"}}')
    assert begin == CallBegin(0, begin.id, "weather") and begin.id.startswith("call_")
    assert arguments == CallArguments(0, '{"city": "서"}')
    assert parser.feed("</tool_call>") == [] and parser.finish() == []
    with pytest.raises(LumenError, match="the answer has ended"):
        parser.feed("x")


def test_ids():
    format = opened("solar-open")[1]
    one = "<|tool_call:begin|>{}<|tool_call:name|>weather<|tool_call:args|>{{}}<|tool_call:end|>"
    text = "<|tool_calls|>" + one.format("a1") + one.format("a1") + one.format("b2")
    ids = [call.id for call in read(format, "", [text]).calls]
    assert ids[0] == "a1" and ids[2] == "b2" and len(set(ids)) == 3


def test_types_follow_from_schemas():
    format = opened("qwen3-coder")[1]
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "either": {"type": ["string", "null"]},
            "number": {"type": "number"},
            "flag": {"type": "boolean"},
            "any": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "named": {"$ref": "#/$defs/list"},
            "one": {"enum": [1, "1x"]},
            "fixed": {"const": "7"},
        },
        "$defs": {"list": {"type": "array"}},
    }
    tools = [{"name": "f", "parameters": schema}]
    given = {
        "text": ("007", "007"), "either": ("null", None), "number": ("2.5", 2.5), "flag": ("False", False),
        "any": ("12", 12), "named": ("['a', 1]", ["a", 1]), "one": ("1", 1), "fixed": ("7", "7"),
        "undeclared": ('{"a": true}', {"a": True}), "loose": ("so", "so"),
    }  # fmt: skip
    body = "".join(f"<parameter={k}>\n{text}\n</parameter>\n" for k, (text, _) in given.items())
    answer = read(format, "", [f"<tool_call>\n<function=f>\n{body}</function>\n</tool_call>"], tools)
    assert json.loads(answer.calls[0].arguments) == {k: value for k, (_, value) in given.items()}
    answer = read(format, "", [f"<tool_call>\n<function=f>\n{body}</function>\n</tool_call>"], True)
    assert json.loads(answer.calls[0].arguments)["text"] == "007"


def test_values_with_the_letters_that_end_them():
    format = opened("qwen3-coder")[1]
    code = "<parameter=x>\n</parameter>\n and </parameter> here\n"
    text = (
        f"<tool_call>\n<function=weather>\n<parameter=code>\n{code}\n</parameter>\n</function>\n</tool_call>"
    )
    for pieces in ([text], list(text)):
        assert json.loads(read(format, "", pieces).calls[0].arguments) == {"code": code}


def test_forms_that_models_write_besides():
    call = '{"name": "weather", "parameters": {"city": "x"}}'
    for text in (call, f" \n{call}\n", f"<|python_tag|>{call}<|eom_id|>"):
        assert parts(read(opened("llama-3")[1], "", list(text)))[2] == [("weather", {"city": "x"})]
    other = ' -> tool/function_call\n[{"name": "f", "parameters": {"a": 1}}]'
    assert parts(read(opened("hyperclovax-think")[1], "", [other], True))[2] == [("f", {"a": 1})]
    twice = read(
        opened("qwen3")[1], "", ['<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"x\\"}"}']
    )
    assert parts(twice)[2] == [("weather", {"city": "x"})]
    python = "[weather(city='it\\'s', days=1, names=['a', \"b\"], wet=None), search()]"
    found = parts(read(opened("llama-pythonic")[1], "", list(python)))[2]
    assert found == [
        ("weather", {"city": "it's", "days": 1, "names": ["a", "b"], "wet": None}),
        ("search", {}),
    ]
    half = read(opened("qwen3")[1], "", ['<tool_call>{"name": "weather", "arguments": {"city": "\\ud83d"}}'])
    assert half.calls[0].arguments == '{"city": "\\ud83d"}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it\\'s \\x41\\uac00\\d\\n'", "it's A가\\d\n"),
        ('"a\nb"', "a\nb"),
        ("[1, (2, 'x',), {'a': True, \"b\": None,},]", [1, [2, "x"], {"a": True, "b": None}]),
        ("'None (True)'", "None (True)"),
        ("-0.5e3", -500.0),
        ("true", True),
    ],
)
def test_literals(text, value):
    assert from_literal(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "'a", "'\\'" * 50000, "1e999", "NaN", "{1, 2}", "[" * 100000, "f()", "-" * 99999],
    ids=range(10),
)
def test_no_literals(text):
    with pytest.raises(NoValueError):
        from_literal(text)


def test_no_time_is_lost_on_repetition():
    """A model that repeats itself must not keep the parser busy: work is counted, not timed."""
    format = opened("qwen3")[1]
    parser = format.parser("", TOOLS)
    text = '<tool_call>{"a": "' * 20000
    deltas = parser.feed(text) + parser.finish()
    assert Answer.of(deltas).content == text


TEXT = st.text(st.sampled_from('<>/{}[]"\\ \n|abtool_call:think="서👩'), max_size=60)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(FAMILIES)), text=TEXT, places=st.lists(st.integers(0, 60), max_size=5))
def test_any_text(name, text, places):
    format = opened(name)[1]
    places = sorted(min(place, len(text)) for place in places)
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    whole = read(format, "", [text])
    assert parts(read(format, "", pieces)) == parts(whole)
    if not whole.calls and not whole.reasoning:
        assert same_text(whole.content, text, format)


def test_source_forgets_what_is_read():
    source = Source()
    source.text, source.at = "abc", 2
    source.drop()
    assert (source.text, source.at) == ("c", 0)


def test_a_model_that_calls(tmp_path):
    """From the question to the call, and with its result to the answer."""
    call = '{"name": "weather", "arguments": {"city": "서울 👩"}}'
    script = ["\n", "<think>", "음", "</think>", "<tool_call>", call, "</tool_call>", "<|im_end|>"]
    path = tmp_path / "model.gguf"
    family = FAMILIES["qwen3"]
    write_scripted(
        path,
        script,
        control=["<|im_start|>", "<|im_end|>"],
        user_defined=["<think>", "</think>", "<tool_call>", "</tool_call>"],
        eos="<|im_end|>",
        template=family.source,
        context=4096,
    )
    with LLM(path, engine="reference") as llm:
        format = AnswerFormat.of(llm.chat_template, llm.tokenizer)
        assert format.tools_problem is None and set(format.control) == {"<|im_start|>", "<|im_end|>"}
        answer = llm.chat([QUESTION], 100, tools=TOOLS, temperature=0)
        prompt = llm.detokenize(answer.prompt)
        pieces = list(answer)
        assert answer.finish_reason == "end"
        found = read(format, prompt, pieces)
        assert parts(found) == ("음", "", [("weather", {"city": "서울 👩"})])
        # By the token, whatever characters tokens cut.
        text = "".join(pieces)
        stream = llm.tokenizer.stream(special=True)
        ids = llm.tokenizer.encode(text, special=True, add_bos=False, add_eos=False)
        assert parts(read(format, prompt, [*(stream.feed(i) for i in ids), stream.finish()])) == parts(found)
        sent = {
            "role": "assistant",
            "content": None,
            "reasoning_content": found.reasoning,
            "tool_calls": [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in found.calls
            ],
        }
        result = {"role": "tool", "tool_call_id": found.calls[0].id, "content": "맑음"}
        more = llm.chat([QUESTION, sent, result], 0, tools=TOOLS)
        # The template writes the call as the model did.
        assert call in llm.detokenize(more.prompt) and "맑음" in llm.detokenize(more.prompt)
