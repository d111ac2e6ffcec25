# SPDX-License-Identifier: Apache-2.0
"""``lumen compile`` for WebAssembly: modules and bundles. ``test/web`` has the page."""

from __future__ import annotations

import pytest

from lumen_mlir.compiler import linking

pytestmark = pytest.mark.wasm
TARGET = "wasm32-simd128"
STEP = {"lumen_entry_step", "lumen_arena_size_step", "lumen_code_text", "memory", "__heap_base"}


def opened(path):
    """Names that a module imports and exports, and the text that its code says of itself."""
    import wasmtime

    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, path.read_bytes())
    instance = wasmtime.Instance(store, module, [])
    exports = instance.exports(store)
    begin = exports["lumen_code_text"].value(store)
    data = bytes(exports["memory"].read(store, begin, exports["__heap_base"].value(store)))
    text = data[: data.index(b"\0")].decode()
    names = {each.name for each in module.imports}, {each.name for each in module.exports}
    for resource in (module, store):
        resource.close()
    return *names, text


def test_bundles(lumen, tmp_path):
    out = tmp_path / "out"
    said = lumen("compile", "--target", TARGET, "--bundle", out).stderr
    assert "for target wasm32-simd128" in said and "cmake" not in said
    files = {file.name for file in out.iterdir()}
    assert files == {"model.wasm", "model.h", "weights.lumen", "tokenizer.bin"}
    imports, exports, text = opened(out / "model.wasm")
    assert imports == set() and exports == STEP
    assert text.startswith("format 1\n") and "\narchitecture wasm32\ntarget wasm32-simd128\n" in text
    identity = next(line for line in text.splitlines() if line.startswith("id "))
    assert f"\ncode {identity[3:]}\n".encode() in (out / "weights.lumen").read_bytes()
    # Another one takes its place.
    lumen("compile", "--target", "wasm32-relaxed-simd", "--bundle", out)
    assert "\ntarget wasm32-relaxed-simd\n" in opened(out / "model.wasm")[2]


def test_libraries(lumen, tmp_path):
    lumen("compile", "--target", TARGET, "-o", tmp_path / "m.wasm", "--header")
    imports, exports, _ = opened(tmp_path / "m.wasm")
    packers = {name for name in exports if name.startswith("lumen_entry_pack")}
    assert imports == set() and exports > STEP and packers
    text = (tmp_path / "m.h").read_text()
    assert all(f"{name}(" in text for name in packers)
    lumen("compile", "--target", TARGET, "-o", f"{tmp_path / 'folder'}/")
    assert {file.name for file in (tmp_path / "folder").iterdir()} == {"model.wasm", "model.h"}
    lumen("compile", "--target", TARGET, "-o", tmp_path / "m.o")
    assert (tmp_path / "m.o").read_bytes().startswith(b"\0asm")


def test_names_that_do_not_fit(refused, tmp_path):
    so, module = tmp_path / "m.so", tmp_path / "m.wasm"
    assert refused("compile", "--target", TARGET, "-o", so) == (
        f"{so}: code for target {TARGET} (wasm32) is a file .wasm or .o"
    )
    assert refused("compile", "--target", "x86-64-v3", "-o", module) == (
        f"{module}: code for target x86-64-v3 (x86_64) is a file .so or .o"
    )
    said = refused("compile", "--target", TARGET, "-o", module, "--prefix", "mine")
    assert said == "the names of a module of WebAssembly are its own: it takes no other prefix"
    assert not list(tmp_path.iterdir())


def test_without_a_linker(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    for arguments in (("--bundle", tmp_path / "out"), ("-o", tmp_path / "m.wasm")):
        assert refused("compile", "--target", TARGET, *arguments) == (
            "no linker for wasm32 was found: install lld-22 (Debian's names)"
        )


def test_functions_of_a_listing(lumen):
    out = lumen("compile", "--target", TARGET, "--emit", "asm", "--function", "quantize_*").stdout
    assert out.startswith("quantize_") and out.rstrip().endswith("end_function")
    assert "f32x4.mul" in out and "lumen_entry_step" not in out
