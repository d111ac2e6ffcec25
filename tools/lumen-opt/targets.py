#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of targets as rows for ``SetTarget.cpp``, which has none of its own.

Its argument is the folder that the package ``lumen_mlir`` lies in.
"""

import sys


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from lumen_mlir.compiler.targets import TARGETS

    for target in TARGETS:
        needs, slow = ",".join(target.needs), ",".join(target.slow_on)
        print(f'TARGET("{target.name}", "{target.triple}", "{needs}", "{slow}", R"({target.attribute()})")')


if __name__ == "__main__":
    main()
