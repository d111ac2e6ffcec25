# SPDX-License-Identifier: Apache-2.0
"""Measurements: of models and kernels, of the machine's limits, and pictures of both.

Imports ``generate`` and what stands below it.
"""
