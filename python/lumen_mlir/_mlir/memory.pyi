# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

from typing import Annotated

import numpy
from numpy.typing import NDArray

class Checksum:
    def __init__(self) -> None: ...
    def update(
        self,
        data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ) -> None: ...
    @property
    def value(self) -> int: ...

class FileGuard:
    def __init__(
        self,
        mapping: Annotated[
            NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)
        ],
    ) -> None: ...
    @property
    def lost(self) -> bool: ...
    def release(self) -> None: ...
