#!python
# SPDX-License-Identifier: Apache-2.0
"""The program ``lumen-opt`` of wheels: MLIR is a part of the extension there, and is not shipped twice."""

import os
import signal
import sys

# As of a program without Python: no traceback when it is interrupted or its reader goes away.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)

from lumen_mlir._mlir import opt  # noqa: E402

sys.exit(opt.main([os.fsencode(argument) for argument in sys.argv]))
