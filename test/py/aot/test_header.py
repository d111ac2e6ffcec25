# SPDX-License-Identifier: Apache-2.0
"""The header of a library: C and C++ compile it, and a program that follows it gets what Python gets."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import embed_library as embed
import numpy as np
import pytest

from lumen_mlir import formats
from lumen_mlir.aot.compiled_model import compile_model
from lumen_mlir.aot.header import header
from lumen_mlir.aot.library import write_library
from lumen_mlir.formats import packing
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import FAMILIES, write_family

# Packs a weight that stdin has; what stands in $ is filled in.
_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "lumen.h"
#include "model.h"

int main(void) {
  lumen_team *team;
  char error[LUMEN_ERROR_SIZE];
  if (lumen_team_new(2, &team, error, sizeof(error)) != LUMEN_OK)
    return puts(error), 1;
  unsigned char *raw = malloc($raw), *packed = aligned_alloc(64, $packed);
  void *arena = aligned_alloc(64, ((size_t)lumen_arena_size_$name + 64) / 64 * 64);
  if (fread(raw, 1, $raw, stdin) != $raw)
    return 2;
  uint64_t slots[$PREFIX_SLOTS] = {0};
  slots[$PREFIX_RAW] = (uintptr_t)raw;
  slots[$PREFIX_RAW_SIZE] = $raw;
  slots[$PREFIX_ROWS] = $rows;
  slots[$PREFIX_COLUMNS] = $columns;
  slots[$PREFIX_PACKED] = (uintptr_t)packed;
  slots[$PREFIX_PACKED_SIZE] = $packed;
  slots[$PREFIX_ARENA] = (uintptr_t)arena;
  lumen_team_run(team, lumen_entry_$name, slots);
  fwrite(packed, 1, $packed, stdout);
  lumen_team_free(team);
  lumen_code code = lumen_model_code();
  return !(code.step == lumen_entry_step && code.text == lumen_code_text);
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    path = tmp_path_factory.mktemp("header") / "model.gguf"
    write_family(path, FAMILIES["exaone4-hybrid"], "f16")
    return compile_model(Model.open(path), SessionOptions(chunk=16), Cache())


def numbers(text: str, function: str) -> dict[str, int]:
    """The slots of a function."""
    found = re.search(rf"slots of lumen_entry_{function}\. \*/\nenum {{\n(.*?)}};", text, re.S)
    return {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", found[1])}


@pytest.mark.parametrize(
    "compiler, language",
    [("cc", ("-std=c11", "-xc")), ("c++", ("-std=c++17", "-xc++"))],
)  # fmt: skip
def test_compilers_take_it(compiled, tmp_path, compiler, language):
    (tmp_path / "model.h").write_text(header(compiled, "model.h"))
    for first in ("", '#include "lumen.h"\n'):
        (tmp_path / "test.c").write_text(first + 2 * '#include "model.h"\n' + "int main() { return 0; }\n")
        command = [compiler, *language, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
        include = f"-I{embed.REPOSITORY / 'runtime' / 'embed'}"
        done = subprocess.run([*command, include, tmp_path / "test.c"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_slot_is_named(compiled):
    text = header(compiled, "model.h")
    for signature in compiled.signatures:
        named = numbers(text, signature.name)
        words = sum(argument.slots for argument in signature.arguments) + 1  # the arena
        assert sorted(named.values()) == list(range(words + 1))
        assert named[f"LUMEN_{signature.name.upper()}_SLOTS"] == words
    named = numbers(text, "step")
    for argument in compiled.signature.arguments:
        if argument.name:
            assert f"LUMEN_STEP_{re.sub('[^A-Z0-9]', '_', argument.name.upper())}" in named
    # Two rotary tables or windows have names of their own, and what is said of them differs.
    assert {"LUMEN_STEP_KEYS0", "LUMEN_STEP_KEYS1", "LUMEN_STEP_VALUES1_SIZE"} <= set(named)
    assert "see the last " in text and "see all positions" in text


def test_names_cannot_end_a_comment(compiled, tmp_path):
    """What a file calls its model is text of strangers."""
    model = replace(compiled.model, config=replace(compiled.model.config, name='*/ int x = "\n#error\\'))
    text = header(replace(compiled, model=model), "model.h")
    assert "\n#error" not in text and text.index("*/") > text.index("memset")


def test_a_program_that_follows_it(compiled, tmp_path):
    """Packs a weight as the reference does, with two threads."""
    write_library(tmp_path / "model.so", compiled, with_header=True)
    info = compiled.model.tensors["blk.0.ffn_up.weight"]
    raw = np.ascontiguousarray(compiled.model.weight(info.name))
    tile = next(a.tile for a in compiled.signature.arguments if a.name == info.name)
    expected = packing.pack(formats.get(info.type), raw, *tile)
    name = f"pack_{info.type}_{tile.rows}x{tile.step}"
    words = {
        "PREFIX": f"LUMEN_{name.upper()}", "name": name, "rows": info.shape[0], "columns": info.shape[1],
        "raw": raw.size, "packed": expected.size,
    }  # fmt: skip
    program = re.sub(
        "|".join(rf"\${word}" for word in words), lambda found: str(words[found[0][1:]]), _PROGRAM
    )
    (tmp_path / "main.c").write_text(program)
    library = Path(embed.load()._name)
    command = ["cc", "-std=c11", "-Wall", "-Werror", f"-I{tmp_path}", f"-I{embed.REPOSITORY}/runtime/embed"]
    command += [tmp_path / "main.c", tmp_path / "model.so", library, "-o", tmp_path / "main", "-Wl,-z,now"]
    command += [f"-Wl,-rpath,{folder}" for folder in (tmp_path, library.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([tmp_path / "main"], input=raw.tobytes(), capture_output=True)
    assert ran.returncode == 0, ran.stdout[:200]
    assert ran.stdout == expected.tobytes()
