# SPDX-License-Identifier: Apache-2.0
"""Random straight lines of calls, with layers, against NumPy: a wrong place in the arena shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lumen_mlir

KERNELS = """
func.func private @mix{n}(%a: memref<?x{n}xf32>, %b: memref<?x{n}xf32>, %out: memref<?x{n}xf32>)
    attributes {{lumen.kernel = "rows"}} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = arith.constant {n} : index
  %half = arith.constant 0.5 : f32
  %rows = memref.dim %a, %c0 : memref<?x{n}xf32>
  scf.forall (%t) in (%rows) {{
    scf.for %i = %c0 to %n step %c1 {{
      %x = memref.load %a[%t, %i] : memref<?x{n}xf32>
      %y = memref.load %b[%t, %i] : memref<?x{n}xf32>
      %z = arith.mulf %y, %half : f32
      %s = arith.addf %x, %z : f32
      memref.store %s, %out[%t, %i] : memref<?x{n}xf32>
    }}
  }}
  return
}}
"""
WIDTHS = (16, 48)


class Line:
    """A function of calls: the operands of each are numbers of earlier values of its width."""

    def __init__(self, name: str, draw, layers: tuple["Line", ...] = ()):
        self.name, self.calls = name, []
        counts = dict.fromkeys(WIDTHS, 1)
        for _ in range(draw(st.integers(1, 12))):
            callee = draw(st.sampled_from([*WIDTHS, *layers]))
            if isinstance(callee, Line):
                operands = tuple(draw(st.integers(0, counts[n] - 1)) for n in WIDTHS)
                for n in WIDTHS:
                    counts[n] += 1
            else:
                operands = tuple(draw(st.integers(0, counts[callee] - 1)) for _ in range(2))
                counts[callee] += 1
            self.calls.append((callee, operands))

    def text(self, public: bool) -> str:
        def types(width):
            return f"memref<?x{width}xf32>"

        a, b = WIDTHS
        attrs = ("{lumen.tokens}", "{lumen.out, lumen.result = %d : i64, lumen.rows = 0 : i64}")
        bound, out = attrs if public else ("", "")
        lines = [
            f"func.func {'' if public else 'private '}@{self.name}(%v{a}_0: {types(a)} {bound},"
            f" %v{b}_0: {types(b)} {bound}, %out{a}: {types(a)} {out and out % 0},"
            f" %out{b}: {types(b)} {out and out % 1}) {{",
            "%c0 = arith.constant 0 : index",
            f"%rows = memref.dim %v{a}_0, %c0 : {types(a)}",
        ]
        counts = dict.fromkeys(WIDTHS, 1)

        def fresh(width):
            value = f"%v{width}_{counts[width]}"
            counts[width] += 1
            lines.append(f"{value} = memref.alloc(%rows) : {types(width)}")
            return value

        for callee, operands in self.calls:
            if isinstance(callee, Line):
                values = [f"%v{n}_{i}" for n, i in zip(WIDTHS, operands, strict=True)] + [*map(fresh, WIDTHS)]
                kinds, name = [types(n) for n in WIDTHS] * 2, callee.name
            else:
                values = [f"%v{callee}_{i}" for i in operands] + [fresh(callee)]
                kinds, name = [types(callee)] * 3, f"mix{callee}"
            lines.append(f"call @{name}({', '.join(values)}) : ({', '.join(kinds)}) -> ()")
        for n in WIDTHS:
            # The first and the last value: both must have lived to the end.
            first, last = f"%v{n}_{min(1, counts[n] - 1)}", f"%v{n}_{counts[n] - 1}"
            lines.append(f"call @mix{n}({first}, {last}, %out{n}) : ({', '.join([types(n)] * 3)}) -> ()")
        return "\n".join([*lines, "return", "}"])

    def run(self, inputs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        values = {n: [inputs[n]] for n in WIDTHS}
        for callee, operands in self.calls:
            if isinstance(callee, Line):
                given_ = {n: values[n][i] for n, i in zip(WIDTHS, operands, strict=True)}
                for n, result in callee.run(given_).items():
                    values[n].append(result)
            else:
                x, y = (values[callee][i] for i in operands)
                values[callee].append(x + y * np.float32(0.5))
        return {n: all_[min(1, len(all_) - 1)] + all_[-1] * np.float32(0.5) for n, all_ in values.items()}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_lines(data):
    layer = Line("layer", data.draw)
    outer = Line("outer", data.draw, (layer,))
    step = Line("step", data.draw, (layer, outer))
    kernels = [KERNELS.format(n=n) for n in WIDTHS]
    functions = [layer.text(False), outer.text(False), step.text(True)]
    text = "\n".join(["module attributes {lumen.max_tokens = 5 : i64} {", *kernels, *functions, "}"])
    engine = lumen_mlir.compile(text, form="loops", threads=2, use_cache=False)
    engine._arena[:] = 0xFF  # NaN: nothing may be read before it is written
    rows = data.draw(st.integers(1, 5))
    generator = np.random.default_rng(rows)
    inputs = {n: generator.standard_normal((rows, n), np.float32) for n in WIDTHS}
    results = engine.invoke("step", *inputs.values())
    for result, expected in zip(results, step.run(inputs).values(), strict=True):
        np.testing.assert_array_equal(result, expected)
