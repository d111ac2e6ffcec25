# SPDX-License-Identifier: Apache-2.0
"""Code for warps on the emulator: the order in which threads run changes nothing, and what is wrong shows."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import EMULATED_GPU, GPU, ROOT, RUNNERS

import lumen_mlir
from lumen_mlir import ir, pipelines
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run import device
from lumen_mlir.run.code import Buffer
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedGpu

pytestmark = pytest.mark.gpu

# The vector stage: each lane writes, and reads what its neighbour wrote.
NEIGHBOURS = """
module attributes {lumen.target = TARGET} {
  func.func @f(%x: memref<32xf32>, %y: memref<32xf32> {lumen.out, lumen.result = 0 : i64})
      attributes {lumen.kernel = "rows"} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c32 = arith.constant 32 : index
    scf.forall (%i) in (1) {
      %own = memref.alloca() : memref<64xf32>
      %v = vector.load %x[%c0] : memref<32xf32>, vector<32xf32>
      vector.store %v, %own[%c0] : memref<64xf32>, vector<32xf32>
      vector.store %v, %own[%c32] : memref<64xf32>, vector<32xf32>
      %w = vector.load %own[%c1] : memref<64xf32>, vector<32xf32>
      vector.store %w, %y[%c0] : memref<32xf32>, vector<32xf32>
    }
    return
  }
}
"""


class _Words:
    """The arguments of a call by hand."""

    def buffers(self) -> list[Buffer]:
        return []


def run_vector_stage(text: str, gpu: EmulatedGpu, passes: str, *arrays: np.ndarray) -> None:
    """Runs the function ``f`` of a module in the vector stage."""
    with ir.Context():
        module = ir.Module.parse(text.replace("TARGET", EMULATED_GPU.attribute()))
        stage = pipelines.Stage("llvm", passes)
        code = Compiler(EMULATED_GPU, stages=(stage,)).compile(module)
    loaded = gpu.load([code], EMULATED_GPU)
    slots = np.array([array.ctypes.data for array in arrays] + [0], np.uint64)
    loaded.run(loaded.lookup("lumen_entry_f"), slots, _Words())


def test_a_missing_barrier_shows():
    """With the barrier all orders give one result; without it, some orders give another."""
    whole = pipelines.vector_to_llvm(profile=False).pipeline
    gpu = EmulatedGpu(ROOT, RUNNERS, blocks=1, warps=1)
    x = np.arange(32, dtype=np.float32)
    expected = np.roll(x, -1)
    wrong = 0
    for passes in (whole, whole.replace(",lumen-order-lanes", "")):
        for seed in range(4):
            gpu.seed, y = seed, np.zeros(32, np.float32)
            run_vector_stage(NEIGHBOURS, gpu, passes, x, y)
            if passes == whole:
                np.testing.assert_array_equal(y, expected)
            else:
                wrong += not np.array_equal(y, expected)
    assert wrong


def test_waiting_for_ever_is_an_error():
    """Warps that do not all come to a barrier."""
    text = """
    module attributes {lumen.target = TARGET} {
      func.func @f(%x: memref<1xf32>) attributes {lumen.kernel = "rows"} {
        %c0 = arith.constant 0 : index
        %id = lumen.worker_id
        %first = arith.cmpi eq, %id, %c0 : index
        scf.if %first {
          lumen.barrier
        }
        return
      }
    }
    """
    gpu = EmulatedGpu(ROOT, RUNNERS, blocks=2, warps=1)
    with pytest.raises(LumenError, match="its threads wait for each other for ever"):
        run_vector_stage(text, gpu, pipelines.vector_to_llvm(profile=False).pipeline, np.zeros(1, np.float32))


@pytest.mark.parametrize(("blocks", "warps"), [(1, 1), (3, 2)])
def test_grids_and_orders(tmp_path, blocks, warps):
    """The embedded model writes the same on every grid, in whatever order threads run."""
    prompts = ["배우들의 연기가", "이 영화는"]

    def texts(target: targets.Target | str) -> list[str]:
        llm = lumen_mlir.LLM(target=target, cache=Cache(tmp_path), context=64)
        return [llm.generate(each, 5, temperature=0, ignore_eos=True).text() for each in prompts]

    expected = texts("generic")
    gpu = EmulatedGpu(ROOT, RUNNERS, blocks, warps)
    with device.using(gpu):
        for gpu.seed in (1, 2):
            assert texts(EMULATED_GPU) == expected


def test_barriers_of_a_step(tmp_path):
    """Five in a layer, and three behind the logits and what finds the largest, however long the text is."""
    model = Model.open(embedded_model_path())
    gpu = EmulatedGpu(ROOT, RUNNERS)
    options = SessionOptions(target=EMULATED_GPU.name, context=1024)
    with device.using(gpu):
        executor = Executor(model, options, cache=Cache(tmp_path))
        sequence, tokens = executor.open(), np.arange(1, 200, dtype=np.int32)
        for begin, end in ((0, 1), (1, 198), (198, 199)):
            part = Part(sequence, tokens[begin:end], position=begin, first=end - begin - 1)
            executor.run([part], np.empty((1, model.config.vocabulary), np.float32))
            if end - begin == 1:
                assert gpu.barriers == 5 * model.config.layers + 3


def test_what_a_grid_may_be():
    x = np.zeros(32, np.float32)
    with pytest.raises(LumenError, match="a grid has at least one block of one warp"):
        run_vector_stage(
            NEIGHBOURS,
            EmulatedGpu(ROOT, RUNNERS, blocks=0),
            pipelines.vector_to_llvm(profile=False).pipeline,
            x,
            x.copy(),
        )


def test_elsewhere_it_is_refused():
    """The emulator takes its own target alone, and no other device takes that."""
    assert GPU.missing(targets.get("generic")) and GPU.missing(targets.get("sm_80"))
    assert not GPU.missing(EMULATED_GPU) and EMULATED_GPU.missing()
