# SPDX-License-Identifier: Apache-2.0
"""``lumen serve`` as a process."""

from __future__ import annotations

import functools
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from lumen_mlir.testing.scripted import write_scripted

DATA = Path(__file__).parent.parent / "data"
SCRIPT = ["?", "one", "two", "</s>"]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    write_scripted(path, SCRIPT, control=["</s>"], eos="</s>")
    return str(path)


class Process:
    """A server; what it writes is read."""

    def __init__(self, environment: dict[str, str], *arguments: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lumen_mlir", "serve", "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        found = re.search(r"https?://\S+", first)
        assert found, first + self.process.stderr.read()
        self.url, self.lines = found[0], [first]
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self._reader.start()

    def stop(self, sign: int = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        code = self.process.wait(60)
        self._reader.join()
        return code

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()


@pytest.fixture
def serve(environment):
    return functools.partial(Process, environment)


def completion(url: str, prompt: str = "?", **options) -> httpx.Response:
    options = {"timeout": 60, **options}
    return httpx.post(f"{url}/v1/completions", json={"prompt": prompt, "temperature": 0}, **options)


def test_it_answers_and_ends(model, serve):
    with serve(model, "--engine", "reference", "--log-format", "json", "--log-prompts") as server:
        answer = completion(server.url, headers={"X-Request-Id": "mine"})
        assert answer.json()["choices"][0]["text"] == "onetwo"
        assert server.stop() == -signal.SIGTERM
    lines = [json.loads(line) for line in server.lines[1:]]
    (warned,) = [line["message"] for line in lines if line["level"] != "info"]
    assert warned.startswith("model: conversations are refused: ") and "no chat template" in warned
    (asked,) = [line for line in lines if line.get("id") == "mine"]
    assert asked["status"] == 200 and asked["path"] == "/v1/completions"
    (texts,) = [line for line in lines if line["message"] == "texts"]
    assert (texts["prompt"], texts["texts"]) == ("?", ["onetwo"])


def test_an_interrupt_ends_it(model, serve):
    with serve(model, "--engine", "reference") as server:
        completion(server.url)
        assert server.stop(signal.SIGINT) == 130
    assert not any("Traceback" in line for line in server.lines)


def test_a_file_says_what_options_say(tmp_path, model, serve):
    config = tmp_path / "lumen.toml"
    config.write_text(
        f'models = ["small={model}"]\nengine = "reference"\napi-key = ["secret"]\nmax_requests = 3\n'
    )
    with serve("--config", str(config), "--api-key", "other", "--no-pack-cache") as server:
        # The command line goes first.
        assert completion(server.url, headers={"Authorization": "Bearer secret"}).status_code == 401
        answer = completion(server.url, headers={"Authorization": "Bearer other"})
        assert answer.json()["model"] == "small"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = [1, 2]", "'port' is a list"),
        ("prot = 1", "'prot' is no option; did you mean 'port'?"),
        ("port = ", "Invalid value"),
        ("[port]\na = 1", "'port' is a table"),
        ("config = 'x'", "'config' is no option"),
    ],
)
def test_wrong_files(tmp_path, text, said, lumen):
    path = tmp_path / "lumen.toml"
    path.write_text(text)
    run = lumen("serve", "--config", str(path))
    assert run.returncode == 1 and said in run.stderr and "lumen.toml" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.gguf"], "nothing.gguf: no such file"),
        (["--port", "70000"], "--port is 70000"),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid"),
        (["--max-requests", "0"], "--max-requests is 0"),
        (["--grace", "-1"], "--grace is -1"),
        (["--max-body", "many"], "many"),
        (["--log-format", "xml"], "--log-format is 'xml'"),
        (["--api-key", ""], "an API key is empty"),
        (["--api-key-file", "missing"], "missing"),
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert"),
        (["--tls-cert", "missing.pem"], "missing.pem: no such file"),
        (["--tls-cert", __file__], "is no certificate"),
    ],
)
def test_wrong_options(arguments, said, lumen):
    run = lumen("serve", *arguments)
    assert run.returncode != 0 and said in run.stderr
    assert run.stderr.startswith("lumen: error: ") and run.stderr.count("\n") == 1


def test_a_port_that_is_taken(model, lumen, serve):
    with serve(model, "--engine", "reference") as server:
        port = server.url.rpartition(":")[2]
        run = lumen("serve", model, "--port", port)
        assert run.returncode == 1 and f"port {port}: Address already in use" in run.stderr


def test_https(model, serve, lumen):
    certificate, key = str(DATA / "localhost.pem"), str(DATA / "localhost-key.pem")
    with serve(model, "--engine", "reference", "--tls-cert", certificate, "--tls-key", key) as server:
        assert server.url.startswith("https://127.0.0.1")
        trusted = ssl.create_default_context(cafile=certificate)
        assert completion(server.url, verify=trusted).json()["choices"][0]["text"] == "onetwo"
        with pytest.raises(httpx.ConnectError, match="certificate"):
            completion(server.url)
        # The same by Lumen's own client.
        request = json.dumps({"prompt": "?", "temperature": 0})
        for url, variables, message in (
            (server.url, {"SSL_CERT_FILE": certificate}, '"text": "onetwo"'),
            (server.url, {}, f"{server.url}: its certificate is not trusted: "),
            (server.url.replace("https", "http"), {}, "the server closed the connection"),
        ):
            run = lumen("batch", "--server", url, "-", input=request, env=variables)
            assert message in run.stdout + run.stderr and run.returncode == (not run.stdout)


def test_killed_amid_a_text_it_has_its_sessions(tmp_path, serve):
    folder = str(tmp_path / "sessions")
    text = "가장 좋아하는 영화 이야기를 해 보자. " * 10
    with serve("-c", "512", "--session-folder", folder) as server:
        saved = httpx.post(f"{server.url}/sessions/mine/save", json={"prompt": text}, timeout=60)
        assert saved.status_code == 200
        body = {"prompt": text, "max_tokens": 400, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as stream:
            next(stream.iter_lines())
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    with serve("-c", "512", "--session-folder", folder) as server:
        restored = httpx.post(f"{server.url}/sessions/mine/restore", json={}, timeout=60)
        assert restored.json()["prompt"] == text
        usage = completion(server.url, text).json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] > 0.7 * usage["prompt_tokens"]


def test_a_signal_lets_streams_end(model, serve):
    """It ends within the time of grace, with every answer told how it ended."""
    with serve("-c", "2048", "--grace", "1") as server:
        body = {"prompt": "이 영화는", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as stream:
            lines = stream.iter_lines()
            next(lines)
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            last = [line for line in lines if line][-1]
        assert last == "data: [DONE]" or json.loads(last[6:])["error"]["code"] == "stopping"
        assert server.process.wait(30) == -signal.SIGTERM
        assert time.monotonic() - start < 20
