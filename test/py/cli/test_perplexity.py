# SPDX-License-Identifier: Apache-2.0
"""``lumen perplexity``: what it prints, and where."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lumen_mlir.data import embedded_model_path

HELDOUT = Path(__file__).parents[2] / "data" / "heldout.txt"


def test_output(lumen):
    done = lumen("perplexity", embedded_model_path(), HELDOUT, "-c", "64", "--parts", "5")
    assert done.returncode == 0
    value, error = map(float, re.fullmatch(r"perplexity ([\d.]+) ± ([\d.]+)\n", done.stdout).groups())
    assert 100 < value < 1000 and 10 < error < value
    pattern = r"lumen: 5 parts of 64 tokens, 155 tokens scored, [\d.]+ s, [\d,]+ tokens/s\n"
    assert re.fullmatch(pattern, done.stderr)
    again = lumen("perplexity", "-", "-c", "64", "--chunks", "5", "--json", "-q", input=HELDOUT.read_bytes())
    fields = json.loads(again.stdout)
    assert again.stderr == "" and (fields["parts"], fields["tokens"], fields["context"]) == (5, 155, 64)
    assert f"{fields['value']:.4f}" == f"{value:.4f}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no.txt",), "no.txt: cannot be opened: No such file"),
        ((HELDOUT, "-c", "4096"), "a context of 4096 tokens is longer than the model's own of 2048 tokens"),
        ((HELDOUT, "-c", "2048", "--parts", "0"), "0 parts were asked for"),
        ((embedded_model_path(),), "is not valid UTF-8"),
    ],
)
def test_refused(refused, arguments, message):
    assert message in refused("perplexity", *arguments)

    assert "not 3 files" in refused("perplexity", "a", "b", "c", code=2)


def test_short_text(refused, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("이 영화", encoding="utf-8")
    assert "the text has 3 tokens; two parts of 512 need 1024" in refused("perplexity", path)
