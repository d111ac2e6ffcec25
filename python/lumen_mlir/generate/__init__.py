# SPDX-License-Identifier: Apache-2.0
"""Text in, text out: ``LLM`` and what it needs to open a model, to sample and to go on.

Imports ``data``, ``grammar``, ``hf``, ``hub``, ``reference`` and what stands below them.
"""
