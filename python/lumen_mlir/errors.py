# SPDX-License-Identifier: Apache-2.0
"""Errors a user can meet. Each message is one line that names what was wrong, with the numbers."""


class LumenError(Exception):
    """Base class of every expected failure; the command line prints it as ``lumen: error: MESSAGE``."""
