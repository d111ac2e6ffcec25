# SPDX-License-Identifier: Apache-2.0
"""Looks for inputs of the readers that reach new code, and keeps them: ``python -m fuzz.coverage``.

GGUF headers, ``config.json`` and headers of safetensors are changed for as long as they are let, guided by
the coverage of ``lumen_mlir.gguf``, ``lumen_mlir.hf`` and ``lumen_mlir.models``. What reaches new code is
kept in ``build/fuzz/corpus``; it begins with that and with ``test/fuzz/corpus``. An input that ends in a
foreign exception ends the run too, and stands in ``build/fuzz``. Options are those of libFuzzer, such as
``-max_total_time=600``; ``-merge=1 test/fuzz/corpus build/fuzz/corpus`` keeps the best of what was found.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

_FOUND = Path("build/fuzz/corpus")
# Longer ones are slower to read and reach nothing more.
_MOST_BYTES = 16 << 10


def main() -> int:
    if atheris is None:
        print("skipped: the package 'atheris' is not installed (pip install atheris)", file=sys.stderr)
        return 0
    with atheris.instrument_imports(include=["lumen_mlir.gguf", "lumen_mlir.hf", "lumen_mlir.models"]):
        from fuzz import folder_files, gguf_files
        from fuzz.kinds import gguf_headers
        from fuzz.strict import unguarded
        from lumen_mlir.errors import LumenError
        from lumen_mlir.hf import HFFolder
        from lumen_mlir.hf.safetensors import SafetensorsFile
        from lumen_mlir.models import Model

    folder = Path(tempfile.mkdtemp(prefix="lumen-fuzz-coverage-"))
    headers = gguf_files.samples(folder)
    sample = folder_files.samples(folder)[0]
    model = folder / "model"
    model.mkdir()
    for name, data in sample.files.items():
        (model / name).write_bytes(data)

    def attempt(data: bytes) -> None:
        try:
            if data[:4] == b"GGUF":
                with gguf_files.in_memory(*gguf_files.with_data(data)) as path:
                    gguf_headers.look(path, tokens=False)
            elif data[:1] == b"{":
                (model / "config.json").write_bytes(data)
                with unguarded():
                    Model.open(HFFolder.open(model))
            else:
                with gguf_files.in_memory(data, len(data)) as path, unguarded():
                    SafetensorsFile(str(path))
        except LumenError:
            pass

    def changed(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if data[:4] == b"GGUF" and rng.random() < 0.5:
            return gguf_files.changed(rng.choice(headers), rng)[0][:most]
        return atheris.Mutate(data, most)

    _FOUND.mkdir(parents=True, exist_ok=True)
    given = sys.argv[1:]
    if not any(not argument.startswith("-") for argument in given):
        given += [str(_FOUND), str(gguf_files.CORPUS)]
    try:
        atheris.Setup(
            [sys.argv[0], f"-max_len={_MOST_BYTES}", f"-artifact_prefix={_FOUND.parent}/", *given],
            attempt,
            custom_mutator=changed,
        )
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
