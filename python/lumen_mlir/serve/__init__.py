# SPDX-License-Identifier: Apache-2.0
"""The HTTP server: the APIs of OpenAI, Anthropic, ollama and llama-server over one engine.

Imports ``generate`` and what stands below it; only ``cli`` imports it. The libraries that it needs come with
``pip install 'lumen-mlir[serve]'``.
"""
