# SPDX-License-Identifier: Apache-2.0
"""Quantizing whole models: which tensor gets which format, and by which statistics.

What one format does with one row is in ``formats``. Imports ``gguf`` and what stands below it.
"""
