# SPDX-License-Identifier: Apache-2.0
"""Lumen: an MLIR-based compiler and runtime for quantized language models."""
