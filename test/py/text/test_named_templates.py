# SPDX-License-Identifier: Apache-2.0
"""Chat templates that come with Lumen, for files that have none."""

from __future__ import annotations

import pytest

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import types as T
from lumen_mlir.testing.scripted import write_scripted
from lumen_mlir.text.chat import ChatTemplate
from lumen_mlir.text.named_templates import NAMED

SYSTEM = {"role": "system", "content": "Be kind."}
TURNS = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1."},
    {"role": "user", "content": "Two?"},
]


def rendered(name, messages):
    return ChatTemplate(NAMED[name].source, "<s>", "</s>").render(messages)


@pytest.mark.parametrize("name", NAMED)
def test_every_turn_arrives_in_its_order(name):
    prompt = rendered(name, [SYSTEM, *TURNS])
    places = [prompt.index(text) for text in ("Be kind.", "One?", "1.", "Two?")]
    assert places == sorted(places)
    # The prompt for a later answer goes on where the one for the first ended.
    assert rendered(name, TURNS).startswith(rendered(name, TURNS[:1]))


def test_forms():
    """As the makers of the models write them."""
    assert rendered("chatml", TURNS[:1]) == "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
    assert rendered("llama3", TURNS[:1]) == (
        "<s><|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert rendered("gemma", [SYSTEM, TURNS[0]]) == (
        "<s><start_of_turn>user\nBe kind.\n\nOne?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert rendered("llama2", [SYSTEM, *TURNS]) == (
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nOne? [/INST] 1. </s><s>[INST] Two? [/INST]"
    )
    assert rendered("plain", TURNS) == "User: One?\n\nAssistant: 1.\n\nUser: Two?\n\nAssistant:"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model without a template, which goes on with the next question."""
    path = tmp_path_factory.mktemp("models") / "base.gguf"
    write_scripted(path, [":", " yes", "\n", "User", ":"], control=["<s>", "</s>"], bos="<s>", eos="</s>")
    return path


def test_a_model_without_a_template(base):
    with pytest.raises(LumenError, match="the model has no chat template"):
        LLM(base, engine="reference").chat("a")
    llm = LLM(base, engine="reference", chat_template="plain")
    answer = llm.chat("really?", temperature=0)
    # The text ends before the next question, which no token of the model's does.
    assert (answer.text(), answer.finish_reason) == (" yes", "stop")
    answer = llm.chat("really?", temperature=0, stop="es")
    assert (answer.text(), answer.finish_reason) == (" y", "stop")
    assert llm.detokenize(llm.chat("a", 1).prompt) == "User: a\n\nAssistant:"


def test_a_source_in_place_of_the_file_s_own(base, tmp_path):
    own = tmp_path / "own.gguf"
    metadata = {"tokenizer.chat_template.tool_use": ("own", T.STRING)}
    write_scripted(own, ["a", "b"], template="own {{ messages[0].content }}", metadata=metadata)
    given = "{% for m in messages %}({{ m.content }}{{ tools | length if tools }}){% endfor %}"
    llm = LLM(own, engine="reference", chat_template=given)
    assert llm.detokenize(llm.chat("x", 1).prompt) == "(x)"
    assert llm.detokenize(llm.chat("x", 1, tools=[{"name": "f"}]).prompt) == "(x1)"
    assert llm.chat_template.stops == ()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("chatlm", "there is no chat template 'chatlm', nor a file of that name; did you mean 'chatml'[?]$"),
        ("x", "'x', nor a file of that name; there are chatml, exaone3, "),
        ("{{ x", "the given chat template: line 1: "),
        (5, "the chat template is 5; a name or a source was expected"),
    ],
)
def test_refused(base, template, message):
    with pytest.raises(LumenError, match=message):
        LLM(base, engine="reference", chat_template=template).chat("a")
