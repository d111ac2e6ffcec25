# SPDX-License-Identifier: Apache-2.0
"""The chat page that ``lumen serve`` itself serves: what it sends and asks for is what the server knows."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

from answer_templates import QWEN3  # noqa: E402
from page_driver import ChatPage  # noqa: E402
from playwright.sync_api import expect  # noqa: E402
from server_fixture import serving  # noqa: E402

from lumen_mlir.testing.scripted import write_scripted  # noqa: E402

ANSWER = [
    "<think>",
    "\n생각",
    "… ",
    "\n ",
    "</think>",
    "\n\n",
    "**안녕",
    "하세요**",
    "! `코드`",
    "<|im_end|>",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "parrot.gguf"
    marks = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
    control = ["<|im_start|>", "<|im_end|>"]
    write_scripted(
        path,
        ["\n", *ANSWER],
        control=control,
        user_defined=marks,
        eos="<|im_end|>",
        template=QWEN3,
        context=2048,
    )
    with serving(str(path), options={"engine": "reference"}) as running:
        yield running


def test_a_conversation(context, server):
    """Reasoning is folded, text is formatted, counts are shown; another tab finds it again."""
    page = ChatPage(context, SimpleNamespace(address=server.url, requests=[]))
    page.send("누구세요?")
    tab = page.tab
    expect(tab.locator("article").last.locator("strong")).to_have_text("안녕하세요")
    expect(tab.locator("article").last.locator("code")).to_have_text("코드")
    expect(tab.get_by_text("토큰 10개")).to_be_visible()
    assert "생각" not in tab.locator("article").last.inner_text().split("안녕하세요")[1]
    page.open()
    tab.locator("nav li a").first.click()
    expect(tab.locator("article").last.locator("strong")).to_have_text("안녕하세요")
    assert page.complaints == [] and page.elsewhere == []


def test_what_the_server_refuses(context, server):
    """What the server says is shown."""
    page = ChatPage(context, SimpleNamespace(address=server.url, requests=[]))
    page.send("x" * 20_000)
    expect(page.tab.get_by_text("2048").first).to_be_visible()
    assert page.complaints == []
