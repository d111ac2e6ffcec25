# SPDX-License-Identifier: Apache-2.0
"""The examples of the pages about the server: each request is made, and answered."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from answer_templates import QWEN3
from server_fixture import serving

from lumen_mlir.testing.scripted import write_scripted

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = ("server.md", "server-apis.md", "tools.md", "structured-output.md")
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CURL = re.compile(r"^curl .*$", re.MULTILINE)


def curls(page: str) -> list[str]:
    path = DOCS / page
    found = []
    for block in _BLOCK.findall(path.read_text()) if path.exists() else ():
        text = re.sub(r"\\\n\s*", " ", block)
        # A body may stand on several lines, in quotes.
        text = re.sub(r"'[^']*'", lambda quoted: re.sub(r"\n\s*", " ", quoted[0]), text)
        found += _CURL.findall(text)
    return found


REQUESTS = [(page, number, curl) for page in PAGES for number, curl in enumerate(curls(page))]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    script = ["\n", "안녕", "하세요", ".", "<|im_end|>"]
    control = ["<|im_start|>", "<|im_end|>"]
    path = folder / "model.gguf"
    write_scripted(path, script, control=control, eos="<|im_end|>", template=QWEN3, context=4096)
    with serving(str(path), session_folder=str(folder / "sessions"), any_name=True) as running:
        yield running


def made(server, curl: str):
    """The response to what ``curl`` would ask."""
    words = shlex.split(curl)[1:]
    method, headers, body, url = None, {}, None, ""
    while words:
        word = words.pop(0)
        if word in ("-N", "-s"):
            continue
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0).encode()
        elif word == "-X":
            method = words.pop(0)
        else:
            assert word.startswith("http://127.0.0.1:8080/"), word
            url = word.removeprefix("http://127.0.0.1:8080")
    method = method or ("GET" if body is None else "POST")
    return server.client.request(method, url, headers=headers, content=body)


def test_there_are_examples():
    assert len([page for page, *_ in REQUESTS if page == "server.md"]) >= 14


@pytest.mark.parametrize(("page", "number", "curl"), REQUESTS)
def test_requests_of_pages(server, page, number, curl):
    answer = made(server, curl)
    assert answer.status_code == 200, answer.text
    assert answer.content


def test_every_path_is_described():
    """A page says what each path is for."""
    from lumen_mlir.serve.routes import ROUTES

    text = "".join((DOCS / page).read_text() for page in PAGES if (DOCS / page).exists())
    for route in ROUTES:
        part = re.sub(r"\{.*", "", route.path).rstrip("/") or "/"
        assert part in text, route.path
