# SPDX-License-Identifier: Apache-2.0
"""Models by name: ``hf:USER/REPO:QUANT``, downloaded from the Hugging Face Hub and kept in its cache.

Here belongs what names mean, which files of a repository are a model, and how they come to this machine,
are listed and removed. Requests are made by ``huggingface_hub``, which is imported only for a download.
Imports ``gguf``, ``hf``, ``models``, ``storage`` and what stands below them.
"""
