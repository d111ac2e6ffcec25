# SPDX-License-Identifier: Apache-2.0
"""The reference: a NumPy interpreter of the ``lumen`` dialect. Every kernel is tested against it.

Here belongs what ops mean, written as plainly as possible. Imports ``run``, for what a session is asked, and
what stands below it; no compiled code.
"""

from lumen_mlir.reference.interpreter import Interpreter
from lumen_mlir.reference.session import ReferenceSession

__all__ = ["Interpreter", "ReferenceSession"]
