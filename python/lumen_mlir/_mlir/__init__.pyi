# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

from lumen_mlir._mlir import codegen as codegen
from lumen_mlir._mlir import ir as ir
from lumen_mlir._mlir import layout as layout
from lumen_mlir._mlir import memory as memory
from lumen_mlir._mlir import opt as opt
from lumen_mlir._mlir import passmanager as passmanager
from lumen_mlir._mlir import sampling as sampling
from lumen_mlir._mlir import team as team
