# SPDX-License-Identifier: Apache-2.0
"""What functions ask of their arguments beyond types: found in modules, checked at calls."""

from __future__ import annotations

import numpy as np
import pytest

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.compiler import bounds
from lumen_mlir.compiler.bounds import Count
from lumen_mlir.compiler.signature import from_json, to_json
from lumen_mlir.errors import LumenError
from lumen_mlir.run.engine import aligned_empty
from lumen_mlir.run.program import Program
from lumen_mlir.storage.cache import Cache

Q8 = "!lumen.q<@q8_0>"
NUMBERS = "%positions: tensor<?xi32>, %places: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>"
MODULE = f"""
module attributes {{lumen.max_tokens = 16 : i64}} {{
{formats.get("q8_0").emit_ir()}
func.func @look_up(%ids: tensor<?xi32>, %table: tensor<?x32x{Q8}>) -> tensor<?x32xf32> {{
  %x = lumen.embedding %ids, %table : tensor<?xi32>, tensor<?x32x{Q8}> -> tensor<?x32xf32>
  return %x : tensor<?x32xf32>
}}
func.func private @layer(%x: tensor<?x32xf32>, %table: tensor<?x16xf32>, %k: tensor<2x2x?x16x16xf32>,
    %v: tensor<2x2x?x16x16xf32>, %layer: index, {NUMBERS})
    -> (tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>) {{
  %q = lumen.rope %x, %table, %positions {{head_dim = 16 : i64, style = "neox"}}
    : tensor<?x32xf32>, tensor<?x16xf32>, tensor<?xi32>
  %k2 = lumen.kv_append %k, %q, %layer, %places {{kind = "key"}}
    : tensor<2x2x?x16x16xf32>, tensor<?x32xf32>, tensor<?xi32>
  %v2 = lumen.kv_append %v, %x, %layer, %places {{kind = "value"}}
    : tensor<2x2x?x16x16xf32>, tensor<?x32xf32>, tensor<?xi32>
  %a = lumen.attention %q, %k2, %v2, %layer, %positions, %pages, %runs {{heads = 2 : i64, kv_heads = 2 : i64,
    scale = 0.25 : f32}} : tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>,
    tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return %a, %k2, %v2 : tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>
}}
func.func @attend(%x: tensor<?x32xf32>, %table: tensor<?x16xf32>, %k: tensor<2x2x?x16x16xf32>,
    %v: tensor<2x2x?x16x16xf32>, %back: index, {NUMBERS})
    -> (tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>) {{
  %far = arith.constant 10 : index
  %layer = arith.subi %far, %back : index
  %a:3 = call @layer(%x, %table, %k, %v, %layer, %positions, %places, %pages, %runs)
    : (tensor<?x32xf32>, tensor<?x16xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>, index,
       tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>)
    -> (tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>)
  return %a#0, %a#1, %a#2 : tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>
}}
func.func @add_some(%x: tensor<?x32xf32>, %y: tensor<?x32xf32>, %w: tensor<32xf32>, %rows: tensor<?xi32>)
    -> tensor<?x32xf32> {{
  %s = lumen.add %x, %y : tensor<?x32xf32>
  %l = lumen.select_rows %s, %rows : tensor<?x32xf32>, tensor<?xi32> -> tensor<?x32xf32>
  %n = lumen.rms_norm %l, %w {{epsilon = 1.0e-06 : f32}} : tensor<?x32xf32>, tensor<32xf32>
  return %n : tensor<?x32xf32>
}}
func.func @largest(%x: tensor<?x200xf32>, %rows: tensor<?xi32>, %ranks: tensor<?xi32>)
    -> (tensor<?x64xf32>, tensor<?x1xi32>) {{
  %k = lumen.group_keys %x {{group = 64 : i64}} : tensor<?x200xf32> -> tensor<?x128xi32>
  %v, %n = lumen.largest_groups %x, %k, %rows, %ranks
    : tensor<?x200xf32>, tensor<?x128xi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?x64xf32>, tensor<?x1xi32>
  return %v, %n : tensor<?x64xf32>, tensor<?x1xi32>
}}
func.func @sort(%e: tensor<?x2xi32>) -> (tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>) {{
  %s, %p, %g = lumen.group_tokens %e : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>
  return %s, %p, %g : tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>
}}
func.func @mix(%x: tensor<?x32xf32>, %source: tensor<?x2xi32>, %place: tensor<?x2xi32>,
    %groups: tensor<5x2xi32>, %weights: tensor<?x2xf32>, %w: tensor<128x32xf32>) -> tensor<?x32xf32> {{
  %y = lumen.gather_rows %x, %source : tensor<?x32xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  %z = lumen.expert_linear %y, %w, %groups
    : tensor<?x64xf32>, tensor<128x32xf32>, tensor<5x2xi32> -> tensor<?x64xf32>
  %r = lumen.combine %z, %weights, %place
    : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x2xi32> -> tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}}
func.func @route_and_mix(%logits: tensor<?x4xf32>, %x: tensor<?x32xf32>, %w: tensor<128x32xf32>)
    -> tensor<?x32xf32> {{
  %e, %p = lumen.route %logits {{gating = "softmax", normalized = true, scale = 1.0 : f32}}
    : tensor<?x4xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  %s, %t, %g = lumen.group_tokens %e : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>
  %y = lumen.gather_rows %x, %s : tensor<?x32xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  %z = lumen.expert_linear %y, %w, %g
    : tensor<?x64xf32>, tensor<128x32xf32>, tensor<5x2xi32> -> tensor<?x64xf32>
  %r = lumen.combine %z, %p, %t : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x2xi32> -> tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}}
func.func @pack(%w: tensor<?x?x{Q8}>) -> tensor<?x?x{Q8}, #lumen.packed<rows = 16, k = 4>> {{
  %p = lumen.pack %w : tensor<?x?x{Q8}> -> tensor<?x?x{Q8}, #lumen.packed<rows = 16, k = 4>>
  return %p : tensor<?x?x{Q8}, #lumen.packed<rows = 16, k = 4>>
}}
}}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return lumen_mlir.compile(MODULE, threads=1, cache=Cache(tmp_path_factory.mktemp("cache")))


def floats(*shape: int) -> np.ndarray:
    return np.full(shape, 0.5, np.float32)


def ids(*values: object) -> np.ndarray:
    return np.array(values, np.int32)


def raw(rows: int) -> np.ndarray:
    return np.zeros(34 * rows, np.uint8)


def attend(table: int = 200, layer: int = 0, **others: np.ndarray) -> list[object]:
    """Two sequences of two and one token, on pages 2, 0 and 1."""
    arguments = {
        "x": floats(3, 32),
        "table": floats(table, 16),
        "k": floats(2, 2, 12, 16, 16),
        "v": floats(2, 2, 12, 16, 16),
        "back": 10 - layer,
        "positions": ids(63, 64, 5),
        "places": ids(191, 0, 69),
        "pages": ids([2, 0], [1, 0]),
        "runs": ids([0, 2, 0], [2, 1, 1]),
    }
    assert others.keys() <= arguments.keys()
    return list((arguments | others).values())


def mix(**others: np.ndarray) -> list[object]:
    """Two tokens of two experts each, in order."""
    arguments = {
        "x": floats(2, 32),
        "source": ids([0, 1], [0, 1]),
        "place": ids([0, 2], [1, 3]),
        "groups": ids([0, 0], [3, 2], [0, 4], [0, 4], [0, 4]),
        "weights": floats(2, 2),
        "w": aligned_empty((128 * 32 * 4,)),
    }
    assert others.keys() <= arguments.keys()
    return list((arguments | others).values())


FITS = [
    ("look_up", [ids(0, 39), raw(40), 40]),
    ("look_up", [ids(), raw(1), 1]),
    ("attend", attend()),
    ("attend", attend(table=65, layer=1)),
    # The last run first.
    ("attend", attend(positions=ids(5, 63, 64), runs=ids([1, 2, 0], [0, 1, 1]))),
    ("add_some", [floats(3, 32), floats(3, 32), floats(32), ids(2, 0, 2, 2)]),
    ("add_some", [floats(3, 32), floats(3, 32), floats(32), ids()]),
    ("largest", [floats(2, 200), ids(1, 0, 1), ids(3, 0, 1)]),
    ("largest", [floats(2, 200), ids(), ids()]),
    ("sort", [ids([0, 3], [3, 1])]),
    ("mix", mix()),
    ("route_and_mix", [floats(5, 4) * np.float32(np.nan), floats(5, 32), mix()[-1]]),
]


@pytest.mark.parametrize(("name", "arguments"), FITS)
def test_what_fits(engine, name, arguments):
    assert engine.invoke(name, *arguments) is not None


REFUSED = [
    (
        "look_up",
        [ids(40), raw(40), 40],
        "argument 0: elements from 40 to 40, but there are 40 rows of the tab",
    ),
    ("look_up", [ids(3, -1), raw(40), 40], "argument 0: elements from -1 to 3"),
    ("look_up", [ids(40), raw(40), 41], "argument 1: 1360 bytes, but a weight of 41 x 32 in q8_0 has 1394"),
    ("look_up", [ids(0), raw(40), 2**62], r"argument 1: 1360 bytes, but a weight of \d+ x 32"),
    ("look_up", [ids(0), raw(0), 0], "argument 1: there is no weight of 0 x 32"),
    ("attend", attend(layer=2), "3 layers in a cache of 2"),
    ("attend", attend(layer=-1), "a layer of -1"),
    ("attend", attend(back=2**63 - 1), "a layer of -"),
    ("attend", attend(table=64), r"argument 5: elements from 5 to 64, but there are 64 positions in the rot"),
    ("attend", attend(positions=ids(63, 64, -1)), "argument 5: elements from -1 to 64"),
    ("attend", attend(positions=ids(63, 64)), r"2 rows beside 3 \(lumen.rope\)"),
    (
        "attend",
        attend(positions=ids(127, 128, 5)),
        "elements from 5 to 128, but there are 128 positions on th",
    ),
    (
        "attend",
        attend(positions=ids(63, 66, 5)),
        "row 1 is at position 66, behind a row of the same run at p",
    ),
    ("attend", attend(places=ids(191, 0)), r"2 rows beside 3 \(lumen.kv_append\)"),
    (
        "attend",
        attend(places=ids(192, 0, 69)),
        "argument 6: elements from 0 to 192, but there are 192 places",
    ),
    ("attend", attend(places=ids(191, -1, 69)), "argument 6: elements from -1 to 191"),
    (
        "attend",
        attend(pages=ids([2, 0], [1, 3])),
        "argument 7: elements from 0 to 3, but there are 3 pages in",
    ),
    ("attend", attend(pages=ids([2, -1], [1, 0])), "argument 7: elements from -1 to 2"),
    ("attend", attend(runs=ids([0, 2, 2], [2, 1, 1])), "argument 8: sequences from 1 to 2, but there are 2"),
    ("attend", attend(runs=ids([0, 2, 0], [2, 1, -1])), "argument 8: sequences from -1 to 0"),
    ("attend", attend(runs=ids([0, 2, 0])), "argument 8: the runs do not hold each of 3 rows once"),
    ("attend", attend(runs=ids([0, 2, 0], [1, 2, 1])), "do not hold each of 3 rows once"),
    ("attend", attend(runs=ids([0, 2, 0], [2, 1, 1], [3, 0, 1])), "do not hold each of 3 rows once"),
    ("attend", attend(runs=ids([0, 2, 0], [2, 2**31 - 1, 1])), "do not hold each of 3 rows once"),
    ("attend", attend(v=floats(2, 2, 8, 16, 16)), "values have 8 blocks, but keys 12"),
    ("add_some", [floats(3, 32), floats(2, 32), floats(32), ids(0)], r"2 rows beside 3 \(lumen.add\)"),
    (
        "add_some",
        [floats(3, 32), floats(3, 32), floats(32), ids(3)],
        "elements from 3 to 3, but there are 3 r",
    ),
    ("add_some", [floats(3, 32), floats(3, 32), floats(32), ids(-1)], "elements from -1 to -1"),
    ("largest", [floats(2, 200), ids(2), ids(0)], "argument 1: elements from 2 to 2, but there are 2 rows"),
    ("largest", [floats(2, 200), ids(0), ids(4)], "argument 2: elements from 4 to 4, but there are 4 groups"),
    ("largest", [floats(2, 200), ids(0), ids(-1)], "elements from -1 to -1"),
    ("largest", [floats(2, 200), ids(0, 1), ids(0)], r"1 rows beside 2 \(lumen.largest_groups\)"),
    ("sort", [ids([0, 4])], "argument 0: elements from 0 to 4, but there are 4 experts"),
    ("mix", mix(source=ids([0, 2], [0, 1])), "argument 1: elements from 0 to 2, but there are 2 rows"),
    ("mix", mix(place=ids([0, 4], [1, 3])), "argument 2: elements from 0 to 4, but there are 4 rows"),
    ("mix", mix(x=floats(3, 32)), "2 rows beside 3"),
    ("mix", mix(weights=floats(3, 2)), r"rows beside \d \(lumen.combine\)"),
    ("mix", mix(groups=ids([0, 0], [4, 2], [0, 4], [0, 4], [0, 4])), "argument 3: there are 4 experts"),
    ("mix", mix(groups=ids([0, 0], [3, 2], [0, 5], [0, 4], [0, 4])), "do not begin at row 0, follow one an"),
    ("mix", mix(groups=ids([0, 0], [3, 2], [0, 4], [0, 4], [0, 6])), "and end at row 4"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_what_does_not_fit(engine, name, arguments, message):
    with pytest.raises(LumenError, match=message):
        engine.invoke(name, *arguments)


def test_packing(engine):
    size = formats.packing.packed_bytes(formats.get("q8_0"), 20, 64, 16)
    packed = aligned_empty((size,))
    engine.invoke("pack", raw(40), 20, 64, outs=[packed])
    for rows, columns, given in ((20, 96, size), (21, 64, size), (10, 64, size), (20, 64, size - 64)):
        with pytest.raises(LumenError, match="bytes, but a weight of"):
            engine.invoke("pack", raw(40), rows, columns, outs=[aligned_empty((given,))])
    with pytest.raises(LumenError, match="40 columns are no multiple of q8_0's block, 32"):
        engine.invoke("pack", raw(40), 32, 40, outs=[packed])


def test_calls_are_checked_when_they_run(engine):
    """Also what a caller writes into an array between two runs, and a single argument that is set anew."""
    tokens = ids(1, 2)
    call = engine.bind("look_up", tokens, raw(40), 40)
    call.run()
    tokens[1] = 40
    with pytest.raises(LumenError, match="elements from 1 to 40"):
        call.run()
    tokens[1] = 39
    call.run()
    call.set(2, 39)
    with pytest.raises(LumenError, match="a weight of 39 x 32"):
        call.run()
    for number in (-1, 4, 1.0, True, None):
        with pytest.raises(LumenError, match="look_up has arguments 0 to 3, not"):
            call.set(number, 1)


def test_arrays_that_are_not_what_they_say(engine):
    class Liar(np.ndarray):
        __array_interface__ = property(lambda self: {"data": (0, False)})
        size = property(lambda self: 0)

    x, w = floats(3, 32), floats(32)
    rows = ids(1, 2)
    expected = engine.invoke("add_some", x, x.copy(), w, rows)
    np.testing.assert_array_equal(engine.invoke("add_some", x.view(Liar), x.copy(), w, rows), expected)
    for odd in (x.astype(">f4"), x.astype(object), x.view("V4"), np.ma.masked_array(x)[::2]):
        with pytest.raises(LumenError, match="argument 0"):
            engine.invoke("add_some", odd, x, w, rows)
    with pytest.raises(LumenError, match="outs are a list of arrays or None, not ndarray"):
        engine.invoke("add_some", x, x.copy(), w, rows, outs=x)


def test_bounds_are_kept_with_the_code(engine, tmp_path):
    for signature in engine.program.signatures:
        assert signature.bounds and from_json(to_json(signature)) == signature
    again = Program.from_bytes(engine.program.to_bytes())
    assert again.signatures == engine.program.signatures


def test_formats_that_only_a_module_describes():
    """Of a format that the package knows under another name, the compiler says what a weight takes."""
    text = formats.get("q5_0").emit_ir().replace("@q5_0", "@mine")
    module = f"""{text}
    func.func @pack(%w: tensor<?x?x!lumen.q<@mine>>)
        -> tensor<?x?x!lumen.q<@mine>, #lumen.packed<rows = 16, k = 4>> {{
      %p = lumen.pack %w : tensor<?x?x!lumen.q<@mine>>
        -> tensor<?x?x!lumen.q<@mine>, #lumen.packed<rows = 16, k = 4>>
      return %p : tensor<?x?x!lumen.q<@mine>, #lumen.packed<rows = 16, k = 4>>
    }}"""
    engine = lumen_mlir.compile(module, threads=1, use_cache=False)
    size = formats.packing.packed_bytes(formats.get("q5_0"), 20, 64, 16)
    weight = np.zeros(20 * 44, np.uint8)
    engine.invoke("pack", weight, 20, 64, outs=[aligned_empty((size,))])
    with pytest.raises(LumenError, match="880 bytes, but a weight of 21 x 64 in mine has 924"):
        engine.invoke("pack", weight, 21, 64, outs=[aligned_empty((size,))])
    with pytest.raises(LumenError, match=f"{size + 64} bytes, but a weight of 20 x 64 in mine has {size}"):
        engine.invoke("pack", weight, 20, 64, outs=[aligned_empty((size + 64,))])
    with pytest.raises(LumenError, match="argument 0: there is no weight of 20 x 63 in blocks of 32"):
        engine.invoke("pack", weight, 20, 63, outs=[aligned_empty((size,))])


UNBOUNDED = {
    "product": ("%i = arith.muli %n, %n : index", "computes what it calls another function with in a way"),
    "negative": ("%i = arith.constant -1 : index", "a layer of -1"),
}


@pytest.mark.parametrize(("line", "message"), UNBOUNDED.values(), ids=UNBOUNDED)
def test_what_nothing_bounds(line, message):
    cache = "tensor<2x2x?x16x16xf32>"
    module = f"""func.func @f(%k: {cache}, %x: tensor<?x32xf32>, %n: index, %places: tensor<?xi32>)
        -> {cache} {{
      {line}
      %r = lumen.kv_append %k, %x, %i, %places {{kind = "key"}} : {cache}, tensor<?x32xf32>, tensor<?xi32>
      return %r : {cache}
    }}"""
    with pytest.raises(LumenError, match=message):
        lumen_mlir.compile(module, threads=1, use_cache=False)


def test_sizes_that_calls_cannot_choose():
    module = """func.func @f(%x: tensor<?x32xf32>, %w: tensor<?xf32>) -> tensor<?x32xf32> {
      %n = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32} : tensor<?x32xf32>, tensor<?xf32>
      return %n : tensor<?x32xf32>
    }"""
    with pytest.raises(LumenError, match="lumen.rms_norm is given a size that is not known: only rows"):
        lumen_mlir.compile(module, threads=1, use_cache=False)


def test_counts():
    position, rows = Count.of((1, None)), Count.of((0, 0))
    end = position + rows - 1
    assert end.value([np.zeros((5, 2)), 7]) == 11
    assert (end - end) == Count() and (end * 0) == Count() and position + rows == rows + position
    assert end.replaced({(1, None): Count(3), (0, 0): position * 2}) == position * 2 + 2
    bound = bounds.AtMost(end, Count(16), "{left} of {right}")
    assert bounds.from_json(bounds.to_json(bound)) == bound


ATTRIBUTES = {
    'lumen.result = "x"': "lumen.result of argument 0 must be an i64 of at least 0",
    "lumen.result = -1 : i64": "lumen.result of argument 0 must be an i64 of at least 0, got -1",
    "lumen.result = 1000000000 : i64": "lumen.result of argument 0 must be less than the number",
    'lumen.rows = "x", lumen.out': "lumen.rows of argument 0 must be the number of an argument, an i64",
    "lumen.rows = 99 : i64, lumen.out, lumen.result = 0 : i64": "lumen.rows of argument 0 must be the number",
    "lumen.rows = 0 : i64, lumen.out, lumen.result = 0 : i64": "argument 0 has as many rows as argument 0",
    "lumen.name = 1 : i64": "lumen.name of argument 0 must be a string, got 1 : i64",
    "lumen.tile = 16 : i64": "lumen.tile of argument 0 must be a #lumen.packed, got 16",
    'lumen.tile = "x"': "lumen.tile of argument 0 must be a #lumen.packed",
    "llvm.align = 0 : i64": "f: argument 0: llvm.align must be a number of at least 1, got 0",
}


@pytest.mark.parametrize(("attribute", "message"), ATTRIBUTES.items())
def test_attributes_that_make_no_sense(attribute, message):
    module = f"func.func @f(%a: memref<4xf32> {{{attribute}}}) {{ return }}"
    with pytest.raises(LumenError, match=message):
        lumen_mlir.compile(module, form="loops", use_cache=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "%a: memref<4xf32> {lumen.out, lumen.result = 0 : i64}, %b: f32",
            "argument 0 is an out argument and st",
        ),
        ("%a: f32 {lumen.result = 0 : i64}", r"argument 0 \(f32\) is no array"),
        ("%a: f32 {lumen.tokens}", r"argument 0 \(f32\) is no array"),
        ("%a: memref<f32> {lumen.tokens}", r"argument 0 \(f32\[\]\) has no rows"),
    ],
)
def test_arguments_that_contradict_one_another(arguments, message):
    with pytest.raises(LumenError, match=message):
        lumen_mlir.compile(f"func.func @f({arguments}) {{ return }}", form="loops", use_cache=False)


def test_a_module_that_says_odd_things():
    module = 'module attributes {lumen.max_tokens = "x"} { func.func @f(%a: memref<4xf32>) { return } }'
    with pytest.raises(LumenError, match='lumen.max_tokens must be an i64 of 1 to 2147483647, got "x"'):
        lumen_mlir.compile(module, form="loops", use_cache=False)
    with pytest.raises(LumenError, match="a module or its text was expected, got int"):
        lumen_mlir.compile(5)
    with ir.Context(), pytest.raises(LumenError, match="a module can be compiled from"):
        lumen_mlir.compile("module {}", form=["x"], use_cache=False)
