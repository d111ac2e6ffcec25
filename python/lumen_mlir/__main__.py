# SPDX-License-Identifier: Apache-2.0
"""``python -m lumen_mlir`` is the command ``lumen``."""

import sys

from lumen_mlir.cli import main

if __name__ == "__main__":
    sys.exit(main())
