# SPDX-License-Identifier: Apache-2.0
"""Makes ``test/data/families``: what transformers (or llama.cpp) computes of the tiny models of every family.

    .venv-peers/bin/python test/peers/make_families.py [NAME...]

The weights are those of ``lumen_mlir.testing.families``; the files hold only logits, float32
[60, vocabulary], of the prompt ``families.tokens()``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from lumen_mlir.testing.families import FAMILIES, Family

DATA = Path(__file__).parents[1] / "data" / "families"


def expected_logits(family: Family) -> np.ndarray:
    """float32 [60, vocabulary]."""
    import family_peers

    if family.hf_class:
        return family_peers.transformers_logits(family)
    # llama.cpp wants a file with a tokenizer, and so a larger vocabulary.
    with tempfile.TemporaryDirectory() as folder:
        return family_peers.llama_cpp_logits(family, Path(folder) / "model.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAMILIES)}; default: all")
    DATA.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names or FAMILIES:
        logits = expected_logits(FAMILIES[name])
        print(f"{name}: {logits.shape}, standard deviation {logits.std():.3f}")
        np.savez_compressed(DATA / f"{name}.npz", logits=logits.astype(np.float32))


if __name__ == "__main__":
    main()
