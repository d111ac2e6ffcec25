# SPDX-License-Identifier: Apache-2.0
"""``--draft``: a second model guesses."""

from __future__ import annotations

import json
import re

import pytest

from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.testing.scripted import write_scripted

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
WORDS = ["zero", "one", "two", "three", "zero"]
TEXT = "onetwothreezero"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model that counts, one that counts as well, and one with other tokens."""
    folder = tmp_path_factory.mktemp("models")
    for name, words in (("model", WORDS), ("small", WORDS), ("other", ["zero", "two", "zero"])):
        write_scripted(folder / f"{name}.gguf", words, template=TEMPLATE)
    return folder


@pytest.fixture
def free_guesses(monkeypatch):
    """As if steps took as long, however many tokens they have, and those of the draft next to nothing."""
    monkeypatch.setattr("lumen_mlir.generate.draft.CostCurve", FreeCurve)
    monkeypatch.setattr(CostCurve, "seconds", lambda *_: 1.0)


class FreeCurve(CostCurve):
    def seconds(self, tokens, pairs=0):
        return 1e-6


def right_guesses(done) -> int:
    return int(re.search(r"\(([\d,]+) of [\d,]+ guesses right\)", done.stderr)[1])


def test_generate_and_chat(lumen, models, free_guesses):
    run = ("-p", "zero", "-n", "40", "--temp", "0", "--draft", models / "small.gguf")
    for command in ("generate", "chat"):
        done = lumen(command, models / "model.gguf", *run)
        assert (done.returncode, done.stdout) == (0, 10 * TEXT + "\n") and right_guesses(done) > 20
    done = lumen("generate", models / "model.gguf", *run, "-v")
    assert re.search(r"^lumen: draft .*small\.gguf: llama, 1 layers of width \d+$", done.stderr, re.M)
    done = lumen("generate", models / "model.gguf", *run, "-p", "one", "-q")
    assert done.stdout.count(9 * TEXT) == 2
    # As llama.cpp writes it.
    done = lumen("generate", models / "model.gguf", *run[:-2], "-md", models / "small.gguf", "--draft-max", 8)
    assert right_guesses(done) > 20 and "no effect here: --draft-max" in done.stderr


def test_batch(lumen, models, free_guesses):
    lines = "\n".join(json.dumps({"prompt": word, "temperature": 0}) for word in WORDS[:4])
    run = ("batch", models / "model.gguf", "-", "-n", "12", "-q")
    plain = lumen(*run, input=lines)
    done = lumen(*run, "--draft", models / "small.gguf", input=lines)
    texts = [sorted(json.loads(line)["text"] for line in each.stdout.splitlines()) for each in (plain, done)]
    assert texts[0] == texts[1] and len(texts[0]) == 4 and TEXT * 3 in texts[0]


def test_dry_run(lumen, models):
    run = ("generate", models / "model.gguf", "-p", "a", "--dry-run")
    rows = lumen(*run, "--draft", models / "small.gguf").stdout
    assert re.search(r"^draft +\S+ [kM]?B  weights, KV cache and intermediates$", rows, re.M)
    assert "\ndraft " not in lumen(*run).stdout


def test_what_is_no_draft(refused, models):
    run = ("generate", models / "model.gguf", "-p", "zero", "--draft")
    for more in ((), ("--dry-run",)):
        message = refused(*run, models / "other.gguf", *more)
        assert "other.gguf: a draft must have the tokens of the model: token 25" in message
    assert "none.gguf: cannot be opened" in refused(*run, models / "none.gguf")
    assert "--draft" in refused("bench", models / "model.gguf", "--draft", models / "small.gguf", code=2)
