# SPDX-License-Identifier: Apache-2.0
"""Files shipped inside the package: the embedded Korean model (its card is ``lumen-ko-comments-7m.md``).

Here belong files, and where they are. Imports ``errors`` alone.
"""

from __future__ import annotations

from pathlib import Path

from lumen_mlir.errors import LumenError

EMBEDDED_MODEL = "lumen-ko-comments-7m-q8_0.gguf"


def embedded_model_path() -> Path:
    """The path of the embedded model; ``LumenError`` where the installation lacks it."""
    path = Path(__file__).with_name(EMBEDDED_MODEL)
    if not path.is_file():
        raise LumenError(f"{path}: the embedded model is missing from this installation")
    return path
