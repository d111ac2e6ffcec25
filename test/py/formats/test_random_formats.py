# SPDX-License-Identifier: Apache-2.0
"""Properties of random descriptions and random expressions."""

import numpy as np
from format_samples import random_rows, same_floats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_decoder import NativeDecoder, needs_tools
from random_formats import recipes
from test_emit import check_against_numpy

from lumen_mlir.formats import graph
from lumen_mlir.formats.bounds import bounds
from lumen_mlir.formats.evaluate import evaluate
from lumen_mlir.formats.graph import Field, i8, i16, i32, u8, u16, u32
from lumen_mlir.formats.packing import dequantize_packed, pack


@settings(max_examples=60, deadline=None)
@given(recipes(), st.integers(0, 1000))
def test_reference(recipe, seed):
    fmt = recipe.build()
    raw = random_rows(fmt, 3, 2, seed)
    blocks = raw[:, fmt.header_bytes :].reshape(3, 2, fmt.bytes_per_block)
    expected = [
        recipe.reference(np.concatenate([row[: fmt.header_bytes], block]))
        for row, two in zip(raw, blocks, strict=True) for block in two
    ]  # fmt: skip
    assert same_floats(fmt.dequantize(raw), np.stack(expected).reshape(3, -1))


@settings(max_examples=40, deadline=None)
@given(recipes(), st.integers(1, 20), st.sampled_from([1, 4, 8, 16]))
def test_packing(recipe, n, rows):
    fmt = recipe.build()
    raw = random_rows(fmt, n, 2)
    packed = pack(fmt, raw, rows)
    assert same_floats(dequantize_packed(fmt, packed, n, 2 * fmt.block, rows), fmt.dequantize(raw))


@needs_tools
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(recipes(), min_size=8, max_size=8))
def test_ir(tmp_path_factory, many):
    built = [recipe.build(f"random{i}") for i, recipe in enumerate(many)]
    decoder = NativeDecoder(built, tmp_path_factory.mktemp("random"))
    for fmt in built:
        check_against_numpy(decoder, fmt, random_rows(fmt, 10, 1))


INTEGERS = [u8, u16, u32, i8, i16, i32]
LENGTH = 6
OPERATIONS = ["and", "or", "xor", "add", "sub", "mul", "shl", "shr", "to", "where", "take"]


@st.composite
def expressions(draw):
    """A random integer expression over fields a, b (u8) and c (i16) of 6 elements."""
    fields = {name: Field(kind, LENGTH) for name, kind in (("a", u8), ("b", u8), ("c", i16))}
    values = [graph.field(name, kind) for name, kind in fields.items()]
    for _ in range(draw(st.integers(1, 8))):
        left = draw(st.sampled_from(values))
        low, high = left.dtype.range
        # Small constants make tight intervals, which are the interesting ones.
        number = draw(st.one_of(st.integers(max(low, -9), 20), st.integers(low, high)))
        operation = draw(st.sampled_from(OPERATIONS))
        if operation == "to":
            values.append(graph.convert(left, draw(st.sampled_from(INTEGERS))))
        elif operation == "take":
            indices = draw(st.lists(st.integers(0, LENGTH - 1), min_size=LENGTH, max_size=LENGTH))
            values.append(graph.take(left, indices))
        elif operation in ("shl", "shr"):
            shifts = st.integers(0, left.dtype.bits - 1)
            amounts = draw(st.lists(shifts, min_size=LENGTH, max_size=LENGTH))
            values.append(graph.binary(operation, left, amounts))
        else:
            others = [value for value in values if value.dtype is left.dtype]
            right = draw(st.sampled_from([number, *others]))
            if operation == "where":
                values.append(graph.where(left < number, left, right))
            else:
                values.append(graph.binary(operation, left, right))
    return values[-1]


def exact(node, fields, memo):
    """Python integers, wrapped to the type: the meaning of an expression without NumPy."""
    if id(node) in memo:
        return memo[id(node)]
    arguments = [exact(operand, fields, memo) for operand in node.operands]
    operations = {
        "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "shl": lambda a, b: a << b, "shr": lambda a, b: a >> b, "lt": lambda a, b: a < b,
        "where": lambda c, a, b: a if c else b, "convert": lambda a: a,
    }  # fmt: skip
    if node.operation == "field":
        result = [int(value) for value in fields[node.payload]]
    elif node.operation == "constant":
        result = [int(value) for value in node.payload]
    elif node.operation == "shuffle":
        result = [arguments[0][i] for i in node.payload]
    else:
        result = [operations[node.operation](*values) for values in zip(*arguments, strict=True)]
    if node.dtype is not None:
        low, high = node.dtype.range
        result = [(value - low) % (high - low + 1) + low for value in result]
    memo[id(node)] = result
    return result


@settings(max_examples=300, deadline=None)
@given(expressions(), st.integers(0, 1000))
def test_expressions(root, seed):
    rng = np.random.default_rng(seed)
    fields = {
        "a": rng.integers(0, 256, LENGTH, dtype=np.uint8),
        "b": rng.choice(np.array([0, 1, 127, 128, 255], dtype=np.uint8), LENGTH),
        "c": rng.choice(np.array([-32768, -1, 0, 1, 32767], dtype=np.int16), LENGTH),
    }
    expected = exact(root, fields, {})
    (actual,) = evaluate([root], {name: value[None] for name, value in fields.items()})
    assert np.broadcast_to(actual, (1, LENGTH))[0].tolist() == expected
    low, high = bounds(root)
    assert np.all(low <= expected) and np.all(np.array(expected) <= high)
