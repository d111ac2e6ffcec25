# SPDX-License-Identifier: Apache-2.0
"""Models of a running server, for ``--server URL``: any that speaks OpenAI's API.

``address`` says where it is, ``client`` asks it, ``events`` reads what it streams and ``body`` writes what is
asked. ``model`` and ``answer`` are for chats, ``batch`` for files of requests, and ``options`` for the
command line.
"""
