# SPDX-License-Identifier: Apache-2.0
"""Running compiled code: devices, the engine, a model's session, its packed weights, its memory.

Imports ``compiler``, ``models`` and what stands below them; knows no text.
"""
