# SPDX-License-Identifier: Apache-2.0
"""What users of other programs and of shells expect of the command line."""

from __future__ import annotations

import pytest

from lumen_mlir.cli.text import decoded
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import types as T
from lumen_mlir.testing.scripted import write_scripted

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}[A]"


@pytest.fixture(scope="session")
def answering(tmp_path_factory):
    """A model that answers "Yes" between two control tokens."""
    path = tmp_path_factory.mktemp("models") / "yes.gguf"
    metadata = {"general.sampling.temp": (0.5, T.F32), "general.sampling.top_k": (1, T.I32)}
    write_scripted(
        path,
        ["[A]", "<|mark|>", "Yes", "</s>"],
        control=["<s>", "</s>", "[A]", "<|mark|>"],
        bos="<s>",
        eos="</s>",
        template=TEMPLATE,
        metadata=metadata,
    )
    return path


def test_one_message(lumen, answering, tmp_path):
    path = tmp_path / "question.txt"
    path.write_bytes("\ufeff안녕\r\n둘째 줄\r\n".encode())
    chat = ("chat", answering, "-q", "--engine", "reference")
    assert lumen(*chat, "--no-special", input="요약해 줘\n첫째 줄\n둘째 줄\n").stdout == "Yes\n"
    assert lumen(*chat, "-p", "안녕").stdout == "<|mark|>Yes\n"
    assert lumen(*chat, "-f", path).stdout == "<|mark|>Yes\n"
    for empty in ("", "  \n"):
        assert lumen(*chat, input=empty).stderr == (
            "lumen: error: there is no message: pass -p TEXT or -f FILE, or pipe a text in\n"
        )
    assert "-p and -f exclude each other" in lumen(*chat, "-p", "a", "-f", path).stderr


def test_control_tokens_are_printed_on_demand(lumen, answering):
    generate = ("generate", answering, "-q", "--engine", "reference", "-p", "[A]")
    assert lumen(*generate).stdout == "Yes\n"
    assert lumen(*generate, "--special").stdout == "<|mark|>Yes\n"


def test_sampling_of_the_model_is_shown(lumen, answering):
    generate = ("generate", answering, "--engine", "reference", "-p", "[A]")
    said = "lumen: sampling: temperature 0.5, top-k 1 (the model's own)"
    assert said in lumen(*generate).stderr.splitlines()
    assert "lumen: sampling: top-k 1 (" in lumen(*generate, "--temp", "0").stderr
    assert "sampling" not in lumen(*generate, "--temp", "0", "--top-k", "2").stderr


@pytest.mark.parametrize(
    "options", [("--seed", "-1"), ("--top-k", "-1"), ("-c", "0"), ("--top-k", "0", "--min-p", "1")]
)
def test_numbers_that_mean_off(lumen, answering, options):
    done = lumen("generate", answering, "-q", "--engine", "reference", "-p", "[A]", *options)
    assert (done.returncode, done.stdout) == (0, "Yes\n")


def test_completion(lumen):
    done = lumen(env={"_LUMEN_COMPLETE": "bash_source"})
    assert done.returncode == 0 and "complete -o nosort -F _lumen_completion lumen" in done.stdout

    def completions(words: str) -> list[str]:
        place = str(len(words.split(" ")) - 1)
        env = {"_LUMEN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": place}
        return lumen(env=env).stdout.split()

    assert completions("lumen gen") == ["plain,generate"]
    assert completions("lumen generate --top") == ["plain,--top-k", "plain,--top-p"]
    # The shell completes paths itself.
    assert completions("lumen generate mod") == ["file,mod"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("오늘".encode("utf-16"), "text: is UTF-16; UTF-8 was expected"),
        ("오늘 a".encode("utf-16-le"), "not valid UTF-8 .* it seems to be UTF-16LE: iconv -f UTF-16LE"),
        ("abc".encode("utf-16-be"), "every second byte or more is 0, as in UTF-16"),
        ("오늘 본 영화".encode("cp949"), "byte 0 is not valid UTF-8 .* it seems to be CP949: iconv -f CP949"),
        (b"no\xe9", r"byte 2 is not valid UTF-8 \(unexpected end of data\)$"),
    ],
)
def test_texts_in_other_encodings(data, message):
    with pytest.raises(LumenError, match=message):
        decoded(data, "text")


def test_marks_and_zeros():
    assert decoded("\ufeff오\ufeff".encode(), "text") == "오\ufeff"
    assert decoded("오\0늘".encode(), "text") == "오\0늘" and decoded(b"", "text") == ""
