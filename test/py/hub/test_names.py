# SPDX-License-Identifier: Apache-2.0
"""What is a name of the hub, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lumen_mlir.hub import is_hub_name
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName, safe_path

NAMES = {
    "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF": HubName("Qwen/Qwen2.5-0.5B-Instruct-GGUF"),
    "hf:user/repo:Q4_K_M": HubName("user/repo", tag="Q4_K_M"),
    "HF:user/repo:q8_0": HubName("user/repo", tag="q8_0"),
    "hf:user/repo@v1.0:q8_0": HubName("user/repo", "v1.0", "q8_0"),
    "hf:user/repo@refs/pr/3": HubName("user/repo", "refs/pr/3"),
    "hf:user/repo@main": HubName("user/repo"),
    "hf:user/repo:model-Q4_0.gguf": HubName("user/repo", file="model-Q4_0.gguf"),
    "hf:user/repo/sub/model-Q4_0.gguf": HubName("user/repo", file="sub/model-Q4_0.gguf"),
    "hf://user/repo": HubName("user/repo"),
    "hf.co/user/repo:Q4_K_M": HubName("user/repo", tag="Q4_K_M"),
    "huggingface.co/user/repo": HubName("user/repo"),
    "https://huggingface.co/user/repo": HubName("user/repo"),
    "https://huggingface.co/user/repo/": HubName("user/repo"),
    "https://huggingface.co/user/repo/tree/main": HubName("user/repo"),
    "https://huggingface.co/user/repo/tree/v2": HubName("user/repo", "v2"),
    "https://huggingface.co/user/repo/blob/main/a/b%20c.gguf": HubName("user/repo", file="a/b c.gguf"),
    "https://huggingface.co/user/repo/resolve/v2/b.gguf?download=true": HubName(
        "user/repo", "v2", file="b.gguf"
    ),
    "https://huggingface.co/user/repo/blob/refs%2Fpr%2F1/b.gguf": HubName(
        "user/repo", "refs/pr/1", file="b.gguf"
    ),
    "https://mirror.example/user/repo": HubName("user/repo"),
}


@pytest.mark.parametrize("text", NAMES)
def test_names(text, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert is_hub_name(text)
    name = HubName.parse(text)
    assert name == NAMES[text]
    assert HubName.parse(str(name)) == name


WRONG = {
    "hf:": "USER/REPO was expected, as in hf:USER/REPO:q4_k_m",
    "hf:gpt2": "USER/REPO was expected",
    "hf:user/": "USER/REPO was expected",
    "hf:../..": "USER/REPO was expected",
    "hf:user/a--b": "USER/REPO was expected",
    "hf:user/repo\n": "USER/REPO was expected",
    "hf:user/repo:": "nothing stands behind ':'",
    "hf:user/repo:q4/../../x": "is not a format",
    "hf:user/repo@:q4_0": "'' is not a branch, tag or commit",
    "hf:user/repo@../x": "is not a branch, tag or commit",
    "hf:user/repo/README.md": "is not a GGUF file",
    "hf:user/repo/../x.gguf": "is not a path inside a repository",
    "hf:user/repo/x.gguf:q4_0": "names a file twice",
    "hf:user/repo:\x1b[31m": "is not a format",
    "https://huggingface.co/datasets": "USER/REPO was expected",
    "https://huggingface.co/user/repo/blob/main/%1b.gguf": "is not a path inside a repository",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_names(text):
    with pytest.raises(HubError) as caught:
        HubName.parse(text)
    assert WRONG[text] in str(caught.value)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_paths_are_not_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name("user/repo") and not is_hub_name("model.gguf") and not is_hub_name(None)
    (tmp_path / "hf:user").mkdir()
    (tmp_path / "hf:user" / "repo").touch()
    assert not is_hub_name("hf:user/repo") and is_hub_name("hf:user/other")
    with pytest.raises(HubError, match="'user/repo' is not a name of the hub"):
        HubName.parse("user/repo")
    assert HubName.parse("user/repo:q8_0", bare=True) == HubName("user/repo", tag="q8_0")


@given(st.text(st.sampled_from("ab:/@.%-_\\ \x1b\n한") | st.characters(), max_size=30))
@example("hf.co/a/b@..:x.gguf")
def test_any_text(text):
    """It is a name, which is written as it is read, or refused in one line."""
    for prefix in ("hf:a/b", "hf:", "https://huggingface.co/a/b/blob/"):
        try:
            name = HubName.parse(prefix + text)
        except HubError as error:
            assert "\x1b" not in str(error) and "\n" not in str(error)
            continue
        assert HubName.parse(str(name)) == name
        assert ".." not in name.repo and (name.file is None or safe_path(name.file))
        assert name.tag is None or "/" not in name.tag
