# SPDX-License-Identifier: Apache-2.0
"""A target with an instruction for small matrices, for which it has plain vector arithmetic instead.

So any machine runs its code.
"""

import dataclasses

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Dot

# The shape of smmla, and as many registers as it comes with.
MATRICES = dataclasses.replace(
    targets.get("generic"), name="matrices", vector_registers=32, mma=Dot(2, 2, 8, "si8", "si8"), tokens=2
)
