# SPDX-License-Identifier: Apache-2.0
"""llama-server as a peer: the times between tokens of streams while a long prompt is read."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_TEXTS = 4
_SECONDS_ALONE = 8
# Ids that every vocabulary has, and that mean nothing special.
_IDS = range(1000, 30_000)


def stall(program: str, model: Path, prompt: int, long: int, threads: int) -> tuple[list[float], list[float]]:
    """Seconds between tokens of 4 texts alone, and while a prompt of ``long`` tokens is read.

    Where a text waits until the prompt is read, what it waited counts.
    """
    with _running(program, model, prompt + long + 4096, threads) as port:
        arrivals: list[tuple[float, float]] = []
        ended = threading.Event()
        streams = [
            threading.Thread(target=_stream, args=(port, _ids(prompt, seed), arrivals, ended), daemon=True)
            for seed in range(_TEXTS)
        ]
        for stream in streams:
            stream.start()
        while len(arrivals) < 4 * _TEXTS:
            time.sleep(0.1)
        begin = time.perf_counter()
        time.sleep(_SECONDS_ALONE)
        middle = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        _post(connection, {"prompt": _ids(long, 99), "n_predict": 1})
        connection.getresponse().read()
        # The gaps that the prompt made have ended when every text has another token.
        count = len(arrivals)
        while len(arrivals) < count + _TEXTS:
            time.sleep(0.01)
        ended.set()
        alone = [gap for at, gap in arrivals if begin < at < middle]
        return alone, [gap for at, gap in arrivals[: count + _TEXTS] if at > middle]


def _ids(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(_IDS, k=count)


@contextlib.contextmanager
def _running(program: str, model: Path, context: int, threads: int) -> Iterator[int]:
    """The port of a server with room for 5 sequences."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    counts = {"-c": 5 * context, "-np": 5, "-t": threads, "-tb": threads, "--port": port}
    words = [str(word) for pair in counts.items() for word in pair]
    server = subprocess.Popen(
        [program, "-m", str(model), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _is_ready(port):
            if server.poll() is not None:
                raise SystemExit(f"{program} ended with status {server.returncode}")
            time.sleep(0.5)
        yield port
    finally:
        server.terminate()
        server.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def _post(connection: http.client.HTTPConnection, request: dict[str, object]) -> None:
    body = {"temperature": 0, "ignore_eos": True, "cache_prompt": False, **request}
    connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})


def _stream(
    port: int, prompt: list[int], arrivals: list[tuple[float, float]], ended: threading.Event
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    _post(connection, {"prompt": prompt, "n_predict": 4096, "stream": True})
    last = None
    for line in connection.getresponse():
        if line.startswith(b"data:"):
            now = time.perf_counter()
            if last is not None:
                arrivals.append((now, now - last))
            last = now
        if ended.is_set():
            return
