# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, mapped, and kept in caches.

Knows nothing of models. Imports ``env``, ``errors`` and ``support``.
"""
