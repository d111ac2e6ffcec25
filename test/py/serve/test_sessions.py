# SPDX-License-Identifier: Apache-2.0
"""``/sessions``."""

from __future__ import annotations

import pytest
from server_fixture import serving

OPTIONS = {"context": 512}
TEXT = "가장 좋아하는 영화 이야기를 해 보자. " * 15
BODY = {"prompt": TEXT, "max_tokens": 4, "temperature": 0}


def cached(server) -> int:
    usage = server.post("/v1/completions", BODY).json()["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"]


def test_a_session_outlives_the_server(tmp_path):
    with serving(options=OPTIONS, session_folder=str(tmp_path)) as server:
        text = server.text(TEXT, max_tokens=4)
        answer = server.post("/sessions/내 이야기/save", {"prompt": TEXT})
        assert answer.status_code == 200, answer.text
        saved = answer.json()
        (listed,) = server.get("/sessions").json()["data"]
        assert (listed["name"], listed["bytes"]) == ("내 이야기", saved["bytes"])
    with serving(options=OPTIONS, session_folder=str(tmp_path)) as server:
        answer = server.post("/sessions/내 이야기/restore", {})
        assert answer.json()["prompt"] == TEXT
        assert cached(server) > 0.7 * saved["tokens"]
        assert server.text(TEXT, max_tokens=4) == text
        assert server.client.delete("/sessions/내 이야기").json()["deleted"]
        assert server.client.delete("/sessions/내 이야기").status_code == 404
        assert server.get("/sessions").json()["data"] == []
        assert server.post("/sessions/내 이야기/restore", {}).status_code == 404


def test_damaged_sessions(tmp_path):
    with serving(options=OPTIONS, session_folder=str(tmp_path)) as server:
        server.post("/sessions/a/save", {"prompt": TEXT})
        (path,) = tmp_path.glob("*/a.session")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        answer = server.post("/sessions/a/restore", {})
        assert answer.status_code == 400 and "damaged" in answer.json()["error"]["message"]
        assert server.text(TEXT, max_tokens=2)


@pytest.mark.parametrize("name", ["..", "a%2Fb", ".hidden", "x" * 300, "a%00b"])
def test_names_stay_in_the_folder(tmp_path, name):
    with serving(options=OPTIONS, session_folder=str(tmp_path / "sessions")) as server:
        answer = server.post(f"/sessions/{name}/save", {"prompt": "a"})
        assert answer.status_code in (400, 404), answer.text
        assert not list(tmp_path.rglob("*.session"))


def test_no_folder_no_sessions(tmp_path):
    with serving(options=OPTIONS) as server:
        answer = server.post("/sessions/a/save", {"prompt": "a"})
        assert answer.status_code == 501 and "--session-folder" in answer.text
    (tmp_path / "file").write_text("")
    with serving(options=OPTIONS, session_folder=str(tmp_path / "file")) as server:
        assert server.post("/sessions/a/save", {"prompt": "a"}).status_code == 400
        assert server.post("/sessions/a/save", {}).status_code == 400
