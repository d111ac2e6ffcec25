# SPDX-License-Identifier: Apache-2.0
"""Text and tokens: tokenizers, vocabularies, and the chat templates that turn messages into text.

Reads what ``gguf`` has read. Imports ``gguf``, ``storage`` and ``support``; knows no models.
"""
