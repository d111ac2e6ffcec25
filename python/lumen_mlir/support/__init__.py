# SPDX-License-Identifier: Apache-2.0
"""Small things that every other package may use: checks of arguments, locks, what the machine has.

Imports ``errors`` alone.
"""
