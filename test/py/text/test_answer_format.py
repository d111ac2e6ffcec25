# SPDX-License-Identifier: Apache-2.0
"""What is found out about templates of all families, and what a server refuses."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from answer_templates import FAMILIES, LLAMA3, QWEN2, QWEN3
from answer_vocabulary import ByteVocabulary

from lumen_mlir.errors import LumenError
from lumen_mlir.text.answer_format import AnswerFormat
from lumen_mlir.text.answers import probe
from lumen_mlir.text.answers.forms import ToolFormat
from lumen_mlir.text.answers.start import Start
from lumen_mlir.text.chat import ChatTemplate

QUESTION = {"role": "user", "content": "?"}
# What has to be written in a special way in JSON, in tags, or in Python.
SPECIAL = {
    "text": 'He said "안녕"\n\t<b>&amp;</b> {x} [y], it\'s \\n 👨‍👩‍👧',
    "array": [1, "둘", None],
    "object": {"k": {"n": []}, "t": "a\nb"},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "first",
            "parameters": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "array": {"type": "array"}, "object": {}},
            },
        },
    }
]


@cache
def template(name: str) -> ChatTemplate:
    family = FAMILIES[name]
    return ChatTemplate(family.source, family.bos, family.ends[0])


@cache
def opened(name: str) -> AnswerFormat:
    return AnswerFormat.of(template(name), ByteVocabulary(FAMILIES[name]))


def opener(tools: ToolFormat) -> str:
    return "".join((tools.openers[-1] if tools.openers else tools.bare).pieces)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    family, format = FAMILIES[name], opened(name)
    assert format.reasoning_problem is None
    if family.reasoning is None:
        assert format.reasoning is None
    else:
        found = format.reasoning
        assert tuple("".join(marker.pieces) for marker in (found.begin, found.end)) == family.reasoning
    if family.calls is None:
        assert format.tools is None
        assert format.tools_problem == "the model's chat template takes no tools"
    else:
        assert format.tools_problem is None and format.tools.parallel == family.parallel
        assert (opener(format.tools) or format.tools.writing.parts[0][:1]).startswith(family.calls)
        assert format.tools.is_marked == (family.calls not in "{[")


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.calls])
def test_special_characters_in_arguments(name):
    made, format = template(name), opened(name)
    function = {"name": "first", "arguments": json.dumps(SPECIAL)}
    answer = {"role": "assistant", "content": None, "tool_calls": [{"id": "abcdef012", "function": function}]}
    answer["tool_calls"][0]["type"] = "function"
    prompt = made.render([QUESTION], tools=TOOLS)
    full = made.render([QUESTION, answer], add_generation_prompt=False, tools=TOOLS)
    for end in FAMILIES[name].ends:
        full = full.removesuffix("\n").removesuffix(end)
    start = len(made.render([QUESTION], add_generation_prompt=False, tools=TOOLS))
    start = len(prompt) if full.startswith(prompt) else start
    found = format.parse(full[start:], prompt[:start], TOOLS)
    assert [(call.name, json.loads(call.arguments)) for call in found.calls] == [("first", SPECIAL)]


def with_calls(calls: str, more: str = "") -> str:
    return (
        "{{ tools | tojson if tools }}{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ (m.content or '') }}"
        "{% for call in m.tool_calls or [] %}" + calls + "{% endfor %}<|end|>{% endfor %}" + more
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (QWEN2.replace("tools", "functions"), "the model's chat template takes no tools"),
        (with_calls(""), "the model's chat template writes no calls"),
        (with_calls("<call>{{ call.id }}</call>"), "the model's chat template writes no calls"),
        (with_calls("<call>{{ call.function.name }}</call>"), "leaves out the arguments of calls"),
        (
            with_calls("<call>{{ call.function.name }}{{ call.function.arguments.keys() | join }}</call>"),
            "the arguments of calls are written in a form that is not known",
        ),
        (
            # A second call loses its arguments.
            with_calls(
                "<call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson"
                " if loop.first else {'name': call.function.name} | tojson }}</call>"
            ),
            "calls are not read back|leaves out the arguments|form that is not known",
        ),
        (
            with_calls(
                "<call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson"
                " | replace('true', 'false') }}</call>"
            ),
            "calls are not read back as the chat template writes them: .*false",
        ),
        ("{{ tools }}{{ raise_exception('no') }}", "chat template: no"),
        (
            "{{ tools }}{% for m in messages %}{% if loop.last %}<{{ m.role }}>{% else %}[{{ m.role }}]"
            "{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
            "writes a question anew once it is answered",
        ),
        (
            "{{ tools }}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "time|s",
        ),
    ],
)
def test_problems(source, message):
    format = AnswerFormat.of(ChatTemplate(source))
    assert format.tools is None and "\n" not in format.tools_problem
    with pytest.raises(LumenError, match=message):
        format.grammar(TOOLS, "required")


def test_reasoning_that_is_not_read_back():
    # It is written twice.
    source = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}<think>"
        "{{ m.reasoning_content }}{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    format = AnswerFormat.of(ChatTemplate(source))
    assert format.reasoning is None
    assert format.reasoning_problem.startswith("reasoning is not read back as the chat template writes it: ")
    # A template that loses its reasoning can still call.
    twice = "{{ m.reasoning_content ~ m.reasoning_content ~ '</t>' if m.reasoning_content }}"
    format = AnswerFormat.of(
        ChatTemplate(QWEN2.replace("{{ '<|im_start|>assistant\n'", twice + "{{ '<|im_start|>assistant\n'", 1))
    )
    assert format.reasoning is None and format.tools is not None


@pytest.mark.parametrize(
    ("name", "variables", "start"),
    [
        ("qwen3", {}, Start.ANSWER),
        ("qwen3", {"enable_thinking": False}, Start.CONTENT),
        ("qwen3-thinking", {}, Start.REASONING),
        ("exaone-deep", {}, Start.REASONING),
        ("exaone-4.0", {}, Start.CONTENT),
        ("exaone-4.0", {"enable_thinking": True}, Start.REASONING),
        ("k-exaone", {}, Start.REASONING),
        ("k-exaone", {"enable_thinking": False}, Start.CONTENT),
        ("hyperclovax-think", {}, Start.ANSWER),
        ("hyperclovax-think", {"force_reasoning": True}, Start.REASONING),
        ("solar-open", {}, Start.ANSWER),
        ("solar-open", {"reasoning_effort": "low"}, Start.CONTENT),
        ("deepseek-r1", {}, Start.REASONING),
        ("qwen2.5", {}, Start.ANSWER),
    ],
)
def test_where_answers_begin(name, variables, start):
    prompt = template(name).render([QUESTION], **variables)
    assert opened(name).start(prompt) is start


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("qwen3", {"enable_thinking": True}, {"enable_thinking": False}),
        ("exaone-4.0", {"enable_thinking": True}, {"enable_thinking": False}),
        (
            "hyperclovax-think",
            {"force_reasoning": True, "skip_reasoning": False},
            {"force_reasoning": False, "skip_reasoning": True},
        ),
        ("solar-open", {}, {"reasoning_effort": "minimal"}),
    ],
)
def test_switches(name, on, off):
    thinking = opened(name).thinking
    assert thinking.chosen(True) == on and thinking.chosen(False) == off
    assert thinking.chosen() == {} and thinking.chosen(effort="none") == off
    if name == "solar-open":
        assert thinking.chosen(effort="high") == {"reasoning_effort": "high"}
        with pytest.raises(
            LumenError, match="the effort is 'huge'; the model's chat template knows minimal, low"
        ):
            thinking.chosen(effort="huge")
    else:
        assert thinking.chosen(effort="high") == {}
        with pytest.raises(LumenError, match="the effort is 'huge'; expected one of none, minimal, low"):
            thinking.chosen(effort="huge")


def test_no_switch():
    thinking = opened("qwen3-thinking").thinking
    assert thinking.chosen(True) == {}
    for given in ({"enable": False}, {"effort": "none"}):
        with pytest.raises(LumenError, match="the model's chat template has no switch for thinking"):
            thinking.chosen(**given)


def test_a_call_that_a_template_refuses():
    """Llama 3 has one call at a time; several come back as the template's own error."""
    call = {"function": {"name": "first", "arguments": "{}"}}
    with pytest.raises(LumenError, match="only single tool-calls"):
        ChatTemplate(LLAMA3).render(
            [QUESTION, {"role": "assistant", "content": None, "tool_calls": [call, call]}], tools=TOOLS
        )


def test_nobody_is_warned_of_what_is_only_tried(caplog):
    AnswerFormat.of(ChatTemplate(LLAMA3))
    assert caplog.messages == []


def test_a_slow_template(monkeypatch):
    monkeypatch.setattr(probe, "SECONDS", 1e-9)
    format = AnswerFormat.of(template("qwen3"))
    assert (format.reasoning, format.tools) == (None, None)
    assert format.reasoning_problem == format.tools_problem == "the template is too slow to be tried"


def test_a_template_that_fails_with_tools():
    source = QWEN3.replace("{% if tools %}", "{% if tools %}{{ tools[0].nothing.here }}", 1)
    format = AnswerFormat.of(ChatTemplate(source))
    assert format.tools is None and "nothing" in format.tools_problem
    assert format.reasoning is not None and format.reasoning_problem is None


@pytest.mark.parametrize("end", ["[A]", "<answer>", "[ASSISTANT]"])
def test_other_tags_begin_answers(end):
    """A prompt ends with a tag that says who speaks: what follows is no reasoning."""
    format = AnswerFormat.of(
        ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + end)
    )
    assert format.reasoning is None
    assert format.parse("hello", f"<user>hi{end}").content == "hello"


def test_example():
    assert opened("qwen3").tools.example == (
        '<tool_call>\n{"name": "NAME", "arguments": {…}}\n</tool_call><|im_end|>\n'
    )
    assert "<parameter=KEY>\nVALUE\n</parameter>" in opened("qwen3-coder").tools.example


def row(name: str) -> str:
    """The line of the table in ``docs/tools.md``."""
    format, none = opened(name), "none"
    reasoning, tools = format.reasoning, format.tools
    thinks = none if reasoning is None else f"{shown(reasoning.opening)} … {shown(reasoning.closing)}"
    calls = none
    if tools is not None:
        example = tools.example
        for end in FAMILIES[name].ends:
            example = example.partition(end)[0]
        calls = shown(example) + ("" if tools.parallel else ", one at a time")
    return f"| {name} | {thinks} | {calls} |"


def shown(text: str) -> str:
    """``text`` as code in a table."""
    text = text.strip().replace("\n", "⏎").replace("|", "\\|")
    return f"```` {text} ````" if "`" in text else f"`{text}`"


def test_page():
    page = Path(__file__).parents[3] / "docs" / "tools.md"
    table = page.read_text().partition("<!-- families -->\n")[2].partition("<!-- end -->")[0]
    assert table.splitlines()[2:] == [row(name) for name in FAMILIES]
