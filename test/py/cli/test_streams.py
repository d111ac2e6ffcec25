# SPDX-License-Identifier: Apache-2.0
"""Streams that are closed, full or terminals, and what must not reach a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from terminals import on_a_terminal

from lumen_mlir.cli.table import columns
from lumen_mlir.errors import visible
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter


def shell(environment, script, *arguments):
    command = ["sh", "-c", script, "sh", *map(str, arguments)]
    environment = environment | {"LUMEN": f"{sys.executable} -m lumen_mlir"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(environment, closed):
    code, out, err = shell(environment, f"$LUMEN tokenize -p 오늘 --ids {closed}")
    assert (code, err) == (0, "") and out == ("" if ">&-" in closed.split() else "8189 2328\n")


def test_an_error_with_closed_streams(environment, tmp_path):
    code, out, err = shell(environment, 'cd "$1" && $LUMEN inspect none.gguf <&- >&-', tmp_path)
    assert (code, out) == (1, "") and err.startswith("lumen: error: none.gguf: cannot be opened")
    assert shell(environment, "$LUMEN inspect none.gguf <&- >&- 2>&-") == (1, "", "")
    assert os.listdir(tmp_path) == []


def test_full_streams(environment):
    code, _, err = shell(environment, "$LUMEN --version >/dev/full")
    assert code == 1 and re.fullmatch(r"lumen: error: .*No space left on device\n", err)
    assert shell(environment, "$LUMEN --version >/dev/full 2>/dev/full") == (1, "", "")
    assert shell(environment, "$LUMEN inspect none.gguf 2>/dev/full") == (1, "", "")


def test_text_of_a_locale_without_utf8(environment):
    plain = environment | {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert shell(plain, "$LUMEN tokenize -p 오늘 --ids") == (0, "8189 2328\n", "")


# --- terminals ----------------------------------------------------------------------------------------------

EVIL = "a\x1b]0;owned\x07b\x9bm\rc"
SHOWN = "a\\x1b]0;owned\\x07b\\x9bm\\x0dc"


@pytest.fixture(scope="module")
def evil(tiny, tmp_path_factory):
    """A sound model whose texts would steer a terminal."""
    path, source = tmp_path_factory.mktemp("evil") / "evil.gguf", GGUFFile.open(tiny)
    writer = GGUFWriter(path)
    tokens = source.metadata.strings("tokenizer.ggml.tokens").to_list()
    tokens[-1] = EVIL
    replaced = {"general.name", "tokenizer.ggml.tokens"}
    writer.copy_metadata(source.metadata, without=replaced)
    writer.add("general.name", EVIL, T.STRING)
    writer.add("tokenizer.ggml.tokens", tokens, T.STRING)
    writer.add(f"own.{EVIL}", EVIL, T.STRING)
    for info in source.tensors.values():
        writer.add_tensor(info.name, info.shape, info.type, lambda n=info.name: [source.raw(n)])
    writer.write()
    return path


def controls(text):
    """Control characters but for the colours that Lumen gives what it says."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[\d;]*m", "", text))


def test_texts_of_files(lumen, environment, evil):
    code, shown = on_a_terminal(environment, "inspect", evil, "--metadata")
    assert code == 0 and shown.count(SHOWN) >= 3 and not controls(shown)
    done = lumen("inspect", evil, "--metadata")
    assert done.stdout.count(SHOWN) >= 3 and not controls(done.stdout)
    last = str(len(GGUFFile.open(evil).metadata.strings("tokenizer.ggml.tokens")) - 1)
    # What goes to a pipe is the text itself.
    assert lumen("detokenize", evil, "--special", "--ids", last).stdout == EVIL + "\n"
    code, shown = on_a_terminal(environment, "detokenize", evil, "--special", "--ids", last)
    assert (code, shown) == (0, SHOWN + "\n")


def test_errors_and_warnings(refused, environment, tmp_path):
    path = tmp_path / f"x{EVIL[:-3]}"
    assert refused("inspect", path).startswith(f"{tmp_path}/x{SHOWN[:-6]}: cannot be opened")
    code, shown = on_a_terminal(environment, "inspect", path)
    assert code == 1 and not controls(shown) and SHOWN[:-6] in shown
    assert not controls(refused("tokenize", "-f", tmp_path / "\x1b[2J"))


def test_visible():
    assert visible("한글\ttab\r\nline\n👩‍👩‍👧") == "한글\ttab\r\nline\n👩‍👩‍👧"
    assert visible(EVIL) == SHOWN and visible("\x00\x7f\x85") == "\\x00\\x7f\\x85"
    assert columns([("a\nb", "\x1b")]) == "a\\x0ab  \\x1b"
