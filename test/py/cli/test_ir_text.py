# SPDX-License-Identifier: Apache-2.0
"""Long lines of IR are broken for people, and mean the same to the parser."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_mlir import ir
from lumen_mlir.cli.ir_text import WIDTH, broken


@pytest.mark.parametrize("stage", ["lumen", "fused", "loops", "vector", "llvm"])
def test_stages(lumen, lumen_opt, tiny, tmp_path, stage):
    """What is printed fits, and lumen-opt takes it for the module that it is."""
    text = lumen("compile", tiny, "--emit", stage, "--target", "x86-64-v3").stdout
    assert max(map(len, text.split("\n"))) <= WIDTH
    done = subprocess.run([lumen_opt], input=text, capture_output=True, text=True, check=True)
    longest = max(map(len, done.stdout.split("\n")))
    assert longest > WIDTH and broken(done.stdout).split() == text.split()
    with ir.Context():
        assert str(ir.Module.parse(text)) == str(ir.Module.parse(done.stdout))


def test_functions_and_files(lumen, tiny, tmp_path):
    whole = lumen("compile", tiny, "--emit", "fused").stdout
    assert lumen("compile", tiny, "--emit", "fused", "-o", tmp_path / "m.mlir").returncode == 0
    assert (tmp_path / "m.mlir").read_text() == whole
    again = lumen("compile", tmp_path / "m.mlir", "--emit", "lumen").stdout
    assert again.split() == whole.split()
    step = lumen("compile", tiny, "--emit", "fused", "--function", "step").stdout
    assert max(map(len, step.split("\n"))) <= WIDTH and step.startswith("func.func @step(%arg0: ")
    # Each argument with its name on one line.
    assert re.search(r'^ +%arg\d+: tensor<\S+> \{lumen\.name = "output_norm\.weight"\}', step, re.M)


LINES = {
    "a call": (
        "  %0 = call @f(%a, %b, %c) : (tensor<4xf32>, tensor<4xf32>, index) -> tensor<4xf32>",
        """\
  %0 = call @f(%a, %b, %c)
      : (tensor<4xf32>, tensor<4xf32>, index)
      -> tensor<4xf32>""",
    ),
    "strings stay whole": (
        'f {name = "a, long (name \\" {with spaces in it", other = "x y"}',
        'f {name = "a, long (name \\" {with spaces in it",\n      other = "x y"}',
    ),
    "a region": (
        "scf.for %i = %c0 to %c8 step %c1 iter_args(%x = %y) -> (vector<16xf32>) {",
        "scf.for %i = %c0 to %c8 step %c1\n    iter_args(%x = %y) -> (vector<16xf32>) {",
    ),
    "the end of a region": (
        "} {one = 1 : i64, two = 2 : i64} : (tensor<4xf32>, index) -> tensor<4xf32>",
        "} {one = 1 : i64, two = 2 : i64}\n    : (tensor<4xf32>, index) -> tensor<4xf32>",
    ),
    "a block": (
        "^bb7(%79: i64, %80: vector<16xf32>):  // 2 preds: ^bb6, ^bb8",
        "^bb7(%79: i64, %80: vector<16xf32>):\n  // 2 preds: ^bb6, ^bb8",
    ),
    "double spaces": (
        "%0 = f %a, %b attrs =  {one = 1 : i64, two = 2 : i64}",
        "%0 = f %a, %b\n    attrs = {one = 1 : i64, two = 2 : i64}",
    ),
    "a word that is too long": (
        'dense<"0x00000000000000000000000000000000000000000000000000"> : tensor<26xi8>',
        'dense<\n        "0x00000000000000000000000000000000000000000000000000">\n    : tensor<26xi8>',
    ),
    # Left as they are.
    "brackets that are not in pairs": ("x (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o ], p", None),
    "a comment": ("%0 = f %a, %b, %c // what a person wrote with (brackets, that", None),
    "opaque text": ("%0 = f : !other.type<a  b  c  d  e  f  g  h  i  j  k  l  m  n  o>", None),
}


@pytest.mark.parametrize("name", LINES)
def test_lines(name):
    line, expected = LINES[name]
    assert broken(line, 48) == (line if expected is None else expected)


TEXTS = st.text(st.sampled_from('ab%:=-> ,(){}[]<>"\\/!.'), max_size=80)


@given(TEXTS, st.integers(8, 60))
def test_any_text(text, width):
    """Nothing but spaces changes, and lines that fit stay."""
    shown = broken(text, width)
    assert "".join(shown.split()) == "".join(text.split())
    if len(text) <= width:
        assert shown == text
