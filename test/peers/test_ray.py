# SPDX-License-Identifier: Apache-2.0
"""``examples/ray`` on a cluster of two nodes of one core: the texts of one process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Before Ray is imported: nothing is written at home, and nobody is told of it.
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
ray = pytest.importorskip("ray")
from ray import cluster_utils  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "ray"))
import pipeline  # noqa: E402

from lumen_mlir import LLM  # noqa: E402
from lumen_mlir.data import embedded_model_path  # noqa: E402
from lumen_mlir.errors import LumenError  # noqa: E402
from lumen_mlir.generate.sampling import Sampler  # noqa: E402
from lumen_mlir.run.session_options import SessionOptions  # noqa: E402

CONTEXT, TOKENS = 128, 24
CHOSEN = {"temperature": 1.2, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.1, "seed": 5}
PROMPTS = ["오늘 본 영화는", "이 영화는 정말", "배우들의 연기가", "가", [7, 8, 9] * 20, "결말이"]


@pytest.fixture(scope="module")
def cluster():
    # Workers cannot import the example by its name.
    ray.cloudpickle.register_pickle_by_value(pipeline)
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    ray.init(address=made.address)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def path():
    return str(embedded_model_path())


@pytest.fixture(scope="module")
def expected(path):
    """The tokens of each prompt, without the end token."""
    with LLM(path, context=CONTEXT, threads=1) as llm:
        found = []
        for prompt in PROMPTS:
            generation = llm.generate(prompt, TOKENS, **CHOSEN)
            generation.text()
            found.append([token for token in generation.tokens if token not in llm.tokenizer.end_tokens])
        return found


@pytest.mark.parametrize("stages", [2, 3])
def test_a_pipeline_writes_what_one_process_writes(cluster, path, expected, stages):
    """Prompts in pieces, more texts than places, in more groups than one."""
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    # A third stage takes no core of its own.
    resources = [{"num_cpus": 1}, {"num_cpus": 1}, {"num_cpus": 0}][:stages]
    options = SessionOptions(context=CONTEXT, threads=1, chunk=16)
    made = pipeline.Pipeline(path, stages, options, texts=4, groups=2, resources=resources)
    assert [begin for begin, _ in made.layers][1:] == [end for _, end in made.layers][:-1]
    nodes = {ray.get(actor.node.remote()) for actor in made.actors}
    assert len(nodes) == 2
    assert made.write(PROMPTS, TOKENS, lambda: Sampler(**CHOSEN)) == expected
    # Sequences are used again.
    assert made.write(PROMPTS[:2], TOKENS, lambda: Sampler(**CHOSEN)) == expected[:2]
    for wrong in ([[]], [[5] * CONTEXT]):
        with pytest.raises(LumenError, match="prompt 0 has"):
            made.write(wrong, 1)
    for actor in made.actors:
        ray.kill(actor)


def test_a_step_has_room_for_all_texts(path):
    with pytest.raises(LumenError, match="too little room for 9 texts"):
        pipeline.Pipeline(path, 2, SessionOptions(context=CONTEXT, chunk=4), texts=9, groups=2)
