# SPDX-License-Identifier: Apache-2.0
"""Models by name: ``hf:USER/REPO:QUANT``, downloaded from the Hugging Face Hub and kept in its cache.

Here belongs what names mean, which files of a repository are a model, and how they come to this machine,
are listed and removed. Requests are made by ``huggingface_hub``, which is imported only for a download.
Imports ``gguf``, ``hf``, ``models``, ``storage`` and what stands below them.
"""

from __future__ import annotations

# One of these is in every name.
_MARKS = (":", "hf.co/", "huggingface.co/")


def is_hub_name(text: object) -> bool:
    """Whether ``text`` is meant as a name of the hub. What exists as a path is a path."""
    if not isinstance(text, str) or not any(mark in text.lower() for mark in _MARKS):
        return False
    # Imported here because most models are paths, and their starts are to be quick.
    from lumen_mlir.hub.names import is_name

    return is_name(text)
