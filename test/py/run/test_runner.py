# SPDX-License-Identifier: Apache-2.0
"""Code that another process runs: what calls pass to it, what it may do, and what is said when it fails."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import struct
import sys

import numpy as np
import pytest
from emulated import DEVICE, EMULATED, ROOT, RUNNERS

import lumen_mlir
from lumen_mlir import LLM
from lumen_mlir.compiler import linking, targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.run import device
from lumen_mlir.run.code import Buffer
from lumen_mlir.run.engine import address_of
from lumen_mlir.run.runner import Runner
from lumen_mlir.run.runner_process import PROTOCOL_VERSION
from lumen_mlir.testing import emulation, guarded

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif(not EMULATED, reason="every target with an emulator is this machine's own"),
]
TARGET = EMULATED[-1] if EMULATED else targets.native()

ADD = """func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %z = lumen.add %x, %y : tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}"""


def kernel(body: str) -> str:
    """A module whose kernel may do what it likes with a number and an array."""
    return f"""func.func @f(%n: index, %m: memref<?xf32> {{lumen.result = 0 : i64}}) {{
      call @kernel(%n, %m) : (index, memref<?xf32>) -> ()
      return
    }}
    func.func private @kernel(%n: index, %m: memref<?xf32> {{lumen.result = 0 : i64}})
        attributes {{lumen.kernel = "rows"}} {{
      %zero = arith.constant 0 : index
      %one = arith.constant 1 : index
      %size = memref.dim %m, %zero : memref<?xf32>
      scf.forall (%i) in (%size) {{
        {body}
      }}
      return
    }}"""


COUNT = kernel("""scf.for %k = %zero to %n step %one {
          %old = memref.load %m[%i] : memref<?xf32>
          %new = math.sqrt %old : f32
          memref.store %new, %m[%i] : memref<?xf32>
        }""")
STORE = kernel("""%value = arith.constant 7.0 : f32
        %place = arith.addi %n, %i : index
        memref.store %value, %m[%place] : memref<?xf32>""")


def engine(text, **options):
    return lumen_mlir.compile(text, TARGET, 1, use_cache=False, **options)


@pytest.fixture(scope="module")
def command():
    return emulation.command_of(
        emulation.build_runner(ROOT, "aarch64", RUNNERS), "aarch64", emulation.EMULATORS["aarch64"].cpus[0]
    )


@pytest.fixture
def says(monkeypatch):
    """What a run with another runner says, given what that one does, in Python."""

    def run(program: str) -> str:
        runner = shlex.join([sys.executable, "-c", f"import os, sys, time, signal\n{program}"])
        monkeypatch.setattr(device, "_others", [])
        monkeypatch.setenv("LUMEN_RUNNER", runner)
        with pytest.raises(LumenError) as error:
            engine(ADD)
        return str(error.value)

    return run


@pytest.mark.parametrize("rows", [0, 1, 2, 40])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_calls(rows, threads):
    compiled = engine(ADD)
    compiled.set_threads(threads)
    x = np.random.default_rng(rows).standard_normal((rows, 64), np.float32)
    np.testing.assert_array_equal(compiled.invoke("f", x, 2 * x), x + 2 * x)


def test_arrays_change_between_runs():
    """Sizes, places in memory and contents; the arrays of other calls stay as they are."""
    compiled = engine(ADD)
    first, other = (
        compiled.bind("f", *(np.full((2, 64), v, np.float32) for v in pair)) for pair in [(1, 2), (3, 4)]
    )
    x = np.zeros((5, 64), np.float32)
    for call in (first, other, first):
        call.run()
    x[:] = 5
    call = compiled.bind("f", x, x)
    call.run()
    x[3] = 6
    call.run()
    assert call.results[0].tolist() == [[12.0 if row == 3 else 10.0] * 64 for row in range(5)]
    whole = np.arange(3 * 64 + 1, dtype=np.float32)
    for begin in (0, 1):
        odd = whole[begin : begin + 2 * 64].reshape(2, 64)
        np.testing.assert_array_equal(compiled.invoke("f", odd, odd), 2 * odd)
    del call
    gc.collect()
    first.run()
    assert first.results[0].max() == 3 and other.results[0].min() == 7


def test_kept_arrays_stay_there():
    """What a call keeps is copied once, and its results are not copied back."""
    compiled = engine(COUNT, form="loops")
    memory = np.ones(4, np.float32)
    call = compiled.bind("f", 1, memory)
    call.keep(1)
    call.run()
    assert memory[0] == 1
    memory[0] = 0.5
    call.run()
    assert memory[0] == 0.5
    # In another call, which keeps nothing, it goes there and comes back.
    fresh = compiled.bind("f", 2, memory)
    fresh.run()
    np.testing.assert_allclose(memory[0], 0.5**0.25, rtol=1e-6)


def test_the_memory_of_the_other_process_ends_where_arrays_do():
    compiled = engine(STORE, form="loops")
    for at_end in (True, False):
        memory = guarded.array((1,), np.float32, at_end=at_end)
        compiled.invoke("f", 0, memory)
        assert memory.tolist() == [7]
    call = compiled.bind("f", 1, guarded.array((1,), np.float32))
    with pytest.raises(LumenError, match=r"^the runner was ended by SIGSEGV: .*Segmentation fault"):
        call.repeat()
    with pytest.raises(LumenError, match=r"^the runner was ended by SIGSEGV"):
        call.repeat()
    # Others have a process of their own.
    engine(STORE, form="loops").invoke("f", 0, memory)


def test_interrupts():
    """Ctrl-C ends a call that takes long, and the process with it."""
    compiled = engine(COUNT, form="loops")
    process = compiled._code._process._process

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            compiled.invoke("f", 2**40, np.ones(1, np.float32))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert process.poll() is not None
    with pytest.raises(LumenError, match="^the runner was stopped amid a call$"):
        compiled.invoke("f", 1, np.ones(1, np.float32))


def test_processes_end_with_engines():
    compiled = engine(ADD)
    process = compiled._code._process._process
    assert process.poll() is None
    del compiled
    gc.collect()
    assert process.poll() == 0


def test_forked_processes_leave_it_alone():
    compiled = engine(ADD)
    x = np.ones((1, 64), np.float32)
    child = os.fork()
    if not child:
        try:
            compiled.invoke("f", x, x)
        except LumenError as error:
            os._exit(0 if "a forked process cannot use code" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert compiled.invoke("f", x, x).max() == 2


def test_kernels_are_not_profiled():
    compiled = engine(ADD, options=CompilerOptions(profile=True))
    with pytest.raises(LumenError, match="^kernels are profiled only where their code runs in this process"):
        _ = compiled.kernel_times


def test_models(monkeypatch, tmp_path, command):
    """``LUMEN_RUNNER`` is all that a model for another target needs."""
    monkeypatch.setattr(device, "_others", [])
    with pytest.raises(LumenError, match=r"^this machine \(\w+\) cannot run code for target"):
        LLM(target=TARGET.name)
    monkeypatch.setenv("LUMEN_RUNNER", shlex.join(command))
    texts = [
        LLM(target=name, context=64, threads=2).generate("이 영화는", 12, temperature=0).text()
        for name in ("native", TARGET.name)
    ]
    assert texts[0] == texts[1] and texts[0]


# --- what is said -----------------------------------------------------------------------------------------


def greeting(version=PROTOCOL_VERSION, text="aarch64 fp-armv8 neon"):
    data = b"LumenRun" + struct.pack("<QQ", version, len(text)) + text.encode()
    return f"os.write(1, {data!r})\n"


def test_other_runners(says, monkeypatch):
    assert says("os.write(1, b'Welcome!')") == "the runner began with 'Welcome!': it is no runner"
    assert says("print('no machine', file=sys.stderr)\nsys.exit(3)") == (
        "the runner ended with status 3: no machine"
    )
    assert says("os.kill(os.getpid(), signal.SIGILL)") == "the runner was ended by SIGILL"
    assert says(greeting(version=77)) == (
        f"the runner has version 77 of the protocol, and this Lumen version {PROTOCOL_VERSION}"
    )
    assert says(greeting(text="riscv64")) == (
        f"the runner (riscv64) cannot run code for target {TARGET.name}: it lacks aarch64"
    )
    assert says(greeting(text="aarch64 fp-armv8")) == (
        f"the runner (aarch64) cannot run code for target {TARGET.name}: it lacks neon"
    )
    answer = """import struct
read = sys.stdin.buffer.read
read(struct.unpack("<QQ", read(16))[1])
os.write(1, (3).to_bytes(8, "little") + b"no\\x1b")
"""
    assert says(greeting() + answer) == "the runner says: no\\x1b"
    monkeypatch.setattr("lumen_mlir.run.runner_process._GREETING_SECONDS", 0.2)
    assert says("time.sleep(60)") == "the runner did not greet in 0.2 seconds"
    monkeypatch.setenv("LUMEN_RUNNER", "no-such-program --x")
    with pytest.raises(LumenError, match="^the runner 'no-such-program' cannot be started: No such file"):
        engine(ADD)
    monkeypatch.setenv("LUMEN_RUNNER", "'qemu")
    with pytest.raises(LumenError, match='^LUMEN_RUNNER is "\'qemu"; expected a command'):
        engine(ADD)


def test_what_the_other_process_cannot_do(command):
    runner = Runner(command)
    with pytest.raises(LumenError, match="^the runner says: .*file too short"):
        runner_code(runner, b"\x7fELF")
    code = runner.load([lumen_mlir_object()], TARGET)
    with pytest.raises(LumenError, match="^the runner says: there is no symbol 'g'"):
        code.lookup("g")
    code = runner.load([lumen_mlir_object()], TARGET)

    class Huge:
        def buffers(self):
            return [Buffer(0, 1 << 62)]

    memory = np.zeros(1, np.uint8)
    with pytest.raises(LumenError, match=f"^the runner says: no memory for {1 << 62} bytes"):
        code.run(code.lookup("lumen_entry_f"), np.array([address_of(memory)], np.uint64), Huge())


def lumen_mlir_object():
    from lumen_mlir import ir
    from lumen_mlir.compiler.driver import Compiler

    with ir.Context():
        return Compiler(TARGET).compile(ir.Module.parse(ADD))


def runner_code(runner, library):
    from lumen_mlir.run.runner import _RemoteCode

    return _RemoteCode(runner.command, library)


def test_missing_programs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        LumenError, match="^no linker for aarch64 was found: install binutils-aarch64-linux-gnu"
    ):
        linking.find_linker("aarch64")
    with pytest.raises(
        LumenError, match=r"^aarch64-linux-gnu-g\+\+ is not installed \(Debian's packages: qemu-"
    ):
        emulation.build_runner(ROOT, "aarch64", tmp_path)
    with pytest.raises(LumenError, match="^qemu-aarch64 is not installed"):
        emulation.command_of(tmp_path, "aarch64")
    with pytest.raises(LumenError, match="^no emulator for z80 is known; there are aarch64"):
        emulation.command_of(tmp_path, "z80")


def test_what_a_linker_and_a_compiler_say(tmp_path):
    with pytest.raises(LumenError, match="failed: .*file format not recogni[sz]ed"):
        linking.link_shared([b"no object"], "aarch64")
    for name in (*emulation._SOURCES, *emulation._HEADERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#error not today\n")
    with pytest.raises(LumenError, match=r"^lumen-runner-\S+ cannot be compiled: .*not today"):
        emulation.build_runner(tmp_path, "aarch64", tmp_path / "build")
    assert not [path for path in (tmp_path / "build").iterdir() if path.is_file()]


def test_cpus_have_what_targets_need():
    """Each target runs on a CPU that has no more than one that runs a lesser target has to."""
    for target in EMULATED:
        runner = DEVICE.runner_for(target)
        assert runner.missing(target) == ()
    least = DEVICE.runner_for(EMULATED[-1])
    assert "dotprod" not in least.features and "dotprod" in DEVICE._runners("aarch64", "max").features
    assert device.of(targets.native()).missing(targets.native()) == ()
    assert DEVICE.missing(targets.native())
