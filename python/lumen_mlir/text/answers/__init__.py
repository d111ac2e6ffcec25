# SPDX-License-Identifier: Apache-2.0
"""How the answers of a model are written: what it thinks, what it says, and which functions it calls.

``probe`` renders made-up conversations. ``reasoning`` and ``derivation`` find in them how a template writes
an answer (``forms``). ``parser`` takes an answer apart as it comes (``reader``: one call), and ``grammar``
says what may be written. ``text.answer_format`` puts these together.
"""
