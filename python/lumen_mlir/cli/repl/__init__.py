# SPDX-License-Identifier: Apache-2.0
"""The conversation of ``lumen chat`` on a terminal.

``reader`` and ``toolkit`` give the lines that are typed, ``session`` runs the loop, ``actions`` has the
commands, ``settings`` what they change, ``saved`` the files, and ``display`` shows answers. ``model`` says
what all that needs of a model, and ``local`` gives it. What is said stands in ``generate.conversation``.
"""
