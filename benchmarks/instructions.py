# SPDX-License-Identifier: Apache-2.0
"""What vector instructions cost beside dot products: loops of assembly on registers, which clang builds.

    python benchmarks/instructions.py [--compiler clang-22]

The first table is a loop of nothing but ``vpdpbusd`` on 1 to 16 sums, which shows how many it takes to keep
the core busy. The second is a loop of 16 of them on as many sums, with 4, 8 or 16 other instructions in
between. A cycle is taken to be what two products on 16 sums need, which is true of cores that start two in
one. Times are the process's CPU time, the least of several runs, so that other work on the machine counts
less. Needs AVX-512 VNNI.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from lumen_mlir.compiler import targets

ROUNDS, RUNS = 20_000_000, 5
SUMS = (1, 2, 4, 6, 8, 10, 12, 16)
OTHERS = (4, 8, 16)
DOTS = 16
# Destinations of other instructions are %zmm16 to %zmm28; %zmm30 and %zmm31 are never written.
INSTRUCTIONS = (
    "vcvtdq2ps %zmm30", "vpaddd %zmm31, %zmm30", "vpslld $16, %zmm30", "vpblendmw %zmm31, %zmm30",
    "vpshufb %zmm31, %zmm30", "vpmovzxbd %xmm30", "vpackssdw %zmm31, %zmm30", "vpermt2w %zmm31, %zmm30",
    "vfmadd231ps %zmm31, %zmm30", "vpmulld %zmm31, %zmm30", "vpdpwssd %zmm31, %zmm30",
    "vpmaddwd %zmm31, %zmm30", "vpmaddubsw %zmm31, %zmm30",
)  # fmt: skip

_TIMER = """
#include <stdio.h>
#include <time.h>
void loop(void);
int main(void) {
  struct timespec begin, end;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
  loop();
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
  printf("%.9f", end.tv_sec - begin.tv_sec + 1e-9 * (end.tv_nsec - begin.tv_nsec));
}
"""


def seconds(body: list[str], compiler: str, folder: Path) -> float:
    """Seconds that one round of a loop of these instructions takes."""
    lines = [
        ".globl loop", "loop:", "vpxord %zmm30, %zmm30, %zmm30", "vpxord %zmm31, %zmm31, %zmm31",
        f"mov ${ROUNDS}, %ecx", ".p2align 6", "1:", *body, "dec %ecx", "jnz 1b", "vzeroupper", "ret",
        '.section .note.GNU-stack, "", @progbits', "",
    ]  # fmt: skip
    (folder / "loop.s").write_text("\n".join(lines))
    (folder / "timer.c").write_text(_TIMER)
    subprocess.run([compiler, "-O2", "loop.s", "timer.c", "-o", "loop"], cwd=folder, check=True)
    runs = (subprocess.run([folder / "loop"], capture_output=True, check=True) for _ in range(RUNS))
    return min(float(run.stdout) for run in runs) / ROUNDS


def products(count: int, sums: int) -> list[str]:
    return [f"vpdpbusd %zmm31, %zmm30, %zmm{number % sums}" for number in range(count)]


def mixed(instruction: str, count: int) -> list[str]:
    """``DOTS`` products with ``count`` times the instruction, spread evenly."""
    body: list[str] = []
    for number, product in enumerate(products(DOTS, DOTS)):
        body.append(product)
        for other in range(count * number // DOTS, count * (number + 1) // DOTS):
            body.append(f"{instruction}, %zmm{16 + other % 13}")
    return body


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compiler", default="clang-22", help="builds assembly and C (default: %(default)s)")
    options = parser.parse_args()
    missing = targets.get("x86-64-v4+vnni").missing()
    if missing:
        sys.exit(f"this CPU lacks {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:

        def measure(body: list[str]) -> float:
            return seconds(body, options.compiler, Path(name))

        cycle = measure(products(48, DOTS)) / 24
        print("| sums | products a cycle |\n|---:|---:|")
        for sums in SUMS:
            print(f"| {sums} | {48 * cycle / measure(products(48, sums)):.2f} |", flush=True)
        print("\n| n others | " + " | ".join(map(str, OTHERS)) + " |\n|---|" + "---:|" * len(OTHERS))
        for instruction in INSTRUCTIONS:
            cycles = (measure(mixed(instruction, count)) / cycle for count in OTHERS)
            print(
                f"| `{instruction.split()[0]}` | " + " | ".join(f"{c:.1f}" for c in cycles) + " |", flush=True
            )


if __name__ == "__main__":
    main()
