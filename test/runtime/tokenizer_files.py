# SPDX-License-Identifier: Apache-2.0
"""Writes tokenizer files of several kinds for ``tokenizer-fuzz``: ``python tokenizer_files.py FOLDER``.

Needs the folders ``test`` and ``test/py`` on the path.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fuzz.tokenizer_kinds import KINDS, write_folder
from vocabularies import open_vocabulary

from lumen_mlir.text import tokenizer_file
from lumen_mlir.text.chat_turn import ChatTurn
from lumen_mlir.text.tokenizer import Tokenizer

# Each has steps, or data, that the others have not.
_NAMES = (
    "qwen2",
    "gpt-4o",
    "falcon",
    "exaone-moe",
    "deepseek-llm",
    "inverted",
    "legacy",
    "metaspace-first-split",
)

_TURN = ChatTurn("<|im_start|>", "user\n", "", "<|im_end|>\n", strips=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: write_folder(Path(scratch) / name, KINDS[name]()) for name in _NAMES}
        for name, file in [
            *files.items(),
            ("sentence-piece", open_vocabulary("vocab-llama-spm", Path(scratch))),
        ]:
            with open(folder / f"{name}.bin", "wb") as stream:
                tokenizer_file.write(Tokenizer.from_gguf(file), stream, _TURN)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
