# SPDX-License-Identifier: Apache-2.0
"""The server under load: many connections, and hours' worth of requests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

from lumen_mlir import LLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
from server_fixture import serving  # noqa: E402

CONNECTIONS = 1000
PROMPTS = [f"{number}번째로 본 영화는" for number in range(16)]
# What a busy hour brings, compressed: so many seconds of requests without a pause.
SOAK_SECONDS = int(os.environ.get("LUMEN_SOAK_SECONDS", "120"))


async def ask(port: int, body: dict, give_up: float | None = None) -> tuple[int, dict, bytes]:
    """Status, headers and body of a completion; a client may close amid it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = json.dumps(body).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        writer.write(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        if give_up is not None:
            await asyncio.sleep(give_up)
            return 0, {}, b""
        answer = await reader.read()
        top, _, rest = answer.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split()[1]), headers, rest
    finally:
        writer.close()


def test_a_thousand_connections():
    """Everyone is answered, with the right text, or refused and told when to come again."""
    with LLM(context=512) as llm:
        texts = {prompt: llm.generate(prompt, 8, temperature=0).text() for prompt in PROMPTS}

    async def run(port: int) -> list:
        bodies = [{"prompt": PROMPTS[i % 16], "max_tokens": 8, "temperature": 0} for i in range(CONNECTIONS)]
        return await asyncio.gather(*[ask(port, body) for body in bodies], return_exceptions=True)

    with serving(options={"context": 512, "kv_pool": 4096}, max_requests=200, max_connections=900) as server:
        answers = asyncio.run(run(server.port))
        assert server.metric("vllm:num_requests_running") == 0
    right = 0
    for number, answer in enumerate(answers):
        assert not isinstance(answer, BaseException), answer
        status, headers, body = answer
        assert status in (200, 429, 503), (status, body)
        if status == 200:
            right += 1
            assert json.loads(body)["choices"][0]["text"] == texts[PROMPTS[number % 16]]
        else:
            assert int(headers["retry-after"]) >= 1
    assert right >= 200


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_soak():
    """Short and long requests, streams, wrong ones, clients that go, without a pause: nothing is left."""

    async def client(port: int, seed: int, end: float, done: list[int]) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            body = {
                "prompt": chance.choice(PROMPTS) * chance.randint(1, 12),
                "max_tokens": chance.randint(1, 60),
            }
            body |= {"stream": chance.random() < 0.5, "seed": chance.randint(0, 99)}
            if chance.random() < 0.1:
                body["temperature"] = -1
            give_up = chance.random() * 0.1 if chance.random() < 0.15 else None
            status, _, _ = await ask(port, body, give_up)
            assert status in (0, 200, 400), status
            done.append(status)

    async def run(port: int, seconds: float) -> list[int]:
        done: list[int] = []
        end = time.monotonic() + seconds
        await asyncio.gather(*[client(port, seed, end, done) for seed in range(12)])
        return done

    with serving(options={"context": 1024, "kv_pool": 4096}) as server:
        asyncio.run(run(server.port, SOAK_SECONDS / 4))
        before = _resident()
        done = asyncio.run(run(server.port, SOAK_SECONDS))
        server.wait(lambda: server.metric("vllm:num_requests_running") == 0, seconds=5)
        grown = _resident() - before
        print(f"{len(done):,} requests, {grown / 1e6:+.1f} MB")
        assert len(done) > 200 and grown < 16 << 20
        assert server.server.metrics.open_requests == 0
