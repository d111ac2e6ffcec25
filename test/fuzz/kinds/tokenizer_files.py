# SPDX-License-Identifier: Apache-2.0
"""Folders whose tokenizer's files were changed: values of other types, odd numbers, lost and doubled parts.

They are read, and texts go through them. A fault is anything but a result or one clear error.
"""

from __future__ import annotations

import copy
import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.tokenizer_kinds import KINDS, Folder, random_text, write_folder
from lumen_mlir.errors import LumenError
from lumen_mlir.text.sentence_piece import Pieces, _serialize
from lumen_mlir.text.tokenizer import Tokenizer

GOAL = 100_000
SMOKE = 300
SECONDS = 2.0
MEMORY = 1 << 30

_ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 1 << 31, 1 << 63, 1 << 70, -(1 << 70), 0.5, 1e308),
    *(float("nan"), float("inf"), "", " ", "a", "▁", "<unk>", "\x1b[31m", "\ud800", "é" * 3000),
    *([], {}, [[]], [None], {"": None}, {"type": "BPE"}, {"type": "Sequence"}, {"type": "ByteLevel"}),
    *({"type": "Sequence", "normalizers": [None]}, {"content": 1}, {"type": "Prepend", "prepend": ""}),
    {"type": "Replace", "pattern": {"String": ""}, "content": "ab"},
    {"type": "Replace", "pattern": {"Regex": "(a*)*$"}, "content": "b"},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False},
    {"type": "Metaspace", "replacement": "__", "prepend_scheme": "first", "split": True},
]
_SETTINGS = {
    "bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>", "lstrip": False}, "pad_token": None,
    "unk_token": None, "add_bos_token": False, "legacy": False, "chat_template": [
    {"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}],
    "added_tokens_decoder": {"0": {"content": "<unk>", "special": True}},
}  # fmt: skip
_OTHERS = {
    "tokenizer_config.json": _SETTINGS,
    "generation_config.json": {"eos_token_id": [1, 2], "bos_token_id": 1, "pad_token_id": 0},
    "special_tokens_map.json": {"pad_token": "<unk>", "unk_token": {"content": "<unk>"}},
    "chat_template.json": {"chat_template": "c"},
    "added_tokens.json": {"<x>": 3},
}


@dataclass
class State:
    """A folder, what its files have when nothing is changed, and what was written last."""

    folder: Path
    files: list[dict[str, bytes]]
    written: dict[str, bytes] = field(default_factory=dict)

    def write(self, files: dict[str, bytes]) -> None:
        """Writes ``files`` and nothing else."""
        for name in set(self.written) - set(files):
            (self.folder / name).unlink()
            del self.written[name]
        for name, data in files.items():
            if self.written.get(name) != data:
                (self.folder / name).write_bytes(data)
                self.written[name] = data


def prepare(folder: Path) -> State:
    files = []
    others = {name: json.dumps(value).encode() for name, value in _OTHERS.items()}
    for kind in ("qwen2", "falcon-steps", "legacy", "metaspace-first"):
        write_folder(folder, KINDS[kind]())
        files.append({"tokenizer.json": (folder / "tokenizer.json").read_bytes(), **others})
    spec = json.loads(files[-1]["tokenizer.json"])
    model = _sentence_piece(list(spec["model"]["vocab"]))
    settings = {name: others[name] for name in ("tokenizer_config.json", "added_tokens.json")}
    files.append({"tokenizer.model": model, **settings})
    (folder / "tokenizer.json").unlink()
    return State(folder, files)


def _sentence_piece(tokens: list[str]) -> bytes:
    types = [2 if token == "<unk>" else 6 if re.fullmatch("<0x..>", token) else 1 for token in tokens]
    pieces = Pieces(tokens, -np.arange(len(tokens), dtype=np.float32), np.array(types, np.int32))
    return _serialize("", pieces, {token: index for index, token in enumerate(tokens)})


def attempt(state: State, rng: random.Random) -> str:
    files = dict(rng.choice(state.files))
    chosen = [rng.choice([next(iter(files)), *files]) for _ in range(rng.choice((1, 1, 1, 2)))]
    for name in dict.fromkeys(chosen):
        if name == "tokenizer.model":
            files[name] = _damaged(rng, _damaged(rng, files[name]))
            continue
        value = json.loads(files[name])
        for _ in range(rng.choice((1, 1, 2, 5))):
            _change(rng, value)
        files[name] = _dumped(value)
    if rng.random() < 0.1:
        files[chosen[0]] = _damaged(rng, files[chosen[0]])
    state.write(files)
    try:
        tokenizer = Tokenizer.from_gguf(Folder(state.folder))
        text = random_text(rng)
        for special in (True, False):
            ids = tokenizer.encode(text, special=special)
            assert all(0 <= index < len(tokenizer) for index in ids)
            tokenizer.decode(ids, special=True)
        return "read"
    except LumenError as error:
        _check(error)
        raise


def _check(error: LumenError) -> None:
    """What is caught from the package is its own; the rest is found before."""
    cause, text = error.__cause__, str(error)
    assert cause is None or type(cause).__module__ != "builtins" or type(cause) is Exception, repr(cause)
    assert text.isprintable() and len(text) < 4000, repr(text[:300])


def _change(rng: random.Random, value: Any) -> None:
    """Changes something somewhere in ``value``."""
    while True:
        places = list(value) if isinstance(value, dict) else range(len(value))
        if not places:
            return
        place = rng.choice(places)
        if not isinstance(value[place], (dict, list)) or not value[place] or rng.random() < 0.25:
            break
        value = value[place]
    kind = rng.randrange(6)
    if kind == 0:
        del value[place]
    elif kind == 1 and isinstance(value, list):
        value.insert(place, rng.choice(value))
    elif kind == 2:
        deep: Any = value[place]
        for _ in range(rng.choice((1, 2, 100, 200, 900))):
            deep = [deep] if rng.random() < 0.5 else {"type": "Sequence", "pretokenizers": [deep]}
        value[place] = deep
    elif kind == 3:
        other = rng.choice(places)
        value[place], value[other] = value[other], value[place]
    else:
        value[place] = copy.deepcopy(rng.choice(_ODD))


def _dumped(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b'{"model":' + b"[" * 5000 + b"]" * 5000 + b"}"


def _damaged(rng: random.Random, data: bytes) -> bytes:
    kind, place = rng.randrange(4), rng.randrange(len(data))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return b"\xef\xbb\xbf" + data
    return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place + rng.randrange(9) :]
