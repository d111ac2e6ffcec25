# SPDX-License-Identifier: Apache-2.0
"""``lumen quantize``: what it writes runs, what it cannot do it says, and nothing is left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.testing.synthetic import Shape, write_synthetic


@pytest.fixture(scope="module")
def f16(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "f16.gguf"
    write_synthetic(path, Shape(192, 2, 8, 2, 24, 512, 301, 128, False), "f16")
    return path


def test_what_is_written_runs(lumen, tmp_path):
    done = lumen("quantize", embedded_model_path(), tmp_path / "m.gguf", "--format", "q4_k_m", "--requantize")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"lumen: {tmp_path / 'm.gguf'}: 7.27 MB to 4.52 MB, 5.30 bits per weight, ")
    assert os.listdir(tmp_path) == ["m.gguf"]
    assert "Q4_K_M" in lumen("inspect", tmp_path / "m.gguf").stdout
    text = lumen("generate", tmp_path / "m.gguf", "-p", "배우들의", "-n", "16", "--temp", "0").stdout
    assert text == " 연기가 정말 일품이었다.\n"


def test_dry_run(lumen, f16, tmp_path):
    done = lumen("quantize", f16, "--format", "q4_k_m", "--dry-run")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["tensor", "shape", "type", "new", "type", "bytes", "new", "bytes"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["blk.0.ffn_norm.weight"] == ["192", "f32", "-", "768", "768"]
    assert rows["blk.0.ffn_up.weight"] == ["512", "x", "192", "f16", "q5_0", "196,608", "67,584"]
    assert rows["blk.1.ffn_down.weight"] == ["192", "x", "512", "f16", "q6_k", "196,608", "80,640"]
    options = ("--tensor-type", "ffn_*=q4_1", "--tensor-type", "attn_q=q5_1", "--keep", "blk.1.")
    options = (*options, "--output-type", "f16", "--embedding-type", "bf16")
    done = lumen("quantize", f16, "--format", "q8_0", "--dry-run", "--pure", *options)
    assert done.returncode == 1 and "no matrix matches 'ffn_*'" in done.stderr
    done = lumen(
        "quantize", f16, "--format", "q8_0", "--dry-run", *options[2:], "--tensor-type", "*ffn_*t=q4_1"
    )
    types = {line.split()[0]: line.split()[-3] for line in done.stdout.splitlines()[1:]}
    assert types["blk.0.ffn_up.weight"] == "q4_1" and types["blk.0.attn_q.weight"] == "q5_1"
    assert types["blk.0.attn_v.weight"] == "q8_0" and types["blk.1.attn_v.weight"] == "-"
    assert types["output.weight"] == "-" and types["token_embd.weight"] == "bf16"


def test_a_quantized_source_is_remarked(lumen, tmp_path):
    path = tmp_path / "q8.gguf"
    write_synthetic(path, Shape(256, 1, 4, 1, 64, 64, 301, 128, True), "q8_0")
    done = lumen("quantize", path, tmp_path / "a.gguf", "--format", "q4_0")
    warning, _ = done.stderr.splitlines()
    assert warning.startswith("lumen: warning: 8 tensors, such as 'token_embd.weight', quantized already")
    done = lumen("quantize", path, tmp_path / "b.gguf", "--format", "q4_0", "--requantize", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "q4_kk"), "unknown quantization format 'q4_kk'; did you mean 'q4_k'?"),
        ((), "--format is missing"),
        (("--format", "iq2_xs"), "format 'iq2_xs' cannot be encoded: its codes are points of a codebook"),
        (("--format", "q8_0", "--tensor-type", "x"), "--tensor-type is 'x'; PATTERN=FORMAT was expected"),
        (
            ("--format", "q8_0", "--tensor-type", "norm=q8_0"),
            "no matrix matches 'norm'",
        ),
        (
            ("--format", "q8_0", "--tensor-type", "ffn_up=q4_k"),
            "a row of 192 weights is not a multiple of the ",
        ),
        (("--format", "q8_0", "--keep", "nothing"), "no matrix matches 'nothing'"),
        (("--format", "nvfp4", "--pure", "--tensor-type", "ffn=nope"), "unknown quantization format 'nope'"),
        (("--format", "q8_0", "--imatrix", "nope.dat"), "nope.dat: cannot be read: No such file"),
        (("--format", "q8_0", "-t", "0"), "threads is 0; a whole number of at least 1"),
    ],
)
def test_refused(refused, f16, tmp_path, arguments, message):
    assert message in refused("quantize", f16, tmp_path / "out.gguf", *arguments)
    assert not os.listdir(tmp_path)


def test_refused_files(refused, f16, tmp_path):
    assert "is the input itself" in refused("quantize", f16, f16, "--format", "q8_0")
    assert "OUT is missing" in refused("quantize", f16, "--format", "q8_0")
    assert "no.gguf: cannot be opened" in refused("quantize", tmp_path / "no.gguf", "x", "--format", "q8_0")
    nowhere = tmp_path / "no" / "x.gguf"
    assert "cannot write" in refused("quantize", f16, nowhere, "--format", "q8_0")


def test_a_width_that_no_format_fits(refused, tmp_path):
    source = tmp_path / "m.gguf"
    write_synthetic(source, Shape(60, 1, 2, 1, 30, 96, 301, 128, True), "f16")
    message = refused("quantize", source, tmp_path / "x", "--format", "nvfp4")
    assert (
        "tensor 'token_embd.weight': a row of 60 weights is not a multiple of the block of nvfp4, 64"
        in message
    )
    assert message.endswith("give it another type with --tensor-type or leave it with --keep")


def test_a_full_disk_leaves_nothing(f16, environment, tmp_path):
    command = [sys.executable, "-m", "lumen_mlir", "quantize", f16, tmp_path / "m.gguf", "--format", "q8_0"]

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1 and "cannot write" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not os.listdir(tmp_path)


def test_an_interrupt_leaves_nothing(environment, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    source = tmp_path / "m.gguf"
    write_synthetic(source, Shape(1024, 4, 8, 8, 128, 4096, 301, 128, True), "f16")
    command = [
        sys.executable,
        "-m",
        "lumen_mlir",
        "quantize",
        source,
        folder / "m.gguf",
        "--format",
        "q4_k_m",
    ]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while not os.listdir(folder):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and process.stderr.read() == ""
    assert not os.listdir(folder)


def test_file_type_and_version(lumen, f16, tmp_path):
    for name, number in (("q3_k_s", 11), ("q5_k", 17), ("mxfp4", 38)):
        assert lumen("quantize", f16, tmp_path / name, "--format", name).returncode == 0
        metadata = GGUFFile.open(tmp_path / name).metadata
        assert metadata.integer("general.file_type") == number
        assert metadata.integer("general.quantization_version") == 2
        assert metadata.string("general.name") == GGUFFile.open(f16).metadata.string("general.name")
