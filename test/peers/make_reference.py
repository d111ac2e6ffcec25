# SPDX-License-Identifier: Apache-2.0
"""Makes the files and reference outputs in ``test/data`` that ``make test`` checks against.

    .venv-peers/bin/python test/peers/make_reference.py [--f16 lumen-ko-comments-7m-f16.gguf] [--only PART]

transformers makes two tiny random models and their logits, llama.cpp quantizes them; llama.cpp continues ten
Korean prompts with the embedded model, and so does Lumen's reference interpreter. ``test/data/README.md``
says what each file holds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import peers

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model
from lumen_mlir.quantize import mixtures
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.testing.convert import convert_weights

DATA = Path(__file__).parents[1] / "data"
SEED = 20_241
TOKENS = 40
PROMPTS = [
    "이 영화", "배우들의 연기가", "오랜만에", "스토리가", "감동적인", "처음부터 끝까지", "음악이 정말",
    "보는 내내", "한국 영화 중에서", "주말에 가족과 함께",
]  # fmt: skip
PEER_TOKENS, OWN_TOKENS = 32, 64
PERPLEXITY_CONTEXT, PERPLEXITY_PARTS = 256, 12


def tiny_models() -> None:
    """tiny-*.gguf, tiny-logits.npz and tiny.json."""
    logits, distances = {}, {}
    rng = np.random.default_rng(SEED)
    ids = {shape: rng.integers(0, peers.SHAPES[shape][5], TOKENS) for shape in peers.SHAPES}
    files = {"narrow": ["q8_0", "q4_0"], "wide": ["q4_k_m"]}
    for index, (shape, types) in enumerate(files.items()):
        model = peers.tiny_qwen2(shape, SEED + index)
        with tempfile.TemporaryDirectory() as folder:
            exact = Path(folder) / "f32.gguf"
            peers.write_gguf(exact, model, "f32")
            if shape == "narrow":
                peers.write_gguf(DATA / "tiny-narrow-f16.gguf", model, "f16")
                # All weights are exact in float16: the F32 and the F16 file hold the same model.
                logits["narrow-f16"] = peers.transformers_logits(model, ids[shape])
            for name in types:
                path = DATA / f"tiny-{shape}-{name}.gguf"
                peers.quantize(exact, path, mixtures.file_type(name))
                key = f"{shape}-{name}"
                logits[key] = peers.transformers_logits(peers.transformers_model(path), ids[shape])
                theirs = peers.LlamaCpp(path, 64, kv_type="f32").logits(ids[shape])
                distances[key] = peers.distance(theirs, logits[key])
    np.savez_compressed(DATA / "tiny-logits.npz", **logits)
    entries = {
        "ids": {shape: values.tolist() for shape, values in ids.items()},
        "llama_cpp_distance": distances,
    }
    write_json("tiny.json", entries)


def embedded_model(f16: Path | None) -> None:
    """embedded-greedy.json."""
    with tempfile.TemporaryDirectory() as folder:
        widened = Path(folder) / "f16.gguf"
        convert_weights(GGUFFile.open(embedded_model_path()), widened, "f16")
        files = {"q8_0": embedded_model_path(), "f16-of-q8_0": widened}
        if f16 is not None:
            files["f16"] = f16
        greedy, prompts = {}, None
        for name, path in files.items():
            llama = peers.LlamaCpp(path, 128)
            prompts = [llama.tokenize(text) for text in PROMPTS]
            runs = [llama.greedy(ids, PEER_TOKENS) for ids in prompts]
            greedy[name] = [{"tokens": tokens, "gaps": gaps} for tokens, gaps in runs]
        old = json.loads((DATA / "embedded-greedy.json").read_text()) if f16 is None else None
        if old is not None:
            greedy["f16"] = old["llama_cpp"]["f16"]
        text = np.array([i for ids in prompts for i in ids] + greedy["q8_0"][0]["tokens"])
        llama_logits = peers.LlamaCpp(embedded_model_path(), 128, kv_type="f32").logits(text)
        exact = peers.transformers_logits(peers.transformers_model(embedded_model_path()), text)
    own = {mode: [own_greedy(mode, ids) for ids in prompts] for mode in ("exact", "int8")}
    entries = {"prompts": PROMPTS, "ids": prompts, "llama_cpp": greedy, "reference": own}
    entries["distance"] = {"ids": text.tolist(), "llama_cpp": peers.distance(llama_logits, exact)}
    write_json("embedded-greedy.json", entries)


def perplexity() -> None:
    """embedded-perplexity.json."""
    llama = peers.LlamaCpp(embedded_model_path(), PERPLEXITY_CONTEXT)
    ids = llama.tokenize((DATA / "heldout.txt").read_text(encoding="utf-8"))
    value, error, tokens = llama.perplexity(ids[: PERPLEXITY_CONTEXT * PERPLEXITY_PARTS], PERPLEXITY_CONTEXT)
    numbers = {"context": PERPLEXITY_CONTEXT, "parts": PERPLEXITY_PARTS, "tokens": tokens}
    write_json("embedded-perplexity.json", {**numbers, "value": value, "error": error})


def own_greedy(activations: str, ids: list[int]) -> dict:
    """What the reference interpreter generates from the embedded model."""
    session = ReferenceSession(Model.open(embedded_model_path()), context=128, activations=activations)
    row = session.step(ids, 0, first=len(ids) - 1)[0]
    tokens, gaps = [], []
    while True:
        first, second = np.argsort(-row, kind="stable")[:2]
        tokens.append(int(first))
        gaps.append(round(float(row[first] - row[second]), 5))
        if len(tokens) == OWN_TOKENS:
            return {"tokens": tokens, "gaps": gaps}
        row = session.step([tokens[-1]], len(ids) + len(tokens) - 1)[0]


def write_json(name: str, entries: dict) -> None:
    """Lists of numbers take one line, so that differences can be read."""
    (DATA / name).write_text(_json(entries, "\n") + "\n", encoding="utf-8")


def _json(value: object, newline: str) -> str:
    inner = newline + " "
    if isinstance(value, dict):
        items = [
            f"{json.dumps(key, ensure_ascii=False)}: {_json(item, inner)}" for key, item in value.items()
        ]
        return "{" + inner + ("," + inner).join(items) + newline + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[" + inner + ("," + inner).join(_json(item, inner) for item in value) + newline + "]"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--f16", type=Path, help="the embedded model's F16 file, which is not in the repository"
    )
    parser.add_argument("--only", choices=["tiny", "embedded", "perplexity"])
    arguments = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    if arguments.only in (None, "tiny"):
        tiny_models()
    if arguments.only in (None, "embedded"):
        embedded_model(arguments.f16)
    if arguments.only in (None, "perplexity"):
        perplexity()


if __name__ == "__main__":
    main()
