# SPDX-License-Identifier: Apache-2.0
"""The HTTP server: the APIs of OpenAI, Anthropic, ollama and llama-server over one engine.

It imports ``generate`` and what is below it. Nothing but ``cli`` imports it. The libraries that it needs come
with ``pip install 'lumen-mlir[serve]'``.
"""
