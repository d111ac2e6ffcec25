# SPDX-License-Identifier: Apache-2.0
"""Builders of operations over ``lumen_mlir.ir``, one module per dialect.

Here belongs what writes IR, op by op, and nothing that knows models. Imports ``formats`` and ``ir``.
"""
