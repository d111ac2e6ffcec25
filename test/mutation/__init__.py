# SPDX-License-Identifier: Apache-2.0
"""Faults that are put into Lumen one at a time, to see that its tests catch each: see ``__main__``."""
