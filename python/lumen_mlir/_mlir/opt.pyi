# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

from collections.abc import Sequence

def main(arguments: Sequence[bytes]) -> int: ...
