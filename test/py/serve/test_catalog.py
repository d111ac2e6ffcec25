# SPDX-License-Identifier: Apache-2.0
"""Several models: loaded on demand, unloaded, missing, broken."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from server_fixture import serving

from lumen_mlir.errors import LumenError
from lumen_mlir.serve.settings import ModelName
from lumen_mlir.testing.scripted import write_scripted

OPTIONS = {"engine": "reference"}
COMPLETIONS = "/v1/completions"


@pytest.fixture
def models(tmp_path):
    """Two models, of which each says its name."""
    for name in ("one", "two"):
        write_scripted(tmp_path / f"{name}.gguf", ["?", f"I am {name}", "</s>"], control=["</s>"], eos="</s>")
    return [str(tmp_path / f"{name}.gguf") for name in ("one", "two")]


def states(server) -> dict[str, str]:
    return {each["id"]: each["status"]["value"] for each in server.get("/v1/models").json()["data"]}


def test_each_is_loaded_when_it_is_asked_for(models):
    with serving(*models, options=OPTIONS) as server:
        assert states(server) == {"one": "loaded", "two": "unloaded"}
        assert server.text("?") == "I am one"
        assert server.text("?", model="two") == "I am two"
        assert server.text("?", model="two:latest") == "I am two"
        assert states(server) == {"one": "loaded", "two": "loaded"}
        assert server.get("/v1/models/two").json()["id"] == "two"


def test_unknown_names(models):
    with serving(*models, options=OPTIONS) as server:
        answer = server.post(COMPLETIONS, {"prompt": "?", "model": "tow"})
        error = answer.json()["error"]
        assert answer.status_code == 404 and error["code"] == "model_not_found"
        assert "did you mean 'two'?" in error["message"]
        assert server.get("/v1/models/nothing").status_code == 404
    with serving(*models, options=OPTIONS, any_name=True) as server:
        assert server.text("?", model="gpt-4o") == "I am one"


def test_as_many_as_may_be_loaded(models):
    with serving(*models, options=OPTIONS, max_models=1) as server:
        assert server.text("?", model="two") == "I am two"
        assert states(server) == {"one": "unloaded", "two": "loaded"}
        assert server.text("?") == "I am one"


def test_one_in_use_is_not_unloaded(models):
    body = {"prompt": "이 영화는", "max_tokens": 400, "ignore_eos": True, "stream": True}
    with serving(None, models[1], max_models=1, options={"context": 512}) as server:
        with server.client.stream("POST", COMPLETIONS, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            refused = server.post(COMPLETIONS, {"prompt": "?", "model": "two"})
            assert refused.status_code == 503 and refused.headers["Retry-After"]
            next(lines)
        server.wait(lambda: server.post(COMPLETIONS, {"prompt": "?", "model": "two"}).status_code == 200)


def test_idle_ones_are_unloaded(models):
    with serving(*models, options=OPTIONS, idle=0.2) as server:
        server.wait(lambda: states(server)["one"] == "unloaded", seconds=10)
        assert server.text("?") == "I am one"


def test_one_that_cannot_be_loaded(tmp_path, models):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nonsense")
    with serving(str(broken), models[0], options=OPTIONS) as server:
        assert server.get("/ready").status_code == 503
        answer = server.post(COMPLETIONS, {"prompt": "?", "model": "broken"})
        assert answer.status_code == 503
        # Where it lies is not for clients.
        message = answer.json()["error"]["message"]
        assert "broken: " in message and str(tmp_path) not in message
        assert server.text("?", model="one") == "I am one"
        assert states(server)["broken"] == "failed"
        # Once it is mended, it is loaded.
        broken.write_bytes(Path(models[1]).read_bytes())
        assert server.text("?", model="broken") == "I am two"


def test_those_who_wait_for_the_same_model(models):
    with serving(*models, options=OPTIONS) as server:
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(server.text("?", model="two"))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert texts == ["I am two"] * 8


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("folder/a.gguf", "a", "folder/a.gguf"),
        ("small=folder/a.gguf", "small", "folder/a.gguf"),
        ("hf:me/it:q4_0", "me/it:q4_0", "hf:me/it:q4_0"),
        ("x=hf:me/it", "x", "hf:me/it"),
        ("dir/a=b.gguf", "a=b", "dir/a=b.gguf"),
    ],
)
def test_names(text, name, source):
    assert ModelName.parse(text) == ModelName(name, source)


@pytest.mark.parametrize("texts", [["=a"], ["a="], ["a.gguf", "b/a.gguf"]])
def test_wrong_names(texts):
    with pytest.raises(LumenError):
        ModelName.parse_all(texts)
