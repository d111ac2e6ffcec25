# SPDX-License-Identifier: Apache-2.0
"""Every example in the pages works: commands run, Python runs, IR parses, formats mean what Lumen's mean.

``test_tutorials`` runs the commands of the tutorials, which take longer.
"""

from __future__ import annotations

import doctest
import functools
import importlib
import re
from pathlib import Path

import pytest
from example_pages import ROOT, Block, blocks, commands, pages
from example_shell import Shell, check_only, provide, write_model

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.formats import dsl

BLOCKS = [block for page in pages() for block in blocks(page)]
# Pages whose commands and programs are run; those of others are parts or only shown.
_TUTORIAL = "docs/tutorials/"
# Installing, and what changes the reader's terminal.
MOST_NOT_RUN = 17
# Programs with clients of others, which ``test/peers/test_server_clients.py`` runs.
RUN_BY_PEERS = ": asks a server"


def _pages_with(language: str) -> list[str]:
    return sorted({block.page for block in BLOCKS if block.language == language and not block.not_run})


def _of(page: str, language: str) -> list[Block]:
    return [
        block for block in BLOCKS if (block.page, block.language) == (page, language) and not block.not_run
    ]


COMMANDS: dict[str, list] = {}
for _block in BLOCKS:
    if not _block.not_run and not _block.page.startswith(_TUTORIAL):
        for _command in commands(_block):
            COMMANDS.setdefault(_block.page, []).append(_command)


@pytest.fixture(scope="session")
def example_model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("examples") / "model.gguf")


@pytest.mark.parametrize("page", COMMANDS)
def test_commands(page, example_model, lumen, lumen_opt, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell = Shell(tmp_path, example_model, lumen, lumen_opt, hub)
    for command in COMMANDS[page]:
        shell.run(command)


@pytest.mark.parametrize("page", [p for p in _pages_with("python") if not p.startswith(_TUTORIAL)])
def test_python(page, example_model, hub, tmp_path, monkeypatch, own_registry):
    monkeypatch.chdir(tmp_path)
    described: list[formats.Format] = []

    def quant_format(name: str, **parameters):
        """A page may show a format that exists: it is made, and compared with that."""
        decorate = original(name, **parameters, register=False)
        return lambda cls: described.append(decorate(cls)) or described[-1]

    built_in = {name: formats.get(name) for name in formats.names()}  # before their decorator changes
    original = dsl.quant_format
    monkeypatch.setattr(dsl, "quant_format", quant_format)
    names = {"lumen_mlir": lumen_mlir, **_language()}
    for block in _of(page, "python"):
        provide(tmp_path, example_model, re.findall(r'"([\w./:-]+)"', block.text), hub)
        # "[...]" is a list of the reader's own.
        text = block.text.replace("[...]", "[]")
        exec(compile(text, str(block), "exec", dont_inherit=True), names)
    for fmt in described:
        assert fmt.fingerprint == built_in[fmt.name].fingerprint, fmt.name
    for value in names.values():
        if isinstance(value, lumen_mlir.LLM):
            value.close()


def _language() -> dict[str, object]:
    """What descriptions of formats are written with: pages leave out the imports."""
    from lumen_mlir.formats import kquants

    names = {name: value for name, value in vars(dsl).items() if not name.startswith("_")}
    return {**names, "scales_and_minima": kquants.scales_and_minima}


@pytest.mark.parametrize("page", _pages_with("mlir"))
def test_ir(page):
    """A whole module parses. Of a part, nothing is missing but what stands elsewhere. All names exist."""
    for block in _of(page, "mlir"):
        names = set(re.findall(r"(?<![\w.@\"])lumen\.(\w+)", block.text))
        assert names <= _names_in_sources(), str(block)
        if not any(mark in block.text for mark in ("…", "...", "/*")):
            _parse(block)


@functools.cache
def _names_in_sources() -> set[str]:
    """The ops, types and attributes of the dialect, and the attributes that passes give to others."""
    reference = (ROOT / "docs" / "reference" / "dialect.md").read_text(encoding="utf-8")
    found = set(re.findall(r"^### `lumen\.(\w+)`", reference, re.M)) | {"q", "packed", "dot"}
    for folder in ("dialect", "passes"):
        for path in (ROOT / folder).rglob("*.*"):
            found |= set(re.findall(r'"lumen\.(\w+)"', path.read_text(encoding="utf-8")))
    return found


def _parse(block: Block) -> None:
    text = re.sub(r"//.*", "", block.text).strip()
    kind = (
        ir.Attribute
        if text.startswith("#")
        else ir.Type
        if re.match(r"!|tensor<|memref<", text)
        else ir.Module
    )
    with ir.Context() as context:
        context.allow_unregistered_dialects = True  # "some.op"() stands for any
        try:
            # Attributes and types stand below each other.
            for part in [text] if kind is ir.Module else re.split(r"\n(?=\S)", text):
                kind.parse(part)
        except lumen_mlir.LumenError as error:
            assert re.search("undeclared SSA value|reference a valid function", str(error)), (
                f"{block}: {error}"
            )


@pytest.mark.parametrize("page", _pages_with("toml"))
def test_toml(page):
    tomllib = pytest.importorskip("tomllib")
    for block in _of(page, "toml"):
        tomllib.loads(block.text)


def test_docstrings():
    """Examples with a prompt in docstrings."""
    package = ROOT / "python"
    for path in package.rglob("*.py"):
        if ">>> " in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(package).with_suffix("").parts)
            done = doctest.testmod(importlib.import_module(name))
            assert done.attempted and not done.failed, name


def test_few_examples_are_not_run():
    left_out = [f"{block}: {block.not_run}" for block in BLOCKS if block.not_run]
    for block in BLOCKS:
        for command in commands(block) if block.not_run else ():
            check_only(command)
    elsewhere = [each for each in left_out if each.endswith(RUN_BY_PEERS)]
    assert len(left_out) - len(elsewhere) <= MOST_NOT_RUN, "\n".join(left_out)
    marks = [len(re.findall(r"^<!-- not run", page.read_text(encoding="utf-8"), re.M)) for page in pages()]
    assert sum(marks) == len(left_out), "a mark stands before no block"


def test_languages():
    """A block says what it is, so that none is left out by a mistake in its name."""
    known = {"", "console", "shell", "python", "mlir", "toml", "text", "json", "c", "cmake"}
    assert {f"{block}: {block.language}" for block in BLOCKS if block.language not in known} == set()
    assert len(COMMANDS) >= 5
