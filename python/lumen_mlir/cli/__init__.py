# SPDX-License-Identifier: Apache-2.0
"""The command ``lumen``: one module per subcommand, imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    0: done. 1: an expected failure, told in one line on stderr. 2: wrong usage. 130: interrupted.
    141: whoever read the output went away.
    """
    try:
        from lumen_mlir.cli.app import run

        code = run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Python flushes stdout once more when it ends; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    return code
