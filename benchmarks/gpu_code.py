# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's assembler makes of a step, and how long it should take: no GPU is needed.

    pip install nvidia-cuda-nvcc==13.0.88 nvidia-cuda-nvdisasm
    python benchmarks/gpu_code.py [--target sm_90] [--models qwen2.5-0.5b:q8_0,llama-3.1-8b:q4_k_m]

For each model: the registers of a thread, the bytes that products store for want of registers, the least
bytes of weights in flight on a processor (of all its products), how often all threads wait for each other in
a layer, and the time of a token: the limit by memory, and what it is if nothing overlaps.

Bytes in flight are counted in the machine code: what the 16 warps of a processor have asked for, at the most,
between two uses of a weight. The time adds up what is read, at 4.3 TB/s, and what is assumed of each barrier:
1.3 µs for all threads to meet, and twice 0.7 µs until memory answers (activations, then weights).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from lumen_mlir import ir
from lumen_mlir.cli.table import markdown
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.models import Model
from lumen_mlir.testing.synthetic import SHAPES, matrix_type, write_synthetic

MODELS = ("qwen2.5-0.5b:q8_0", "llama-3.1-8b:q4_k_m", "llama-3.1-8b:q8_0")
# Bytes a second that an H200 is assumed to read.
_MEMORY = 4.3e12
_BARRIER, _ANSWER = 1.3e-6, 0.7e-6
_BARRIERS = 5
_WARPS, _LANES = 16, 32
# Of a register: instructions that begin so.
_WRITE_NOTHING = ("ST", "RED", "BRA", "BAR", "EXIT", "RET", "CALL", "ISETP", "FSETP")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--target", default="sm_90")
    add("--models", type=lambda text: text.split(","), default=MODELS, help="SHAPE:FORMAT,…")
    options = parser.parse_args()
    rows = [_row(model, options.target) for model in options.models]
    header = (
        *("model", "registers", "spilled", "KiB in flight", "barriers", "limit µs", "no overlap µs"),
        "tokens/s",
    )
    print(markdown(header, rows, range(1, 8)))


def _row(model: str, target: str) -> tuple[str, ...]:
    name, _, form = model.partition(":")
    shape = SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        # Code is the same for all layers; a layer's weights may have two types.
        write_synthetic(path, shape, form, layers=2)
        with ir.Context():
            module = Model.open(path).module(kv_type="f16", max_tokens=512)
            text = str(Compiler(targets.get(target)).emit(module, "asm"))
        Path(folder, "step.ptx").write_text(text, encoding="utf-8")
        said = _run("ptxas", "-v", f"-arch={target}", f"{folder}/step.ptx", "-o", f"{folder}/step.cubin")
        code = _run("nvdisasm", "-c", f"{folder}/step.cubin")
    registers = max(map(int, re.findall(r"Used (\d+) registers", said)))
    spilled = re.findall(r"Function properties for qlinear\w+\n.* (\d+) bytes spill stores", said)
    flight = min(_in_flight(body) for kernel, body in _functions(code).items() if "qlinear" in kernel)
    read = _bytes(name, form) / _MEMORY
    waits = (shape.layers * _BARRIERS + 1) * (_BARRIER + 2 * _ANSWER)
    return (
        *(model, str(registers), str(max(map(int, spilled))), f"{_WARPS * flight / 1024:.0f}"),
        *(str(_BARRIERS), f"{1e6 * read:.0f}", f"{1e6 * (read + waits):.0f}", f"{1 / (read + waits):,.0f}"),
    )


def _run(program: str, *arguments: str) -> str:
    packaged = Path(sysconfig.get_path("purelib"), "nvidia", "cu13", "bin", program)
    path = str(packaged) if packaged.exists() else shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is not installed: pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} fails: {done.stderr[-1000:]}")
    return done.stdout + done.stderr


def _bytes(name: str, form: str) -> int:
    """What a token reads of the weights."""
    from lumen_mlir.gguf.types import TYPES_BY_NAME
    from lumen_mlir.testing.synthetic import _matrices

    shape, total = SHAPES[name], 0
    for matrix, layer, (*_, rows, columns) in _matrices(shape):
        if matrix == "token_embd" and not shape.tied:
            continue
        kind = TYPES_BY_NAME[matrix_type(matrix, columns, form, layer, shape)]
        total += rows * columns // kind.block * kind.nbytes
    return total


def _functions(code: str) -> dict[str, list[str]]:
    """The instructions of each function, without their predicates."""
    found: dict[str, list[str]] = {}
    body: list[str] = []
    for line in map(str.strip, code.splitlines()):
        if name := re.fullmatch(r"(\$?[\w$]+):", line):
            body = found.setdefault(name[1], [])
        elif instruction := re.match(r"/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?(.*?)\s*;", line):
            body.append(instruction[1])
    return found


def _in_flight(body: list[str]) -> int:
    """The most bytes of weights that a warp waits for.

    Weights are what each lane loads from another place, and what integers are made of.
    """
    events = []
    for begin, end, size, user in _loads(body):
        if re.match(r"IDP|LOP3|SHF|PRMT|IMAD|VIADD|IADD", user):
            events += [(begin, size), (end, -size)]
    most = now = 0
    for _, size in sorted(events):
        now += size
        most = max(most, now)
    return _LANES * most


def _loads(body: list[str]) -> list[tuple[int, int, int, str]]:
    """(where, where it is used first, bytes, by what) of the loads whose address depends on the lane."""
    by_lane: set[str] = set()
    pending: dict[str, tuple[int, int]] = {}
    done = []
    for number, instruction in enumerate(body):
        operation, _, rest = instruction.partition(" ")
        operands = [operand.strip() for operand in rest.split(",")]
        writes = not operation.startswith(
            ("ST", "RED", "BRA", "BAR", "EXIT", "RET", "CALL", "ISETP", "FSETP")
        )
        target = re.match(r"R(\d+)", operands[0]) if writes else None
        sources = re.findall(r"R\d+", ",".join(operands[1:] if target else operands))
        for register in sources:
            if register in pending:
                begin, size = pending.pop(register)
                done.append((begin, number, size, operation))
        if not target:
            continue
        depends = "LANEID" in rest or "SR_TID" in rest or any(each in by_lane for each in sources)
        size = _size(operation)
        for each in range(max(1, size // 4)):
            register = f"R{int(target[1]) + each}"
            pending.pop(register, None)
            (by_lane.add if depends else by_lane.discard)(register)
            if depends and operation.startswith("LDG"):
                pending[register] = (number, min(size, 4))
    return done


def _size(operation: str) -> int:
    """Bytes of what an instruction writes."""
    if wide := re.search(r"\.(64|128)\b", operation):
        return int(wide[1]) // 8
    if ".WIDE" in operation:
        return 8
    narrow = re.search(r"\.[US](8|16)\b", operation)
    return int(narrow[1]) // 8 if narrow and operation.startswith("LD") else 4


if __name__ == "__main__":
    main()
