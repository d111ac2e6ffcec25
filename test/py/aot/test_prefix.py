# SPDX-License-Identifier: Apache-2.0
"""Symbols under a prefix: one program has the code of two models in it."""

import subprocess
from pathlib import Path

import embed_library as embed
import numpy as np
import pytest

from lumen_mlir.aot import weight_file
from lumen_mlir.aot.compiled_model import compile_model
from lumen_mlir.aot.library import write_library
from lumen_mlir.compiler.symbols import renamed
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import Sampling
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import FAMILIES, write_family

_FAMILIES = {"one": "exaone4-hybrid", "Other_2": "qwen3moe"}

# Writes the logits behind tokens 1, 2, 3 of both models.
_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "lumen.h"
#include "one.h"
#include "Other_2.h"

static int run(const char *folder, lumen_code code, int vocabulary) {
  lumen_options options = {.threads = 1, .code = &code};
  lumen_model *model;
  char error[LUMEN_ERROR_SIZE];
  if (lumen_open(folder, &options, &model, error, sizeof(error)) != LUMEN_OK)
    return fprintf(stderr, "%s\\n", error), 1;
  float *logits = malloc(sizeof(float) * vocabulary);
  int32_t tokens[] = {1, 2, 3};
  if (lumen_vocabulary(model) != vocabulary ||
      lumen_step(model, tokens, 3, logits, error, sizeof(error)) != LUMEN_OK)
    return fprintf(stderr, "%s\\n", error), 1;
  fwrite(logits, sizeof(float), vocabulary, stdout);
  free(logits);
  lumen_close(model);
  return 0;
}

int main(int count, char **folders) {
  return count != 3 || run(folders[1], one_model_code(), ONE_VOCABULARY) ||
         run(folders[2], Other_2_model_code(), OTHER_2_VOCABULARY);
}
"""


def defined(path: Path) -> set[str]:
    """The global symbols that an object file defines."""
    done = subprocess.run(["nm", "-g", "--defined-only", path], capture_output=True, text=True, check=True)
    return {line.split()[-1] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("suffix", [".o", ".so"])
def test_two_models_in_one_program(tmp_path, suffix):
    expected, files = [], []
    for prefix, family in _FAMILIES.items():
        path, folder = tmp_path / f"{prefix}.gguf", tmp_path / prefix
        write_family(path, FAMILIES[family])
        folder.mkdir()
        model = Model.open(path)
        compiled = compile_model(model, SessionOptions(chunk=16), Cache())
        library, _ = write_library(tmp_path / f"{prefix}{suffix}", compiled, True, prefix)
        weight_file.write(folder / "weights.lumen", compiled, Sampling(), Cache())
        expected.append(Stepper(model, SessionOptions(chunk=16, threads=1)).step([1, 2, 3], 0, 2)[0])
        files.append(library)
    if suffix == ".o":
        first, second = map(defined, files)
        assert not first & second and {"one_code_text", "one_entry_step"} < first
        assert all(name.startswith(("Other_2_", "Other_2.")) for name in second)
    (tmp_path / "main.c").write_text(_PROGRAM)
    runtime = Path(embed.load()._name)
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}"]
    command += [f"-I{embed.REPOSITORY}/runtime/embed", tmp_path / "main.c", *files, runtime]
    command += ["-o", tmp_path / "main", "-Wl,-z,now", f"-Wl,-rpath,{runtime.parent}:{tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([tmp_path / "main", *(tmp_path / name for name in _FAMILIES)], capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert np.array_equal(np.frombuffer(ran.stdout, np.float32), np.concatenate(expected))


def test_names_that_others_define_stay(tmp_path):
    """References between the object files are renamed, those to others are not; locals neither."""
    sources = ["int a(void); int c(void); static int l; int b(void) { return a() + c() + ++l; }",
               "int l = 3; int a(void) { return l; }"]  # fmt: skip
    objects = []
    for number, source in enumerate(sources):
        (tmp_path / f"{number}.c").write_text(source)
        command = ["cc", "-O0", "-fPIC", "-c", tmp_path / f"{number}.c", "-o", tmp_path / f"{number}.o"]
        subprocess.run(command, check=True)
        objects.append((tmp_path / f"{number}.o").read_bytes())
    for number, data in enumerate(renamed(objects, lambda name: f"x.{name}")):
        (tmp_path / f"{number}.o").write_bytes(data)
    done = subprocess.run(["nm", "0.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split()[-2:] for line in done.stdout.splitlines()] == [
        ["U", "c"], ["b", "l"], ["U", "x.a"], ["T", "x.b"]
    ]  # fmt: skip
    assert defined(tmp_path / "1.o") == {"x.a", "x.l"}
    with pytest.raises(LumenError, match="two symbols would have one name"):
        renamed(objects, lambda name: "same")
    with pytest.raises(LumenError, match="is no object file"):
        renamed([b"\x7fELF\x02\x02" + bytes(100)], str)
