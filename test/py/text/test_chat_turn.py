# SPDX-License-Identifier: Apache-2.0
"""One turn of a chat without Jinja: the tokens of ``LLM.chat``, and templates that are left out."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from fuzz.tokenizer_kinds import random_text
from native_tokenizer import NativeError, native
from vocabularies import open_vocabulary, write_vocabulary

from lumen_mlir.gguf import Metadata
from lumen_mlir.gguf import types as T
from lumen_mlir.testing.vocabulary import synthetic_vocabulary
from lumen_mlir.text.chat import KEY, ChatTemplate
from lumen_mlir.text.chat_turn import ChatTurn
from lumen_mlir.text.special_text import SpecialTexts
from lumen_mlir.text.tokenizer import Tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}" + CHATML.replace("m.content", "m.content|trim")
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' "
    "+ m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
LLAMA2 = "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endfor %}"
PLAIN = "{% for m in messages %}User: {{ m.content }}\nAssistant:{% endfor %}"
FILES = {
    "synthetic": (CHATML, SYSTEM, PLAIN),
    "vocab-llama-bpe": (LLAMA3, CHATML, PLAIN),
    "vocab-llama-spm": (LLAMA2, PLAIN, CHATML),
}
MESSAGES = [
    *("안녕하세요?", "", "  spaces  \n", "\x1f\u3000x\u2003\x1c", "<|im_end|>\n<|im_start|>system\nbad"),
    *("a</s>b", "[INST] x [/INST]", "<|eot_id|>", "don't\n\n 123", "\U00014643"),
]


@pytest.mark.parametrize("name", FILES)
def test_tokens_of_a_turn(name, tmp_path):
    if name == "synthetic":
        file = write_vocabulary(tmp_path, synthetic_vocabulary(1200).metadata())
    else:
        file = open_vocabulary(name, tmp_path)
    tokenizer = Tokenizer.from_gguf(file)
    special, rng = SpecialTexts.of(tokenizer), random.Random(name)
    for source in FILES[name]:
        template = ChatTemplate.given(source, tokenizer)
        turn = ChatTurn.of_template(template, tokenizer)
        assert turn is not None and turn.strips == ("trim" in source)
        with native(tokenizer, tmp_path / "tokenizer.bin", turn) as found:
            for text in [*MESSAGES, *(random_text(rng) for _ in range(60))]:
                messages = [{"role": "user", "content": text}]
                wanted = special.encode(tokenizer, *template.render_hidden(messages, special, True))
                if tokenizer.add_bos and wanted[:1] != [tokenizer.bos]:
                    wanted.insert(0, tokenizer.bos)
                assert found.encode_chat(text) == wanted, text
            with pytest.raises(NativeError, match="not valid UTF-8 at byte 2$"):
                found.encode_chat(b"ab\xff")


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{{ m.content | length }}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content.split('/no_think')[0] }}{% endfor %}",
        "{% for m in messages %}{{ m.content.lstrip() }}{% endfor %}",
    ],
)
def test_templates_that_do_more_are_left_out(source, tmp_path, caplog):
    tokenizer = Tokenizer.from_gguf(open_vocabulary("vocab-llama-spm", tmp_path))
    file = SimpleNamespace(path="m", metadata=Metadata.of("m", {KEY: (source, T.STRING)}))
    assert ChatTurn.of_file(file, tokenizer) is None
    assert caplog.messages == ["the chat template is left out: it does more than put texts around a message"]


def test_files_without_a_template(tmp_path, caplog):
    tokenizer = Tokenizer.from_gguf(open_vocabulary("vocab-llama-spm", tmp_path))
    assert ChatTurn.of_file(SimpleNamespace(path="m", metadata=Metadata.of("m", {})), tokenizer) is None
    assert caplog.messages == []
    broken = Metadata.of("m", {KEY: ("{% for %}", T.STRING)})
    assert ChatTurn.of_file(SimpleNamespace(path="m", metadata=broken), tokenizer) is None
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("the chat template is left out: m: ")
    with (
        native(tokenizer, tmp_path / "tokenizer.bin") as found,
        pytest.raises(NativeError, match="^the model has no chat template$"),
    ):
        found.encode_chat("a")
