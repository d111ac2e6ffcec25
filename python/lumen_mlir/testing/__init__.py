# SPDX-License-Identifier: Apache-2.0
"""Helpers for tests and benchmarks; not needed to run a model."""
