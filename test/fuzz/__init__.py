# SPDX-License-Identifier: Apache-2.0
"""Tries Lumen with very many inputs: ``python -m fuzz --help`` with ``PYTHONPATH=test``, or ``make fuzz``."""
