# SPDX-License-Identifier: Apache-2.0
"""``examples/ray`` on a cluster of two nodes of one core: the texts of one process."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path

import pytest

# Before Ray is imported: nothing is written at home, and nobody is told of it.
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
ray = pytest.importorskip("ray")
import httpx  # noqa: E402
from ray import cluster_utils, serve  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "ray"))
import pipeline  # noqa: E402
import prefix_router  # noqa: E402
import replicas  # noqa: E402

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
    # Workers cannot import the examples by their names.
    for module in (pipeline, prefix_router, replicas):
        ray.cloudpickle.register_pickle_by_value(module)
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


@pytest.fixture(scope="module")
def url(cluster, path):
    """Two replicas, each on a node of its own."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    options = {"context": 1024}
    serve.run(
        replicas.application([path], 2, options, {"api_keys": ("key",)}), name="lumen", route_prefix="/"
    )
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_replicas_answer_like_a_server(url, path):
    with LLM(path, context=CONTEXT, threads=1) as llm:
        text = llm.generate(PROMPTS[0], TOKENS, temperature=0).text()
    body = {"prompt": PROMPTS[0], "max_tokens": TOKENS, "temperature": 0}
    with httpx.Client(base_url=url, timeout=120, headers={"Authorization": "Bearer key"}) as client:
        found = [client.post("/v1/completions", json=body) for _ in range(4)]
        assert {answer.json()["choices"][0]["text"] for answer in found} == {text}
        with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert [line for line in stream.iter_lines() if line][-1] == "data: [DONE]"
        # One that begins like another goes where that went, and nothing of what is known is computed.
        long = {**body, "prompt": "영화 " * 90, "max_tokens": 1}
        first = client.post("/v1/completions", json=long)
        for _ in range(3):
            again = client.post("/v1/completions", json={**long, "prompt": "영화 " * 95})
            assert again.headers["x-replica"] == first.headers["x-replica"]
            assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64
        wrong = client.post("/v1/completions", json={"prompt": 3})
        assert wrong.status_code == 400 and wrong.json()["error"]["type"] == "invalid_request_error"
        assert client.post("/v1/chat/completions", content=b"{").status_code == 400
        assert client.get("/v1/models").json()["data"][0]["id"] == "lumen-ko-comments-7m-q8_0"
        assert client.get("/nothing").status_code == 404
        assert client.post("/v1/completions", json=body, headers={"Authorization": ""}).status_code == 401


def test_a_client_that_goes_gives_its_text_up(url):
    body = {"prompt": PROMPTS[0], "max_tokens": 900, "ignore_eos": True, "stream": True}

    def metric(name: str) -> float:
        # Where all replicas are idle, the first one answers.
        answer = client.get("/metrics")
        assert answer.headers["x-replica"] == "0"
        lines = [line for line in answer.text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    with httpx.Client(base_url=url, timeout=120, headers={"Authorization": "Bearer key"}) as client:
        before = metric("vllm:generation_tokens_total")
        with client.stream("POST", "/v1/completions", json=body) as stream:
            assert stream.headers["x-replica"] == "0" and next(stream.iter_lines())
        end = time.monotonic() + 60
        while metric('vllm:request_success_total{finished_reason="abort"') == 0:
            assert time.monotonic() < end, "the text goes on"
            time.sleep(0.1)
        assert metric("vllm:generation_tokens_total") - before < 900


def test_the_router():
    router = prefix_router.PrefixRouter(3, most_ahead=2)
    texts = [letter * 1000 for letter in "abc"]
    # The least busy one, then where a text that begins alike went.
    assert [router.begin(text) for text in texts] == [0, 1, 2]
    assert [router.begin(text[:700] + "?" * 300) for text in texts] == [0, 1, 2]
    router.end(2), router.end(2)
    assert router.begin("a" * 100) == 2, "less than a block is known nowhere"
    # Where too much is to be done, another one gets it, and what follows.
    router.open = [3, 0, 1]
    assert router.begin(texts[0]) == 1 and router.begin(texts[0]) == 1
    assert router.open == [3, 2, 1]


def test_prompts_of_requests():
    turns = [{"role": "user", "content": "x" * 300}, {"role": "assistant", "content": "y"}]
    one, two = (
        prefix_router.prompt_of(ray_json({"messages": turns[:count], "model": "m"})) for count in (1, 2)
    )
    assert two.startswith(one) and len(one) > 300
    assert prefix_router.prompt_of(ray_json({"prompt": "abc"})) != prefix_router.prompt_of(b"{}") == ""
    for odd in (b"", b"[1]", b"\xff", b"[" * 100_000, ray_json({"input": 3, "messages": []})):
        assert isinstance(prefix_router.prompt_of(odd), str)


def ray_json(value) -> bytes:
    return httpx.Request("POST", "http://x", json=value).content
