# SPDX-License-Identifier: Apache-2.0
"""Messages as OpenAI's clients send them, through templates as makers write them."""

from __future__ import annotations

import json

import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.text.chat import ChatTemplate

CONTENT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
USER = {"role": "user", "content": "hi"}
ARGUMENTS = {"city": "서울", "days": [1, None], "dry": True}


def render(source: str, *messages, **variables) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(list(messages), **variables)


def call(arguments, **more):
    function = {"name": "weather", "arguments": arguments}
    return {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        **more,
    }


@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {}])
@pytest.mark.parametrize("form", ["text", "object"])
@pytest.mark.parametrize(
    ("written", "compact"),
    [
        ("{{ c.function.arguments | tojson }}", False),
        ("{{ c['function']['arguments'] }}", False),
        ("{{ '```json\\n' + c.function.arguments + '\\n```' }}", False),
        ("{{ '' ~ c.function.arguments }}", False),
        ("{{ '%s' | format(c.function.arguments) }}", False),
        ("{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}"
         "{{ c.function.arguments | tojson }}{% endif %}", False),
        ("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson }};{% endfor %}", True),
        ("{% set a = c.function.arguments %}{% for k in a %}{{ k }}={{ a[k] | tojson }};{% endfor %}", True),
    ],
)  # fmt: skip
def test_arguments(written, compact, form, content):
    source = (
        "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}" + written + "{% endfor %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    sent = json.dumps(ARGUMENTS) if form == "text" else ARGUMENTS
    expected = (
        'city="서울";days=[1, null];dry=true;' if compact else json.dumps(ARGUMENTS, ensure_ascii=False)
    )
    prompt = render(source, USER, call(sent, **content))
    assert expected in prompt and "None" not in prompt


def test_arguments_are_no_more_than_that():
    tool = "{% for m in messages %}{{ m.tool_calls[0].function.arguments | tojson }}{% endfor %}"
    assert render(tool, call("")) == render(tool, call(None)) == "{}"
    message = call('{"a": 1}')
    kept = json.dumps(message)
    render(tool, message)
    assert json.dumps(message) == kept
    flat = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}]}
    assert render("{{ messages[0].tool_calls[0].arguments | tojson }}", flat) == "{}"
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 2}'}}
    assert render("{{ messages[0].function_call.arguments.a }}", old) == "2"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (call("{"), "'tool_calls'[0]: the arguments are '{', which is no JSON"),
        (call("[1]"), "'tool_calls'[0]: the arguments are [1]; an object was expected"),
        (call(3), "the arguments are 3; an object was expected"),
        ({"role": "assistant", "tool_calls": {"a": 1}}, "'tool_calls' is {'a': 1}; a list of calls was"),
        ({"role": "assistant", "tool_calls": ["f"]}, "'tool_calls'[0] is 'f'; expected a mapping with"),
        ({"role": "user", "content": 3}, "the content is 3; expected text, a list of text parts, or null"),
        ({"role": "user", "content": {"a": 1}}, "the content is {'a': 1}; expected text"),
        ({"role": "user", "content": b"x"}, "the content is b'x'; expected text"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]},
            "part 1 is of type 'image_url'; the model reads text only",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "part 0 is {'type': 'text'}; expected {'type': "),
        ({"role": "user", "content": [3]}, "part 0 is 3; expected"),
    ],
)  # fmt: skip
def test_malformed(message, expected):
    with pytest.raises(LumenError) as caught:
        render(CONTENT, USER, message)
    assert str(caught.value).startswith(f"message 1: {expected}") or expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("messages", ["hi", {"role": "user"}, 3, None, []])
def test_no_list_of_messages(messages):
    with pytest.raises(LumenError, match="the messages are |at least one message"):
        ChatTemplate(CONTENT).render(messages)


def test_deep_messages():
    deep = [[]]
    deep[0] = deep
    with pytest.raises(LumenError, match="message 0 is nested more than 64 levels deep"):
        render(CONTENT, {"role": "user", "content": "a", "more": deep})


def test_parts_are_joined():
    parts = [{"type": "text", "text": "그 "}, {"type": "input_text", "text": "글"}, "!"]
    for source in (CONTENT, "{% for m in messages %}<{{ m['role'] }}>{{ '' + m['content'] }}{% endfor %}"):
        assert render(source, {"role": "user", "content": parts}) == "<user>그 글!"
    typed = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}"
    )
    assert render(typed, {"role": "user", "content": parts}) == "그 글!"


def test_null():
    null = {"role": "assistant", "content": None, "tool_calls": []}
    assert render(CONTENT, USER, null) == "<user>hi<assistant>"
    assert render("{{ messages[0].tool_calls is defined }}", null) == "False"
    assert render("{{ 'tool_calls' in messages[0] }}", {**null, "tool_calls": None}) == "False"
    named = "{{ messages[0].name }} {{ messages[0].tool_call_id }} {{ messages[0].content | tojson }}"
    tool = {"role": "tool", "name": "f", "tool_call_id": "c1", "content": {"a": 1}}
    assert render(named, tool) == 'f c1 {"a": 1}'


KNOWS_TWO = (
    "{% for m in messages %}{% if m.role == 'user' %}U{{ m.content | trim }}"
    "{% elif m.role == 'assistant' %}A{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}"
)


def test_roles_that_a_template_lacks():
    assert render(KNOWS_TWO, USER, {"role": "assistant", "content": "<think>x</think>"}, USER) == "UhiAUhi"
    for role in ("system", "tool", "developer"):
        with pytest.raises(LumenError, match=f"the template leaves out message 1, of the role '{role}'"):
            render(KNOWS_TWO, USER, {"role": role, "content": "be kind"})
        with pytest.raises(LumenError, match=f"leaves out message 0, of the role '{role}'"):
            render(KNOWS_TWO, {"role": role, "content": "hi"}, USER, {**USER, "content": "b"})
        render(KNOWS_TWO, USER, {"role": role, "content": " "})
    # Contents that arrive in another form have arrived.
    for change in ("tojson", "upper", "replace('b', 'c')", "reverse", "trim"):
        source = "{% for m in messages %}{{ m.content | " + change + " }}{% endfor %}"
        assert render(source, {"role": "system", "content": ' "be kind\n'}, USER)
    # Calls instead of a content are no loss.
    calls = (
        "{% for m in messages %}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% else %}"
        "{{ m.content }}{% endif %}{% endfor %}"
    )
    assert "hm" not in render(calls, USER, call("{}", content="hm"))


CALLS = "{% for c in m.tool_calls %}{{ c.id }}:{{ c.function.name }}{{ c.function.arguments }}{% endfor %}"


@pytest.mark.parametrize(
    ("condition", "content", "expected"),
    [
        ("m.tool_calls", None, "hiC"),
        ("m.tool_calls and m.content is none", None, "hiC"),
        ("m.tool_calls and m.content is none", "", "hiC"),
        ("m.tool_calls and m.content is none", "look", "hiC"),
        ("m.tool_calls and '' in m.content", None, "hiC"),
        ("m.tool_calls and '' in m.content", "look", "hiC"),
        ("not m.content", "", "hiC"),
    ],
)
def test_contents_beside_calls(condition, content, expected, caplog):
    """Templates that want null, or text, beside calls get it."""
    source = "{% for m in messages %}{% if " + condition + " %}" + CALLS + "{% else %}{{ m.content }}"
    prompt = render(source + "{% endif %}{% endfor %}", USER, call({"a": 1}, content=content))
    assert prompt == expected.replace("C", 'c1:weather{"a": 1}')
    assert ("no place for a text beside calls" in caplog.text) == ("none" in condition and content == "look")


def test_ids_of_nine_characters():
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}"
        "{{ raise_exception('9 characters!') }}{% endif %}{{ c.id }}:{{ c.function.name }} {% endfor %}"
        "{% if m.role == 'tool' %}{{ m.tool_call_id }}{% endif %}{{ m.content }}{% endfor %}"
    )
    result = {"role": "tool", "tool_call_id": "c1", "content": "7"}
    asked, answered = render(source, call("{}"), result).split(":weather ")
    assert len(asked) == 9 and answered == f"{asked}7"
    kept = call("{}")
    kept["tool_calls"][0]["id"] = "abcdef012"
    assert render(source, kept) == "abcdef012:weather "


def test_calls_that_a_template_lacks():
    with pytest.raises(LumenError, match="the template leaves out the calls of message 1"):
        render(CONTENT, USER, call("{}"))
