# SPDX-License-Identifier: Apache-2.0
"""Chat templates: rendering as transformers does, the sandbox, and one line for every failure."""

from __future__ import annotations

import pytest

from lumen_mlir import LLM
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.testing.synthetic import CHAT_TEMPLATE, write_synthetic
from lumen_mlir.text.chat import ChatTemplate
from lumen_mlir.text.tokenizer import Tokenizer

HELLO = [{"role": "user", "content": "안녕 <b>"}]


def render(source: str, messages=HELLO, **variables) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(messages, **variables)


def test_chatml():
    conversation = [*HELLO, {"role": "assistant", "content": "네"}]
    prompt = ChatTemplate(CHAT_TEMPLATE).render(conversation)
    assert prompt == (
        "<|im_start|>user\n안녕 <b><|im_end|>\n<|im_start|>assistant\n네<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ChatTemplate(CHAT_TEMPLATE).render(HELLO, add_generation_prompt=False).endswith("<|im_end|>\n")


def test_from_gguf(tmp_path):
    write_synthetic(tmp_path / "m.gguf", "tiny", layers=1, vocabulary=300)
    file = GGUFFile.open(tmp_path / "m.gguf")
    tokenizer = Tokenizer.from_gguf(file)
    prompt = ChatTemplate.from_gguf(file, tokenizer).render(HELLO)
    ids = tokenizer.encode(prompt, special=True, add_bos=False)
    assert ids.count(tokenizer.encode("<|im_start|>")[0]) == 2
    assert tokenizer.decode(ids, special=True) == prompt


def test_no_template():
    file = GGUFFile.open(embedded_model_path())
    with pytest.raises(LumenError, match=r"has no chat template \('tokenizer.chat_template'\)"):
        ChatTemplate.from_gguf(file, Tokenizer.from_gguf(file))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>안녕 <b></s>"),
        ("{% for m in messages %}\n  {% if true %}\n{{ m['role'] }}\n  {% endif %}\n{% endfor %}", "user\n"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "안녕 <b>"}'),
        ("{{ {'b': 1, 'a': [1]} | tojson(indent=1, sort_keys=true) }}", '{\n "a": [\n  1\n ],\n "b": 1\n}'),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% generation %}{{ 1 }}{% endgeneration %}", "1"),
        ("{% if tools %}t{% endif %}{{ enable_thinking }}", "True"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        ("{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}", "2"),
    ],
)
def test_features(source, expected):
    assert render(source, enable_thinking=True) == expected


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("{% for %}", ["line 1"]),
        ("a\n{{ x", ["line 2"]),
        ("{{ raise_exception('roles must\nalternate') }}", ["roles must alternate"]),
        ("{{ messages[0].content.nope.nope }}", ["nope"]),
        ("{{ 1 / 0 }}", ["division by zero"]),
        ("{{ messages[0].__class__.__mro__[1].__subclasses__() }}", ["unsafe"]),
        ("{{ messages.append(1) }}", ["unsafe"]),
        ("{% for i in range(10000000) %}{% endfor %}", ["range", "100000"]),
        ("{{ messages | nofilter }}", ["nofilter"]),
        ("{% include 'x' %}", ["loader"]),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ["recursion"]),
        ("{{ f() | tojson }}", ["'f' is undefined"]),
    ],
)
def test_failures(source, parts):
    with pytest.raises(LumenError) as caught:
        render(source)
    message = str(caught.value)
    assert message.startswith("chat template: ") and "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("messages", [[], ["hi"], [{"content": "x"}], [{"role": 1}], [*HELLO, None]])
def test_malformed_messages(messages):
    with pytest.raises(LumenError, match=f"message {len(messages) - 1} is|at least one message"):
        render("x", messages)


def test_messages_are_left_alone():
    messages = [{"role": "user", "content": "x", "tags": []}]
    with pytest.raises(LumenError):
        render("{{ messages[0].update(role='x') }}", messages)
    assert messages == [{"role": "user", "content": "x", "tags": []}]


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def test_variables_are_known_and_passed_through():
    template = ChatTemplate("{% if tools %}{{ tools | tojson }}{% endif %}{{ enable_thinking is defined }}")
    assert {"tools", "enable_thinking"} <= template.variables
    assert template.render(HELLO, tools=TOOLS).startswith(
        '[{"type": "function"'
    ) and "False" in template.render(HELLO)
    assert template.render(HELLO, enable_thinking=False) == "True"


@pytest.mark.parametrize(
    ("source", "tools", "message"),
    [
        ("{{ messages }}", TOOLS, "the model's chat template takes no tools"),
        ("{{ tools }}", {"name": "f"}, "the tools are {'name': 'f'}; a list of descriptions was expected"),
        (
            "{{ tools }}",
            [{"function": 1}],
            "tool 0 is {'function': 1}; expected a mapping with 'name' or 'function'",
        ),
        ("{{ tools }}", [TOOLS[0], "f"], "tool 1 is 'f'; expected a mapping"),
    ],
)
def test_unsuitable_tools(source, tools, message):
    with pytest.raises(LumenError, match=message):
        render(source, tools=tools)


def test_a_model_is_told(tmp_path, caplog):
    """Through ``LLM.chat``: what the template gets shows in its refusal."""
    asks = "{{ raise_exception('%s') }}"
    told = (
        "{{ raise_exception('usual ' ~ (enable_thinking | string) ~ ' ' ~ effort ~ ' ' ~ (tools | tojson)) }}"
    )
    path = rewrite_metadata(tmp_path, {"tokenizer.chat_template": told})
    llm = LLM(path, engine="reference", context=64)
    with pytest.raises(LumenError, match='usual False low .."type": "function"'):
        llm.chat(HELLO, enable_thinking=False, tools=TOOLS, variables={"effort": "low"})
    named = {"tokenizer.chat_template": "{{ messages }}", "tokenizer.chat_template.tool_use": asks % "tools"}
    llm = LLM(rewrite_metadata(tmp_path, named), engine="reference", context=64)
    # The special template has no tools in it, which is as wrong as in a usual one.
    with pytest.raises(LumenError, match="takes no tools"):
        llm.chat(HELLO, tools=TOOLS)
    for _ in range(2):
        llm.chat(HELLO, 0, enable_thinking=True)
    assert caplog.text.count("does not use 'enable_thinking'") == 1


def rewrite_metadata(folder, texts: dict[str, str]):
    from cli_samples import SHAPE, rewrite

    write_synthetic(folder / "plain.gguf", SHAPE, "q8_0")
    return rewrite(
        folder / "plain.gguf", folder / "m.gguf", {key: (text, T.STRING) for key, text in texts.items()}
    )
