# SPDX-License-Identifier: Apache-2.0
"""``lumen serve`` beside llama-server: many clients at a time, over HTTP.

    python benchmarks/serving.py MODEL.gguf --peer path/to/llama-server
    python benchmarks/serving.py MODEL.gguf --long 8192 --streams 4    # a long prompt comes to 4 texts

Both servers run one after the other, in turns, with the same requests: token ids as prompts, so many tokens,
as streams. Printed are medians over the turns: tokens per second of all streams, the time to the first
token, and the time between tokens (p50, p99). With ``--long`` it is the time between tokens of texts that
are written alone, and while a prompt of so many tokens is read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Ids that every vocabulary has, and that mean nothing special.
_IDS = range(1000, 30_000)


class Failed(Exception):
    """A server answers something else than a text."""


@dataclass
class Result:
    """What one turn gave.

    Attributes:
      tokens: of all streams; seconds: that they took.
      first: seconds to the first token of each request; gaps: between tokens.
    """

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


async def _request(port: int, body: dict, result: Result) -> None:
    """Sends a request, and notes when its tokens come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    start = last = time.perf_counter()
    writer.write(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    came, status = 0, (await reader.readline()).decode()
    if " 200 " not in status:
        raise Failed(f"port {port}: {status.strip()}: {(await reader.read()).decode()[-300:]}")
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise Failed(f"port {port}: {event['error']}")
        if not any(choice["text"] for choice in event["choices"]):
            continue
        now = time.perf_counter()
        (result.gaps if came else result.first).append(now - last)
        last, came = now, came + 1
    writer.close()
    if not came:
        raise Failed(f"port {port}: nothing came within {time.perf_counter() - start:.1f} s")
    result.tokens += body["max_tokens"]


async def _load(port: int, streams: int, requests: int, prompt: int, tokens: int, seed: int) -> Result:
    """``streams`` clients, of which each makes so many requests one after the other."""
    result, chance = Result(), random.Random(seed)
    prompts = [[chance.choices(_IDS, k=prompt) for _ in range(requests)] for _ in range(streams)]

    async def client(own: list[list[int]]) -> None:
        for ids in own:
            body = {"prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
            await _request(port, body, result)

    start = time.perf_counter()
    await asyncio.gather(*map(client, prompts))
    result.seconds = time.perf_counter() - start
    return result


async def _beside(port: int, streams: int, prompt: int, long: int, seed: int) -> Result:
    """The gaps of ``streams`` clients while a prompt of ``long`` tokens is read."""
    result, chance = Result(), random.Random(seed)
    body = {"temperature": 0, "ignore_eos": True, "stream": True}
    writers = [
        asyncio.ensure_future(
            _request(port, {**body, "prompt": chance.choices(_IDS, k=prompt), "max_tokens": long}, result)
        )
        for _ in range(streams)
    ]
    while len(result.first) < streams:
        await asyncio.sleep(0.01)
    result.gaps.clear()
    await _request(port, {**body, "prompt": chance.choices(_IDS, k=long), "max_tokens": 1}, Result())
    gaps = list(result.gaps)
    if any(writer.done() for writer in writers):
        raise Failed(f"texts end before the prompt of {long} tokens is read")
    for writer in writers:
        writer.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    return Result(gaps=gaps)


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            if server.poll() is not None:
                raise SystemExit(f"{command[0]} ended with status {server.returncode}")
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=1) as ask,
            ):
                path = "/ready" if "lumen_mlir" in command else "/health"
                ask.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                if b" 200 " in ask.recv(64):
                    break
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def measure(arguments: argparse.Namespace, peer: bool, streams: int, turn: int) -> list[Result]:
    """One turn of one server; with a long prompt, also what comes beside it."""
    port, prompt, tokens, long = _free_port(), arguments.prompt, arguments.tokens, arguments.long
    room = prompt + tokens + 64 + 2 * long
    slots = streams + bool(long)
    threads = str(arguments.threads)
    if peer:
        command = [arguments.peer, "-m", str(arguments.model), "-c", str(room * slots), "-np", str(slots)]
        command += ["-t", threads, "-tb", threads]
    else:
        command = [sys.executable, "-m", "lumen_mlir", "serve", str(arguments.model), "-c", str(room)]
        command += ["-np", str(slots), "--kv-pool", str((room + 64) * slots), "-t", threads, "-q"]
    with _running([*command, "--port", str(port)], port):
        asyncio.run(_load(port, streams, 1, prompt, 8, 99))  # everything is touched once
        found = [asyncio.run(_load(port, streams, arguments.requests, prompt, tokens, turn))]
        if long:
            found.append(asyncio.run(_beside(port, streams, prompt, long, turn)))
        return found


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--peer", help="llama-server; without it, Lumen is measured alone")
    parser.add_argument("--streams", default="4,8,16", help="clients at a time")
    parser.add_argument("--requests", type=int, default=2, help="of each client")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=96, help="tokens of a text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--long", type=int, default=0, help="tokens of a prompt that comes to the others")
    arguments = parser.parse_args()
    try:
        (stall if arguments.long else throughput)(arguments)
    except Failed as error:
        raise SystemExit(str(error)) from None


def _turns(arguments: argparse.Namespace, streams: int) -> dict[bool, list[list[Result]]]:
    """What each turn gave, by whether it is the peer's; the servers take turns."""
    found: dict[bool, list[list[Result]]] = {False: [], True: []}
    for turn in range(arguments.turns):
        for peer in (False, True) if arguments.peer else (False,):
            found[peer].append(measure(arguments, peer, streams, turn))
    return found


def _name(peer: bool) -> str:
    return "llama-server" if peer else "lumen serve"


def throughput(arguments: argparse.Namespace) -> None:
    """Prints what clients get, for each number of them."""
    print("| streams | server | tokens/s | first token, s | between, p50 ms | p99 ms | ratio (turns) |")
    print("|---|---|---|---|---|---|---|")
    for streams in map(int, arguments.streams.split(",")):
        turns = _turns(arguments, streams)
        found = {peer: [result for (result,) in results] for peer, results in turns.items()}
        for peer, results in found.items():
            if not results:
                continue
            gaps = [gap for each in results for gap in each.gaps]
            first = [value for each in results for value in each.first]
            ratios = [a.rate / b.rate for a, b in zip(found[False], found[True], strict=False)]
            spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios)) if not peer else ""
            print(
                f"| {streams} | {_name(peer)} "
                f"| {statistics.median(each.rate for each in results):.0f} | {statistics.median(first):.2f} "
                f"| {1e3 * _percentile(gaps, 0.5):.1f} | {1e3 * _percentile(gaps, 0.99):.1f} | {spread} |",
                flush=True,
            )


def stall(arguments: argparse.Namespace) -> None:
    """Prints the time between tokens, alone and while a long prompt is read."""
    print("| streams | server | alone, p50 ms | p99 ms | beside, p50 ms | p99 ms | p99 to p99 (turns) |")
    print("|---|---|---|---|---|---|---|")
    for streams in map(int, arguments.streams.split(",")):
        for peer, turns in _turns(arguments, streams).items():
            if not turns:
                continue
            alone, beside = ([gap for turn in turns for gap in turn[place].gaps] for place in (0, 1))
            ratios = [_percentile(b.gaps, 0.99) / _percentile(a.gaps, 0.99) for a, b in turns]
            times = " | ".join(
                f"{1e3 * _percentile(gaps, share):.1f}" for gaps in (alone, beside) for share in (0.5, 0.99)
            )
            spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            print(f"| {streams} | {_name(peer)} | {times} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
