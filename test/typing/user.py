# SPDX-License-Identifier: Apache-2.0
"""A program of a user's, for ``mypy --strict`` (``make lint``): it is checked and not run."""

from __future__ import annotations

import sys

import numpy as np

from lumen_mlir import LLM, LumenError, compile, ir


def bar(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done / total:4.0%}", end="", file=sys.stderr)


def main(path: str) -> int:
    try:
        llm = LLM(path, progress=bar, threads=2, context=512)
    except LumenError as error:
        print(error)
        return 1
    generation = llm.generate("Once upon", 16, stop=["\n"], stop_token_ids=[7], logprobs=2, seed=1)
    for piece in generation:
        print(piece.upper(), end="")
    reason: str | None = generation.finish_reason
    by: str | int | None = generation.stopped_by
    for record in generation.logprobs or []:
        likely: dict[str, float] = {other.text: other.logprob for other in record.top}
        print(record.token, record.bytes.hex(), likely, reason, by)
    text: str = llm.chat([{"role": "user", "content": "hello"}], max_tokens=4).text()
    logits: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = llm.logits(llm.tokenize(text))
    print(logits.shape, llm.perplexity("a text").value, llm.sampling.top_k)
    with ir.Context():
        module = ir.Module.parse(str(llm.module))
        names = [str(op.attributes["sym_name"]) for op in module.body.operations]
    engine = compile(str(module), target="x86-64-v3")
    print(names, engine.invoke("name", logits))
    texts: list[str] = llm.generate(["a", "b"], 4, temperature=0).texts()
    with llm.session() as session, session.fork() as other:
        print(texts, session.generate("a").text(), other.chat("b", 4, seed=1).text(), other.ids)
    llm.close()
    # Mistakes are seen: an error that is expected here and does not come is one, too.
    LLM(3)  # type: ignore[arg-type]
    llm.generate("a", logprobs="2")  # type: ignore[call-overload]
    print(generation.tokens + "a")  # type: ignore[operator]
    ir.Module.parse(3)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
