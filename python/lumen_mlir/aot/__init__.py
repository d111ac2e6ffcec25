# SPDX-License-Identifier: Apache-2.0
"""Compiling ahead of time: a model as a library with a C header, or as a bundle that needs no Python.

Imports ``generate`` and what is below it. ``runtime/embed`` is the other side, in C++: it runs what is
written here.
"""
