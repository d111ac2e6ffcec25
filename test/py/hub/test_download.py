# SPDX-License-Identifier: Apache-2.0
"""Downloads: interrupted, resumed, checked; and what goes wrong on the way."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from types import SimpleNamespace

import huggingface_hub
import pytest
from stand_in import Repo, checksum

from lumen_mlir.hub import listing
from lumen_mlir.hub.cache import CachedRepo
from lumen_mlir.hub.errors import HubError
from lumen_mlir.hub.names import HubName
from lumen_mlir.hub.pull import find, locate, pull

NAME = HubName("user/model")
SIZE = 300_000


@pytest.fixture
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def repo(hub, data) -> Repo:
    hub.repos[NAME.repo] = Repo({"model-q8_0.gguf": data, "README.md": b"text"})
    return hub.repos[NAME.repo]


@pytest.fixture
def impatient(monkeypatch):
    """``huggingface_hub`` waits a second before it tries again."""
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda seconds: None))


def partial_of(data: bytes) -> bytes | None:
    path = CachedRepo(NAME.repo).partial(checksum(data))
    return path.read_bytes() if path.exists() else None


def test_progress_and_result(hub, repo, data):
    told = []
    model = pull(NAME, lambda *each: told.append(each))
    assert model.path.read_bytes() == data and model.size == model.downloaded == SIZE
    assert told[0] == ("download", 0, SIZE) and told[-1] == ("download", SIZE, SIZE)
    assert [each[1] for each in told] == sorted(each[1] for each in told) and len(told) > 10
    assert partial_of(data) is None and find(NAME).path == model.path
    assert pull(NAME).downloaded == 0


def test_the_cache_is_that_of_huggingface_hub(hub, repo, data, hub_cache):
    """Both find what the other one has downloaded."""
    ours = pull(NAME).path
    theirs = {"repo_id": NAME.repo, "cache_dir": hub_cache, "endpoint": hub.url}
    assert huggingface_hub.try_to_load_from_cache(NAME.repo, "model-q8_0.gguf", hub_cache) == str(ours)
    assert huggingface_hub.hf_hub_download(filename="model-q8_0.gguf", **theirs) == str(ours)
    (scanned,) = huggingface_hub.scan_cache_dir(hub_cache).repos
    assert (scanned.repo_id, scanned.size_on_disk) == (NAME.repo, SIZE)
    assert {ref for revision in scanned.revisions for ref in revision.refs} == {"main"}

    shutil.rmtree(hub_cache)
    path = huggingface_hub.hf_hub_download(filename="model-q8_0.gguf", **theirs)
    hub.requests.clear()
    assert str(find(NAME).path) == path and not hub.requests
    assert pull(NAME).downloaded == 0


@pytest.mark.parametrize("begun", [1, 100_000, SIZE - 1, SIZE])
def test_goes_on_where_it_was(hub, repo, data, begun):
    path = CachedRepo(NAME.repo).partial(checksum(data))
    path.parent.mkdir(parents=True)
    path.write_bytes(data[:begun])
    told = []
    model = pull(NAME, lambda *each: told.append(each[1]))
    assert model.path.read_bytes() == data and told[:2] == [0, begun] and told[-1] == SIZE
    ranges = [request.range for request in hub.asked("/content/") if request.method == "GET"]
    assert ranges == ([f"bytes={begun}-"] if begun < SIZE else [])


def test_interrupted_by_the_user(hub, repo, data):
    def stop(what, done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(NAME, stop)
    kept = partial_of(data)
    assert 80_000 < len(kept) < SIZE and data.startswith(kept) and find(NAME) is None
    assert pull(NAME).path.read_bytes() == data
    assert hub.asked("/content/")[-1].range == f"bytes={len(kept)}-"


def test_connections_that_end(hub, repo, data, impatient):
    hub.cut, hub.cuts = 120_000, 2
    assert pull(NAME).path.read_bytes() == data
    assert len(hub.asked("/content/")) >= 3


def test_connections_that_always_end(hub, repo, data, impatient):
    hub.cut, hub.cuts = 0, 100
    assert error().startswith(f"{hub.url} cannot be reached (")
    path = CachedRepo(NAME.repo).partial(checksum(data))
    path.write_bytes(data[:100_000])
    assert error().endswith("; 'lumen pull hf:user/model' goes on at 100.00 kB")
    hub.cuts = 0
    assert pull(NAME).path.read_bytes() == data


def test_servers_that_know_no_ranges(hub, repo, data):
    path = CachedRepo(NAME.repo).partial(checksum(data))
    path.parent.mkdir(parents=True)
    path.write_bytes(data[:100_000])
    hub.ranges = False
    told = []
    assert pull(NAME, lambda *each: told.append(each[1])).path.read_bytes() == data
    assert told[-1] == SIZE


def test_wrong_bytes(hub, repo, data):
    hub.wrong = True
    with pytest.raises(HubError) as caught:
        pull(NAME)
    assert str(caught.value) == (
        "hf:user/model: what came of model-q8_0.gguf does not have its checksum; try again"
    )
    assert partial_of(data) is None and find(NAME) is None
    # Nor are small files taken on trust.
    repo.files["model-q8_0.gguf"] = b"small"
    hub.listing = lambda answer: {
        **answer,
        "siblings": [{**each, "blobId": "0" * 40, "size": 5} for each in answer["siblings"]],
    }
    with pytest.raises(HubError, match="does not have its checksum"):
        pull(NAME)


@pytest.mark.parametrize("kept", [b"other" * 1000, b"x" * SIZE, b"x" * (SIZE + 1)])
def test_what_is_left_may_be_wrong(hub, repo, data, kept):
    """Then the download begins anew, by itself."""
    path = CachedRepo(NAME.repo).partial(checksum(data))
    path.parent.mkdir(parents=True)
    path.write_bytes(kept)
    told = []
    assert pull(NAME, lambda *each: told.append(each[1])).path.read_bytes() == data
    assert told[-1] == SIZE


def test_file_systems_without_links(hub, repo, data, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    path = pull(NAME).path
    assert path.read_bytes() == data and not path.is_symlink()
    assert pull(NAME).downloaded == 0 and find(NAME).path == path and len(hub.asked("/content/")) == 1
    (model,) = listing.models()
    assert (
        listing.remove(model) == SIZE and not listing.models() and not CachedRepo(NAME.repo).folder.exists()
    )


def test_equal_files_are_downloaded_once(hub, data):
    hub.repos[NAME.repo] = Repo({f"m-q8_0-0000{part}-of-00002.gguf": data for part in (1, 2)})
    model = pull(NAME)
    assert (model.size, model.downloaded) == (2 * SIZE, SIZE) and len(hub.asked("/content/")) == 1


def test_two_at_once(hub, repo, data, caplog):
    """The second one waits for the first, and downloads nothing."""
    started, go_on, results = threading.Event(), threading.Event(), []

    def hold(what, done, total):
        if done > 100_000:
            started.set()
            go_on.wait(10)

    first = threading.Thread(target=lambda: results.append(pull(NAME, hold)))
    first.start()
    assert started.wait(10)
    second = threading.Thread(target=lambda: results.append(pull(NAME)))
    second.start()
    while "waiting for it" not in caplog.text and second.is_alive():
        second.join(0.01)
    go_on.set()
    first.join(10)
    second.join(10)
    assert [result.path.read_bytes() == data for result in results] == [True, True]
    assert len(hub.asked("/content/")) == 1


# --- what goes wrong ----------------------------------------------------------------------------------------


def error(name: HubName = NAME) -> str:
    with pytest.raises(HubError) as caught:
        pull(name)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text.removeprefix(f"{name}: ")


def test_who_may_read_it(hub, repo, data, monkeypatch):
    repo.gated = True
    assert error() == (
        f"is gated: accept its terms at {hub.url}/user/model, then log in ('hf auth login', or HF_TOKEN)"
    )
    assert partial_of(data) is None
    repo.gated, repo.private = False, True
    no_login = f"there is no such model at {hub.url}, or it is private and needs a login ("
    assert error().startswith(no_login)
    assert error(HubName("user/none")).startswith(no_login)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    assert error() == "the hub does not accept your token; log in again ('hf auth login', or HF_TOKEN)"
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert error(HubName("user/none")).endswith("or it is private and your token may not read it")
    hub.requests.clear()
    assert pull(NAME).path.read_bytes() == data
    assert {request.authorization for request in hub.asked("/resolve/")} == {"Bearer hf_good"}
    # The address that it redirects to is another one, which gets no token.
    assert {request.authorization for request in hub.asked("/content/")} == {None}


def test_busy_hubs(hub, repo):
    hub.status = 429
    assert error().startswith("the hub has had too many requests from here; ")
    hub.status = 503
    assert error() == f"{hub.url} answers with status 503; try again later"
    hub.status = 403
    assert error().startswith("the hub refuses access: ")
    hub.status = 200  # with a page in HTML, as a portal of a network has it
    assert error().startswith(f"{hub.url} does not answer as the hub does (")


def test_no_network(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = error()
    assert said.startswith("http://127.0.0.1:9 cannot be reached (") and "HF_ENDPOINT" in said
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert "HF_ENDPOINT" in error()


def test_a_file_that_is_gone(hub, repo):
    hub.listing = lambda answer: {**answer, "siblings": [{**answer["siblings"][0], "rfilename": "a.gguf"}]}
    assert error() == "the hub lists a file, but does not have it; try again later"


LISTINGS = {
    "../../evil.gguf": {"rfilename": "../../evil.gguf"},
    "/etc/evil.gguf": {"rfilename": "/etc/evil.gguf"},
    "a\\..\\evil.gguf": {"rfilename": "a\\..\\evil.gguf"},
    "\x1b[31mred.gguf": {"rfilename": "\x1b[31mred.gguf"},
    "no size": {"size": None},
    "negative": {"size": -1},
    "endless": {"size": 1 << 60},
    "no number": {"size": "5"},
    "checksum": {"lfs": None, "blobId": "../../evil"},
    "long name": {"rfilename": "a" * 300 + ".gguf"},
}


@pytest.mark.parametrize("case", LISTINGS)
def test_what_hubs_may_say(hub, repo, hub_cache, tmp_path, case):
    """A mirror is a stranger too: it does not choose where files go, nor what a terminal does."""
    hub.listing = lambda answer: {**answer, "siblings": [{**answer["siblings"][0], **LISTINGS[case]}]}
    said = error()
    assert "\x1b" not in said and not hub.asked("/content/")
    assert not hub_cache.exists()


def test_endless_files(hub, repo, data):
    """More than was said would fill the disk."""
    hub.extra = b"x" * 100_000
    assert error().startswith("more comes of model-q8_0.gguf than 300.00 kB")
    assert partial_of(data) is None
    hub.extra = b""
    assert pull(NAME).path.read_bytes() == data


def test_a_commit_is_no_path(hub, repo, hub_cache):
    hub.listing = lambda answer: {**answer, "sha": "../../../evil"}
    assert error().startswith("the hub names no commit, but '../../../evil'")
    assert not hub_cache.exists()


def test_full_disks(hub, repo, data, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=250_000))
    said = error()
    assert said.startswith("300.00 kB are to be downloaded, but ") and "has 250.00 kB free" in said
    assert not hub.asked("/content/")
    # What is there already needs no room.
    path = CachedRepo(NAME.repo).partial(checksum(data))
    path.parent.mkdir(parents=True)
    path.write_bytes(data[:100_000])
    assert pull(NAME).path.read_bytes() == data


def test_a_file_in_the_way(hub, repo, hub_cache):
    hub_cache.parent.mkdir(parents=True)
    hub_cache.touch()
    assert "Not a directory" in error() or "File exists" in error()


def test_offline(hub, repo, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="'lumen pull hf:user/model' downloads it where that is not"):
        locate("hf:user/model")
    assert not hub.requests


def test_mirrors_may_end_in_a_slash(hub, repo, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    assert pull(NAME).downloaded == SIZE
    assert not [request.path for request in hub.requests if "//" in request.path]
