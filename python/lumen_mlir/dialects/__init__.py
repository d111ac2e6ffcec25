# SPDX-License-Identifier: Apache-2.0
"""Builders of operations over ``lumen_mlir.ir``, one module per dialect."""
