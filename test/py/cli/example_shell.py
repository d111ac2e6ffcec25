# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of the pages in a folder that has what they name: tiny models instead of real ones.

``lumen`` runs in the process of the tests. Of programs that take long (``make``, ``pip``, benchmarks) only
the names and options are checked.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from cli_samples import SHAPE, rewrite
from example_pages import ROOT, Command, pattern
from hf_samples import write_folder
from server_fixture import serving
from stand_in import Hub, Repo

from lumen_mlir.gguf import types
from lumen_mlir.hub.names import HubName
from lumen_mlir.testing.synthetic import CHAT_TEMPLATE, write_synthetic

# What pages write where readers put something of their own.
PLACEHOLDERS = {
    "MODEL": "model.gguf",
    "IN": "in.gguf",
    "OUT": "out.gguf",
    "FOLDER": "Folder-1B",
    "FOLDER-B": "Folder-2B",
    "FILE": "text.txt",
    "TEXT": "안녕",
    "STAGE": "fused",
    "NAME": "q4_0",
}
# A folder as models are called: a name that ends in a number of parameters, or goes on behind it.
_FOLDER = re.compile(r"[A-Z][\w.-]*?\d[BM](-\w+)?")
# Measurements in the sizes of a test.
_SMALLER = {
    "bench": ("-r", "1"),
    "bench kernels": ("--formats", "q4_0", "--shape", "64x256", "--rows", "1,8", "-r", "1"),
    # It would not end.
    "serve": ("--dry-run",),
}
_TOOLS = [{"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}]
# Tokens that the models take: enough for the benchmarks of the pages.
_CONTEXT = 1024
# For a conversation without a terminal.
_SAID = "안녕하세요\n"


class Shell:
    """Runs commands in ``folder``, one after the other.

    ``lumen`` and ``hub`` are the fixtures, ``lumen_opt`` is a path.
    """

    def __init__(
        self, folder: Path, model: Path, lumen: Callable[..., SimpleNamespace], lumen_opt: str, hub: Hub
    ):
        self.folder, self._model, self._lumen, self._lumen_opt = folder, model, lumen, lumen_opt
        self._hub = hub
        self._variables: dict[str, str] = {}
        (folder / "examples").symlink_to(ROOT / "examples")

    def run(self, command: Command) -> None:
        """Runs a command. Fails where it fails, or prints something else than the page says."""
        assigned = re.fullmatch(r"(?:export )?(\w+)=(\$\(.*\)|\S*)", command.text)
        if assigned:
            self._variables[assigned[1]] = self._evaluated(assigned[2])
            return
        for text in re.split(r"\s+&&\s+", command.text):
            self._run(text, command)

    def _run(self, text: str, command: Command) -> None:
        words = _words(re.sub(r"\$(\w+)", lambda name: self._variables.get(name[1], name[0]), text))
        output, stands_in = "", False
        for stage in _split(words, "|"):
            stage, source, target = _redirected(stage)
            if source:
                provide(self.folder, self._model, [source], self._hub)
                output = (self.folder / source).read_text()
            done, made = self._stage(stage, output, command)
            if done is None:
                return  # only checked
            stands_in |= made
            fails = "lumen: error:" in (command.output or "")
            assert (done.returncode != 0) == fails, f"{command.block}: $ {text}\n{done.stdout}{done.stderr}"
            output = done.stdout
            if target:
                (self.folder / target).write_text(output)
        # What a tiny model says is not what the page shows.
        if command.output is not None and not stands_in and text == command.text:
            self._compare(command, done)

    def _compare(self, command: Command, done: SimpleNamespace) -> None:
        printed = (done.stdout, done.stderr + done.stdout, done.stdout + done.stderr)
        # A text need not end in a line feed in the page.
        ended = [text if text.endswith("\n") else text + "\n" for text in printed]
        assert any(re.fullmatch(pattern(command.output or ""), text) for text in ended), (
            f"{command.block}: $ {command.text}\n{done.stderr}{done.stdout}\nexpected:\n{command.output}"
        )

    def _stage(self, words: list[str], given: str, command: Command) -> tuple[SimpleNamespace | None, bool]:
        """Runs one program; what it did, and whether a model stood in. None where it was only checked."""
        variables, words = _assignments(words)
        program, arguments = Path(words[0]).name, words[1:]
        if program == "lumen":
            arguments, stands_in = self._arguments(arguments)
            given = given or (_SAID if arguments[:1] == ["chat"] and "-p" not in arguments else "")
            with self._reached(arguments) as arguments:
                done = self._lumen(*arguments, input=given, env={**self._variables, **variables})
            return done, stands_in
        if check(program, arguments):
            return None, False
        if program == "echo":
            return SimpleNamespace(returncode=0, stdout=" ".join(arguments) + "\n", stderr=""), False
        if program in ("lumen-opt", "grep", "head", "tail", "sed", "python", "cat", "ls"):
            path = {"lumen-opt": self._lumen_opt, "python": sys.executable}.get(program, program)
            done = subprocess.run(
                [path, *arguments], input=given, capture_output=True, text=True, cwd=self.folder
            )
            return SimpleNamespace(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr), False
        raise AssertionError(
            f"{command.block}: tests cannot run '{program}'; put <!-- not run: why --> before the block"
        )

    def _arguments(self, words: list[str]) -> tuple[list[str], bool]:
        """Arguments of ``lumen`` with values for placeholders, and whether a model stands in for another."""
        words = [
            PLACEHOLDERS.get(word.strip("[]"), word.strip("[]") if word[:1] == "[" else word)
            for word in words
        ]
        paths = [word for word in words[1:] if not word.startswith("-")]
        writes = words[0] in ("quantize", "convert")
        read = [path for path in paths if path != paths[-1]] if writes and len(paths) > 1 else paths
        if words[0] == "serve":
            read = [path.partition("=")[2] or path for path in read]
        stands_in = provide(self.folder, self._model, read, self._hub)
        name = " ".join(words[:2]) if words[:2] == ["bench", "kernels"] else words[0]
        return [*words, *_SMALLER.get(name, ())], stands_in

    @contextlib.contextmanager
    def _reached(self, words: list[str]) -> Iterator[list[str]]:
        """``words`` with the address of a server that runs meanwhile, where they have one's."""
        if "--server" not in words:
            yield words
            return
        # (Pages name models of the reader's.)
        with serving(str(self._model), options={"engine": "reference"}, any_name=True) as server:
            place = words.index("--server") + 1
            yield [*words[:place], server.url, *words[place + 1 :]]

    def _evaluated(self, text: str) -> str:
        script = f"printf %s {text}" if text else "true"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, **self._variables, "PATH": path}
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, cwd=self.folder
        )
        assert done.returncode == 0, f"{text}: {done.stderr}"
        return done.stdout


def provide(folder: Path, model: Path, names: Iterable[str], hub: Hub) -> bool:
    """Makes what is missing of the files ``names``; whether one is a model that stands in for another."""
    stands_in = False
    for name in names:
        path = folder / name
        if name.startswith("hf:"):
            stands_in = True
            named = HubName.parse(name)
            repo = hub.repos.setdefault(named.repo, Repo({}))
            repo.files[f"model-{named.tag or 'q4_k_m'}.gguf"] = model.read_bytes()
        elif name.endswith(".gguf"):
            stands_in = True
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(model, path)
        elif _FOLDER.fullmatch(name):
            stands_in = True
            if not path.exists():
                write_folder(path, config={"max_position_embeddings": _CONTEXT})
        elif name.endswith(".txt") and not path.exists():
            path.write_text("한국어 문장을 읽는다. 이 영화는 재미있다.\n" * 100)
        elif name == "requests.jsonl":
            path.write_text('{"prompt": "이 영화는", "max_tokens": 2}\n' * 3)
        elif name.endswith(".json") and not path.exists():
            path.write_text(json.dumps(_TOOLS))
        elif name.endswith(".svg"):
            path.parent.mkdir(parents=True, exist_ok=True)
    return stands_in


def write_model(path: Path) -> Path:
    """A tiny model with room for a benchmark, whose chat template takes tools and thoughts."""
    plain = path.with_name("plain.gguf")
    write_synthetic(plain, replace(SHAPE, context=_CONTEXT), "q8_0", seed=1)
    template = "{%- if tools -%}{{- tools | tojson -}}{%- endif -%}{%- if enable_thinking -%}…{%- endif -%}"
    return rewrite(plain, path, {"tokenizer.chat_template": (template + CHAT_TEMPLATE, types.STRING)})


def check_only(command: Command) -> None:
    """Checks the programs of a command that is not run, as far as ``check`` knows them."""
    for stage in _split(_words(command.text), "|"):
        _, words = _assignments(_redirected(stage)[0])
        check(Path(words[0]).name, words[1:])


def check(program: str, arguments: list[str]) -> bool:
    """Whether it is a program that is not run. What is asked of it has to exist."""
    if program == "make":
        _check_make(arguments)
        return True
    if program == "pip":
        _check_pip(arguments)
        return True
    if program.startswith("python") and arguments[:1] != ["-c"]:
        _check_python(arguments)
        return True
    return False


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|<>")
    lexer.whitespace_split = True
    return list(lexer)


def _split(words: list[str], mark: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == mark:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _redirected(words: list[str]) -> tuple[list[str], str | None, str | None]:
    """The words without redirections, and the files of ``<`` and ``>``."""
    files = {mark: words[words.index(mark) + 1] for mark in ("<", ">") if mark in words}
    kept = [
        word for i, word in enumerate(words) if word not in files and (i == 0 or words[i - 1] not in files)
    ]
    return kept, files.get("<"), files.get(">")


def _assignments(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """``NAME=VALUE`` in front of a program, and the rest."""
    count = next(i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word))
    return dict(word.split("=", 1) for word in words[:count]), words[count:]


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for argument in arguments:
        target = re.escape(argument)
        assert "=" in argument or re.search(rf"^(?:\S+ )*{target}(?: \S+)*:", makefile, re.M), argument


def _check_pip(arguments: list[str]) -> None:
    """Extras of Lumen exist."""
    declared = (ROOT / "pyproject.toml").read_text()
    for name in (name for word in arguments for name in re.findall(r"^lumen-mlir\[(.+)\]$", word)):
        for extra in name.split(","):
            assert re.search(rf"^{extra} = \[", declared, re.M), f"there is no extra '{extra}'"


def _check_python(arguments: list[str]) -> None:
    """The script or module exists, and its folder has the options."""
    if arguments[:1] == ["-m"]:
        ours = (ROOT / "test" / arguments[1].replace(".", "/")).exists()
        assert ours or importlib.util.find_spec(arguments[1]), arguments[1]
        return
    script = ROOT / arguments[0]
    assert script.exists(), arguments[0]
    sources = "".join(path.read_text() for path in script.parent.glob("*.py"))
    missing = [
        word
        for word in arguments[1:]
        if word.startswith("--") and f'"{word.partition("=")[0]}"' not in sources
    ]
    assert not missing, f"{arguments[0]} has no {', '.join(missing)}"
