# SPDX-License-Identifier: Apache-2.0
"""Prints the command that runs code for another architecture in an emulator, for ``LUMEN_RUNNER``.

    export LUMEN_RUNNER="$(python tools/runner.py)"

It compiles the runner first, into build/runner. Options: the architecture, and a CPU of the emulator's.
"""

import argparse
import shlex
import sys
from pathlib import Path

from lumen_mlir.errors import LumenError
from lumen_mlir.testing import emulation

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", nargs="?", default="aarch64", choices=list(emulation.EMULATORS))
    parser.add_argument("--cpu", help="what the emulator is to be, by default the most capable CPU")
    arguments = parser.parse_args()
    try:
        runner = emulation.build_runner(ROOT, arguments.architecture, ROOT / "build" / "runner")
        print(shlex.join(emulation.command_of(runner, arguments.architecture, arguments.cpu)))
    except LumenError as error:
        print(f"tools/runner.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
