# SPDX-License-Identifier: Apache-2.0
"""Measuring the kernels of formats: what is said, not how fast they are."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.formats import packing
from lumen_mlir.measure.kernel_bench import KernelBench, Measurement, random_weight
from lumen_mlir.run import engine

SMALL = ("--shape", "64x512", "-r", "2")


def test_json(lumen, tmp_path):
    plot = tmp_path / "roofline.svg"
    arguments = ("bench", "kernels", "--formats", "q4_k,iq4_nl", "--rows", "1,40", *SMALL)
    done = lumen(*arguments, "--json", "--plot", plot)
    assert done.returncode == 0 and "lumen: q4_k, 40 rows: " in done.stderr, done.stderr
    results = json.loads(done.stdout)
    assert [(r["format"], r["rows"]) for r in results] == [
        ("q4_k", 1), ("q4_k", 40), ("iq4_nl", 1), ("iq4_nl", 40),
    ]  # fmt: skip
    for result in results:
        fmt = formats.get(result["format"])
        rows = targets.get(result["target"]).tile(fmt).rows
        assert result["weight_bytes"] == packing.packed_bytes(fmt, 64, 512, rows)
        assert result["operations"] == 2 * result["rows"] * 64 * 512
        assert len(result["seconds"]) == len(result["limit_bytes_per_second"]) == 2
        assert min(result["seconds"]) > 0 and min(result["limit_operations_per_second"]) > 1e8
        reading = result["weight_bytes"] / max(result["limit_bytes_per_second"])
        products = result["operations"] / max(result["limit_operations_per_second"])
        assert result["bound"] == ("read" if reading > products else "int8")
        share = max(reading, products) / min(result["seconds"])
        assert result["share"] == pytest.approx(share, rel=1e-3, abs=1e-4)
    picture = ET.fromstring(plot.read_text())
    texts = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "operations per byte of weights" in texts and "1  q4_k" in texts
    # A dot per measurement and one per line of the legend, all inside of the picture.
    dots = list(picture.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == 4 + 2
    for dot in dots:
        assert 0 < float(dot.get("cx")) < float(picture.get("width"))
        assert 0 < float(dot.get("cy")) < float(picture.get("height"))


def test_table(lumen):
    out = lumen("bench", "kernels", "--formats", "f16", "--rows", "2", *SMALL, "-q").stdout
    header, _, row = out.splitlines()
    assert [cell.strip() for cell in header.split("|")[1:4]] == ["format", "packed bits", "rows"]
    assert [cell.strip() for cell in row.split("|")[1:4]] == ["f16", "16", "2"]


def test_refusals(refused):
    def kernels(*arguments):
        return refused("bench", "kernels", *arguments)

    assert kernels("--formats", "q4_kk").startswith("unknown quantization format 'q4_kk'")
    said = "a row of 96 weights is not a multiple of the block of q4_k, 256"
    assert kernels("--formats", "q4_k", "--shape", "32x96") == said
    for shape in ("12", "0x32"):
        assert kernels("--shape", shape).startswith(f"--shape is '{shape}'; two whole numbers")
    assert kernels("--shape", "9999999x9999999").endswith("at most 2^32 can be measured")
    assert kernels("--rows", "0") == "--rows is '0'; whole numbers of at least 1, with commas, were expected"
    assert kernels("--plot", "/nowhere/x.svg") == "/nowhere/x.svg: there is no such folder"
    assert kernels("--target", "z80").startswith("unknown target 'z80'")


def test_what_is_timed_is_the_product():
    """The function that is measured gives the product that the reference gives."""
    fmt, n, k, rows = formats.get("q5_0"), 24, 96, 5
    bench = KernelBench(targets.native(), repetitions=1)
    with ir.Context():
        program = engine.compile(bench._module(fmt, n, k, rows), form="fused", use_cache=False)
    random = np.random.default_rng(1)
    raw = random_weight(fmt, n, k, random)
    packed = packing.pack(fmt, raw, *targets.native().tile(fmt))
    weight = engine.aligned_empty(packed.shape)
    weight[:] = packed
    codes = random.integers(-127, 128, (rows, k)).astype(np.int8)
    scales = random.random((rows, k // 32), np.float32)
    sums = codes.reshape(rows, -1, 32).sum(axis=2, dtype=np.int32)
    x = (codes.reshape(rows, -1, 32) * scales[..., None]).reshape(rows, k)
    y = program.invoke("product", codes, scales, fmt.bias * sums, sums.astype(np.float32), weight)
    np.testing.assert_allclose(y, x @ fmt.dequantize(raw).T, rtol=1e-4, atol=1e-4)


def test_shares():
    result = Measurement("q8_0", 10, 32, 2, 340, "int8", (2.0, 1.0, 4.0), (34.0,) * 3, (1280.0, 640.0, 640.0))
    # Reading takes 10 s at least, the 1,280 operations 1 s.
    assert (result.bound, result.share, result.median_share) == ("read", 10.0, 5.0)
    assert (result.bandwidth, result.throughput) == (340.0, 1280.0)
    many = Measurement("q8_0", 10, 32, 2, 340, "int8", (2.0, 4.0), (340.0, 340.0), (128.0, 64.0))
    assert (many.bound, many.share, many.median_share) == ("int8", 5.0, 5.0)


@pytest.mark.parametrize("name", ["q4_0", "mxfp4", "iq1_m", "f16", "bf16"])
def test_random_weights(name):
    fmt = formats.get(name)
    raw = random_weight(fmt, 3, 256, np.random.default_rng(0))
    assert raw.shape == (3, fmt.row_bytes(256)) and raw.dtype == np.uint8
    if name == "q4_0":
        assert np.isfinite(fmt.dequantize(raw)).all() and np.abs(fmt.dequantize(raw)).max() < 0.1
