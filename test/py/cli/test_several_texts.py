# SPDX-License-Identifier: Apache-2.0
"""``lumen generate`` with several prompts."""

from __future__ import annotations

import pytest

from lumen_mlir.testing.scripted import write_scripted


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """Counts to 5 behind any number below, and ends."""
    path = tmp_path_factory.mktemp("models") / "counter.gguf"
    write_scripted(path, ["1", "2", "3", "4", "5", "</s>"], control=["</s>"], eos="</s>")
    return path


def test_each_has_a_heading(lumen, counter, tmp_path):
    run = ("generate", counter, "--temp", "0")
    done = lumen(*run, "-p", "1", "-p", "4", "-p", "5", "-p", "2")
    texts = ("==> 1 <==\n2345\n", "==> 4 <==\n5\n", "==> 5 <==\n\n", "==> 2 <==\n345\n")
    assert done.stdout == "\n".join(texts)
    assert done.stderr.startswith("lumen: 4 texts, 8 tokens at ") and done.returncode == 0
    done = lumen(*run, "-p", "1", "-p", "2 \x1b 3", "--echo", "-n", "1", "-q")
    assert done.stdout == "==> 1 <==\n12\n\n==> 2 \x1b 3 <==\n2 \x1b 34\n" and done.stderr == ""
    # One has none.
    assert lumen(*run, "-p", "1", "-q").stdout == "2345\n"


def test_files(lumen, refused, counter, tmp_path):
    for name, text in (("a", "3\n"), ("b", "4")):
        (tmp_path / name).write_text(text)
    run = ("generate", counter, "--temp", "0", "-q")
    done = lumen(*run, "-f", tmp_path / "a", "-f", tmp_path / "b", "-f", "-", input="2")
    assert done.stdout == "==> 3 <==\n45\n\n==> 4 <==\n5\n\n==> 2 <==\n345\n"
    assert "stdin is given more than once" in refused(*run, "-f", "-", "-f", "-", code=2)
    assert "-p and -f exclude each other" in refused(*run, "-p", "1", "-f", "-", code=2)
    assert "--logprobs is for one text" in refused(*run, "-p", "1", "-p", "2", "--logprobs", "1", code=2)


def test_as_many_as_the_cache_has_no_room_for(lumen, counter):
    """More than are computed at a time, of which each is what it is alone."""
    prompts = [word for n in range(40) for word in ("-p", str(1 + n % 5))]
    done = lumen("generate", counter, "--temp", "0", "-q", "-c", "64", *prompts)
    alone = {str(n): "".join(map(str, range(n + 1, 6))) for n in range(1, 6)}
    expected = [f"==> {name} <==\n{alone[name]}\n" for name in prompts[1::2]]
    assert done.stdout == "\n".join(expected)


def test_a_prompt_that_is_too_long(lumen, counter):
    done = lumen("generate", counter, "-p", "1", "-p", "1" * 600)
    assert (done.returncode, done.stdout) == (1, "")
    assert "prompt 1: the prompt is 600 tokens long, but the context is 512 tokens" in done.stderr
