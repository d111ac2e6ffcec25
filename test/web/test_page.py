# SPDX-License-Identifier: Apache-2.0
"""The page of ``examples/web`` in Chromium, for ``make test-web``."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import Page, chromium

from lumen_mlir import LLM

ROOT = Path(__file__).parents[2]
PROMPT = "주말에 가족들과"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module", params=["wasm32-simd128", "wasm32-relaxed-simd"])
def folder(request, tmp_path_factory):
    """A page with the model that comes with Lumen."""
    made = tmp_path_factory.mktemp("web") / "page"
    command = [sys.executable, str(ROOT / "examples" / "web" / "build.py"), str(made)]
    done = subprocess.run([*command, "--target", request.param], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def address(folder):
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = shutil.which("chromium") or pytest.fail("chromium is missing: `make test-web` installs it")
    with chromium(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


def written(browser, address: str) -> tuple[str, str]:
    """How it ended, "done" or "failed"; and the text, or what is said."""
    page = Page(browser, address)
    state = page.wait("document.body && document.body.dataset.state")
    return state, page.evaluate(
        f"document.getElementById('{'output' if state == 'done' else 'status'}').innerText"
    )


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.8, "seed": 2}])
def test_texts(browser, address, sampling):
    """They are those of Lumen, drawn ones too."""
    words = "".join(f"&{name}={value}" for name, value in sampling.items())
    state, text = written(browser, f"{address}?prompt={quote(PROMPT)}{words}")
    expected = LLM(context=1024).generate(PROMPT, 64, **sampling).text()
    assert (state, text) == ("done", PROMPT + expected)


def test_a_click(browser, address):
    page = Page(browser, address)
    # A page without the button comes first, an empty one.
    page.wait("document.readyState === 'complete' && document.getElementById('write') !== null")
    page.evaluate("document.getElementById('write').click()")
    assert page.wait("document.body.dataset.state") == "done"
    assert len(page.evaluate("document.getElementById('output').innerText")) > len(PROMPT)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("weights.lumen", lambda data: data[:-1], "the weights have "),
        ("weights.lumen", lambda data: b"GGUF" + data[4:], "the weights are no weights of Lumen"),
        ("weights.lumen", None, "bundle/weights.lumen: 404"),
        ("tokenizer.bin", lambda data: data[:-4], "tokenizer.bin: is damaged"),
        ("model.wasm", lambda data: data[:1000], "WebAssembly"),
    ],
)
def test_damaged_files(browser, address, folder, name, change, said):
    file = folder / "bundle" / name
    data = file.read_bytes()
    file.unlink()
    try:
        if change is not None:
            file.write_bytes(change(data))
        state, text = written(browser, f"{address}?prompt=x")
        assert state == "failed" and said in text
    finally:
        file.write_bytes(data)
