# SPDX-License-Identifier: Apache-2.0
"""Helpers for tests and benchmarks; not needed to run a model.

Here belong small models of every kind, random weights, machines in emulators, and what compares one form
with another. Imports ``reference``, ``quantize``, ``text`` and what stands below them; nothing imports it.
"""
