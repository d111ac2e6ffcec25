# SPDX-License-Identifier: Apache-2.0
"""The reference: a NumPy interpreter of the ``lumen`` dialect. Every kernel is tested against it."""

from lumen_mlir.reference.interpreter import Interpreter
from lumen_mlir.reference.session import ReferenceSession

__all__ = ["Interpreter", "ReferenceSession"]
