# SPDX-License-Identifier: Apache-2.0
"""What ``lumen chat`` passes to a model's chat template, seen in the refusal of a template that tells."""

from __future__ import annotations

import json

import pytest
from cli_samples import rewrite

from lumen_mlir.gguf import types as T

TELLS = (
    "{{ raise_exception('think ' ~ (enable_thinking | default('?')) ~ ', ' ~ effort ~ ', ' "
    "~ (tools | tojson)) }}"
)


@pytest.fixture
def telling(tiny, tmp_path):
    return rewrite(tiny, tmp_path / "tells.gguf", {"tokenizer.chat_template": (TELLS, T.STRING)})


def test_variables(refused, telling, tmp_path):
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([{"name": "f"}]))
    given = ("--tools", tools, "--template-var", "effort=low", "-q")
    assert 'think False, low, [{"name": "f"}]' in refused("chat", telling, "--no-think", *given, input="a\n")
    assert 'think True, 3, [{"name": "f"}]' in refused(
        "chat", telling, "--think", *given, "--template-var", "effort=3", input="a\n"
    )
    assert "think ?, , null" in refused("chat", telling, "-q", input="a\n")


def test_templates_without_them(lumen, refused, tiny, tmp_path):
    done = lumen("chat", tiny, "--no-think", "-n", "2", input="a\nb\n")
    assert done.returncode == 0
    assert done.stderr.count("warning: the model's chat template does not use 'enable_thinking'") == 1
    tools = tmp_path / "tools.json"
    tools.write_text('[{"name": "f"}]')
    assert "the model's chat template takes no tools" in refused(
        "chat", tiny, "-q", "--tools", tools, input="a\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("[", "is not JSON: line 1"), ("{}", "a JSON list with at least one tool"), ("[]", "at least one tool")],
)
def test_bad_tools(refused, tiny, tmp_path, text, message):
    tools = tmp_path / "tools.json"
    tools.write_text(text)
    assert message in refused("chat", tiny, "--tools", tools)
    assert "cannot be opened" in refused("chat", tiny, "--tools", tmp_path / "none")
    assert "--template-var is 'x'; NAME=VALUE was expected" in refused("chat", tiny, "--template-var", "x")
