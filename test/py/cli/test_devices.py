# SPDX-License-Identifier: Apache-2.0
"""``lumen devices`` and ``--device``."""

from __future__ import annotations

import json
import sys

import pytest
from cuda_bindings import bindings

from lumen_mlir.compiler import targets
from lumen_mlir.run import cuda_driver


@pytest.fixture
def old_gpu(monkeypatch):
    """This machine has a GPU that is too old."""
    monkeypatch.setattr(cuda_driver, "_MODULE", "bindings_for_tests")
    monkeypatch.setitem(sys.modules, "bindings_for_tests", bindings(75))


def test_the_list(lumen, old_gpu):
    done = lumen("devices")
    assert (done.returncode, done.stderr) == (0, "")
    header, cpu, *rest = done.stdout.splitlines()
    assert header.split() == ["device", "name", "has", "memory", "target"]
    assert cpu.startswith("cpu ") and cpu.endswith(targets.native().name) and " free of " in cpu
    assert "cuda:0 (H200) cannot be used: its compute capability is 7.5; Lumen needs 8.0 or more" in rest


def test_the_list_for_scripts(lumen, old_gpu):
    cpu, gpu = json.loads(lumen("devices", "--json").stdout)[:2]
    assert cpu["device"] == "cpu" and cpu["threads"] >= 1 and cpu["reason"] == "" and "facts" not in cpu
    assert gpu["processors"] == 132 and gpu["memory_total"] == 150_000_000_000 and gpu["target"] == ""


def test_why_a_step_is_launches(lumen, monkeypatch):
    monkeypatch.setattr(cuda_driver, "_MODULE", "bindings_for_tests")
    monkeypatch.setitem(sys.modules, "bindings_for_tests", bindings(cooperative=False))
    *_, note = [line for line in lumen("devices").stdout.splitlines() if line.startswith("cuda")]
    assert note == "cuda:0 (H200): a step is a chain of launches: this GPU has no cooperative launches"
    gpu = json.loads(lumen("devices", "--json").stdout)[1]
    assert (gpu["target"], gpu["step"]) == ("sm_90-launches", "a chain of launches")
    assert gpu["note"] == note.removeprefix("cuda:0 (H200): ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "tpu"), "unknown device 'tpu'; there are cpu, cuda, vulkan, and of several GPUs also"),
        (("--device", "cpu", "--target", "sm_90"), "device cpu cannot run code for target sm_90"),
        (("--device", "none", "--target", "sm_90"), "device cpu cannot run code for target sm_90"),
        (("-dev", "CUDA0"), "device cuda:0 (H200, sm_75) runs code for none of the targets"),
        (("--device", "cuda:7"), "there is no GPU 7; the driver knows 1"),
    ],
)
def test_refused(refused, old_gpu, tiny, options, message):
    assert message in refused("generate", tiny, "-p", "a", *options)


def test_the_cpu_by_name(lumen, tiny):
    command = ("generate", tiny, "-p", "a", "-n", "2", "--temp", "0")
    done = lumen(*command, "--device", "cpu", "-v")
    assert done.returncode == 0 and f"kernels {targets.native().name} (" in done.stderr
    assert done.stdout == lumen(*command, "-q").stdout
