# SPDX-License-Identifier: Apache-2.0
"""What is told while a model is opened, and how whoever is told ends it."""

from __future__ import annotations

import threading

import pytest

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.storage.atomic_file import TEMPORARY_SUFFIX
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import Shape, write_synthetic

SHAPE = Shape(64, 2, 2, 1, 32, 96, 301, 64, True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_synthetic(path, SHAPE, "q8_0", seed=1)
    return path


def test_what_is_told(tiny, tmp_path):
    told: dict[str, list[tuple[int, int]]] = {}
    threads = set()

    def progress(what, done, total):
        threads.add(threading.current_thread())
        told.setdefault(what, []).append((done, total))

    LLM(tiny, cache=Cache(tmp_path), progress=progress).close()
    assert list(told) == ["load", "compile", "pack"] and threads == {threading.current_thread()}
    for calls in told.values():
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert 0 <= calls[0][0] <= calls[-1][0] == calls[-1][1] and len({total for _, total in calls}) == 1
    told.clear()
    LLM(tiny, cache=Cache(tmp_path), progress=progress).close()
    assert told == {"load": [(0, 1), (1, 1)]}


class Cancelled(Exception):
    pass


@pytest.mark.parametrize(
    ("when", "kind"), [("load", Cancelled), ("compile", KeyboardInterrupt), ("pack", Cancelled)]
)
def test_cancelling(tiny, tmp_path, when, kind):
    def progress(what, done, total):
        if what == when:
            raise kind

    before = set(threading.enumerate())
    with pytest.raises(kind):
        LLM(tiny, cache=Cache(tmp_path), progress=progress)
    assert set(threading.enumerate()) <= before
    assert not list(tmp_path.rglob(f"*{TEMPORARY_SUFFIX}"))
    with LLM(tiny, cache=Cache(tmp_path)) as llm:
        assert llm.logits([1, 2]).shape == (2, 301)


@pytest.mark.parametrize("progress", [3, "bar"])
def test_no_function(tiny, progress):
    with pytest.raises(LumenError, match=f"progress is {progress!r}; a function was expected"):
        LLM(tiny, progress=progress)
