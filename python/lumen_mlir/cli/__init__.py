# SPDX-License-Identifier: Apache-2.0
"""The command ``lumen``: one module per subcommand, imported when it is called.

Here belongs what a command reads, prints and draws; what it does stands in the other packages. Imports
``aot``, ``measure``, ``serve``, ``generate`` and what stands below them; nothing imports it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    0: done. 1: an expected failure, told in one line on stderr. 2: wrong usage. 130: interrupted.
    141: whoever read the output went away.
    """
    code = 0
    try:
        from lumen_mlir.cli.app import run

        code = run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 141
    except OSError as error:
        # A full disk behind stdout, most often; where stderr is full, too, nothing can be said.
        with contextlib.suppress(OSError):
            if code == 0:
                sys.stderr.write(f"lumen: error: standard output: {error.strerror or error}\n")
        code = code or 1
    with contextlib.suppress(ImportError, KeyboardInterrupt):
        from lumen_mlir.cli.streams import silence

        silence()
    return code
