# SPDX-License-Identifier: Apache-2.0
"""One model answers requests without end; each input is 100 of them: texts, chats, tokens, mistakes.

A fault is a wrong answer, or memory of the process that grows by more than 10 bytes with every request. Of
100,000 requests, the goal, 50,000 are made by each of two processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import random
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.scripted import write_scripted

GOAL = 1_000
SMOKE = 2
SECONDS = 30.0
MEMORY = None

_REQUESTS = 100
_BLOCK = 64  # bytes of an object of Python, about
# Inputs before the first measurement: what is remembered for later is there by then.
_WARM = 30
# Bytes that a request may leave behind, and by how many measurements of what is in use and of memory are off.
# (Pages that the allocator cannot give back make the second one coarse.)
_EACH, _NOISE = 10, (32 << 10, 2 << 20)

_LETTERS = string.ascii_lowercase
_TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}"
    "{{ tools | tojson if tools }}[assistant]a"
)


@dataclass
class State:
    """A model, opened by the process that uses it, and what was measured so far."""

    folder: Path
    llm: LLM | None = None
    inputs: int = 0
    first: tuple[int, int] = (0, 0)


def prepare(folder: Path) -> State:
    write_scripted(
        folder / "model.gguf",
        [*_LETTERS, "a"],
        control=["<s>", "</s>", "<|end|>", "<|mark|>"],
        bos="<s>",
        eos="</s>",
        add_bos=True,
        template=_TEMPLATE,
        context=1024,
    )
    # Compiled once; every process finds it in the cache.
    LLM(folder / "model.gguf", threads=1, cache=Cache(folder / "cache")).close()
    return State(folder)


def attempt(state: State, rng: random.Random) -> str:
    if state.llm is None:
        state.llm = LLM(state.folder / "model.gguf", threads=1, cache=Cache(state.folder / "cache"))
    for _ in range(_REQUESTS):
        rng.choice(_KINDS)(state.llm, rng)
    state.inputs += 1
    if state.inputs == _WARM:
        state.first = _measured()
    elif state.inputs > _WARM and state.inputs % _WARM == 0:
        requests = _REQUESTS * (state.inputs - _WARM)
        for before, now, noise in zip(state.first, _measured(), _NOISE, strict=True):
            left = f"{requests} requests left {now - before} bytes behind"
            assert now - before <= _EACH * requests + noise, left
    return "answered"


def _measured() -> tuple[int, int]:
    """Bytes in use by Python's objects and in the heap of C, and bytes that only this process has."""
    for _ in range(2):
        gc.collect()
    library, heap = ctypes.CDLL(None), 0
    with contextlib.suppress(AttributeError):  # glibc before 2.33, and other libraries
        library.malloc_trim(0)
        library.mallinfo2.restype = _Heap
        info = library.mallinfo2()
        heap = info.uordblks + info.hblkhd
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return heap + _BLOCK * sys.getallocatedblocks(), int(line.split()[1]) << 10
    raise OSError("Private_Dirty is not told")


class _Heap(ctypes.Structure):
    """``struct mallinfo2``: bytes in use (``uordblks``) and in mappings of their own (``hblkhd``)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
            "keepcost",
        )
    ]  # fmt: skip


def _following(letter: str, count: int) -> str:
    place = _LETTERS.index(letter) + 1
    return "".join(_LETTERS[(place + step) % 26] for step in range(count))


def _text(rng: random.Random) -> str:
    parts = ["안녕 ", "영화", "hello", "<|end|>", "<|mark|>", "\n", "😀", "é", "e\u0301", " ", "123"]
    # Few words, since the first 10,000 are remembered.
    return " ".join(rng.choice(parts) for _ in range(rng.randrange(12)))


def _tokenize(llm: LLM, rng: random.Random) -> None:
    text = _text(rng)
    ids = llm.tokenize(text, special=rng.random() < 0.5, add_bos=False)
    assert llm.detokenize(ids, special=True) == text


def _greedy(llm: LLM, rng: random.Random) -> None:
    letter, count = rng.choice(_LETTERS), rng.randrange(6)
    text = llm.generate(_text(rng) + letter, count, temperature=0).text()
    assert text == _following(letter, count)


def _sampled(llm: LLM, rng: random.Random) -> None:
    seed, prompt = rng.randrange(99), _text(rng)
    options = {"temperature": 2.0, "top_k": rng.choice([0, 5]), "top_p": rng.choice([1, 0.9]), "seed": seed}
    first, second = (llm.generate(prompt, 3, **options).text() for _ in range(2))
    assert first == second


def _chat(llm: LLM, rng: random.Random) -> None:
    messages = [
        {"role": role, "content": _text(rng)}
        for role in ("system", "user", "assistant", "user")[rng.randrange(4) :]
    ]
    tools = [{"name": "f", "description": _text(rng)}] if rng.random() < 0.3 else None
    run = llm.chat(messages, 4, tools=tools, temperature=0, stop=rng.choice([None, "de", "<|mark|>"]))
    text = run.text()
    assert text == ("bc" if run.finish_reason == "stop" else "bcde"), text


def _stopped(llm: LLM, rng: random.Random) -> None:
    run = llm.generate("x", 20, temperature=0)
    assert next(run) == "y"
    other = llm.generate("a", 2, temperature=0)
    assert next(other) + next(run) == "bz"


def _refused(llm: LLM, rng: random.Random) -> None:
    calls: list[Callable[[], object]] = [
        lambda: llm.generate([9999]),
        lambda: llm.generate("a", temperature=-1),
        lambda: llm.chat([{"role": "user", "content": 3}]),
        lambda: llm.generate("\ud800"),
        lambda: llm.generate("x y " * 999),
    ]
    try:
        rng.choice(calls)()
    except LumenError:
        return
    raise AssertionError("a mistake was taken")


_KINDS = (_tokenize, _greedy, _sampled, _chat, _stopped, _refused)
