# SPDX-License-Identifier: Apache-2.0
"""Finding formats by name, by type id and from other packages."""

import importlib.metadata
import subprocess
import sys

import pytest

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.dsl import Codes, f16, quant_format, u8, unpack


def make(name="mine", register=True, ggml_type=None):
    @quant_format(name, block=32, bits=4, bias=-8, ggml_type=ggml_type, register=register)
    class Mine:
        d: f16
        qs: u8[16]

        def decode(b):
            return Codes(unpack(b.qs, 4), scale=b.d)

    return Mine


def test_names_and_ids_agree():
    for name in formats.names():
        fmt = formats.get(name)
        assert fmt.name == name
        assert formats.by_ggml_type(fmt.ggml_type) is fmt
    assert formats.get("Q4_K") is formats.get("q4_k")


def test_unknown_name():
    with pytest.raises(LumenError, match="unknown quantization format 'q4_kk'; did you mean 'q4_k'"):
        formats.get("q4_kk")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (4, r"4 \(Q4_2\) was removed"), (5, r"5 \(Q4_3\) was removed"), (31, r"31 \(Q4_0_4_4\) was removed"),
        (32, r"32 \(Q4_0_4_8\) was removed"), (37, r"37 \(IQ4_NL_4_8\) was removed"),
        (33, r"33 \(Q4_0_8_8\) was removed"), (36, r"36 \(IQ4_NL_4_4\) was removed"),
        (38, r"38 \(IQ4_NL_8_8\) was removed"), (15, r"15 \(Q8_K\) is not a weight format"),
        (999, "unknown tensor type 999"),
    ],
)  # fmt: skip
def test_unusable_ids(number, message):
    with pytest.raises(LumenError, match=message):
        formats.by_ggml_type(number)


def test_decorator_registers(own_registry):
    fmt = make(ggml_type=1000)
    assert formats.get("mine") is fmt and formats.by_ggml_type(1000) is fmt and "mine" in formats.names()
    with pytest.raises(LumenError, match="format 'mine' is already defined"):
        make()
    with pytest.raises(LumenError, match="format 'other': ggml type id 1000 belongs to mine"):
        make("other", ggml_type=1000)


@pytest.mark.parametrize(("number", "owner"), [(12, "q4_k"), (4, "Q4_2"), (24, "I8")])
def test_taken_ids(own_registry, number, owner):
    with pytest.raises(LumenError, match=f"format 'mine': ggml type id {number} belongs to {owner}"):
        make(ggml_type=number)


def test_builtin_names_are_taken(own_registry):
    with pytest.raises(LumenError, match="format 'q4_k' is already defined"):
        make("q4_k")
    assert formats.get("q4_k").block == 256


def use_entry_points(monkeypatch, *points):
    points = [importlib.metadata.EntryPoint(*point, "lumen_mlir.formats") for point in points]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)


def test_entry_points(own_registry, monkeypatch, tmp_path):
    (tmp_path / "plugin_of_test.py").write_text(
        "from lumen_mlir.formats.dsl import *\n"
        "@quant_format('plug', block=32, bits=8, bias=-128, ggml_type=2000)\n"
        "class Plug:\n"
        "    d: f16\n"
        "    qs: u8[32]\n"
        "    def decode(b):\n"
        "        return Codes(b.qs ^ 0x80, scale=b.d)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plug = "plugin_of_test:Plug"
    use_entry_points(monkeypatch, ("plug", plug), ("wrong", plug), ("gone", "no_such:Thing"))
    assert "plug" in formats.names()
    assert formats.get("plug").bits == 8
    assert formats.by_ggml_type(2000).name == "plug"
    with pytest.raises(LumenError, match="'plugin_of_test:Plug' is not a format named 'wrong'"):
        formats.get("wrong")
    with pytest.raises(LumenError, match="format 'gone' of entry point 'no_such:Thing' failed to load"):
        formats.get("gone")


def test_a_broken_plugin_does_not_hide_others(own_registry, monkeypatch):
    use_entry_points(monkeypatch, ("gone", "no_such:Thing"))
    make(ggml_type=3000)
    assert formats.by_ggml_type(3000).name == "mine"
    with pytest.raises(LumenError, match="unknown tensor type 3001.*'gone'.*failed to load"):
        formats.by_ggml_type(3001)


def test_import_is_light():
    """Importing the registry imports none of its modules, whose codebooks take time."""
    code = (
        "import numpy, sys, time; t = time.perf_counter(); import lumen_mlir.formats; "
        "dt = time.perf_counter() - t; "
        "loaded = {m.split('.')[2] for m in sys.modules if m.startswith('lumen_mlir.formats.')}; "
        "assert loaded == {'plugins', 'registry'}, loaded; print(dt)"
    )
    times = []
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        times.append(float(result.stdout))
    assert min(times) < 0.05
