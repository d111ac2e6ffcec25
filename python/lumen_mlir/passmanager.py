# SPDX-License-Identifier: Apache-2.0
"""Pass pipelines from Python, under the names of MLIR's own bindings (``mlir.passmanager``)."""

from lumen_mlir._mlir.passmanager import PassManager

__all__ = ["PassManager"]
