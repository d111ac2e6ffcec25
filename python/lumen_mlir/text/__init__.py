# SPDX-License-Identifier: Apache-2.0
"""Text and tokens: tokenizers, vocabularies, and chat templates, from messages to text and back.

Reads what ``gguf`` has read. Imports ``gguf``, ``storage`` and ``support``; knows no models.
"""
