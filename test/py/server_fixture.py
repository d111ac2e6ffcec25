# SPDX-License-Identifier: Apache-2.0
"""A server in a thread of the tests, asked over real sockets."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx

from lumen_mlir import LLM
from lumen_mlir.serve import process
from lumen_mlir.serve.catalog import Catalog
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.settings import ModelName, Settings

LONG = 60.0


class Running:
    """A server that runs.

    Attributes:
      server, port, url: which, and where.
      client: asks it.
    """

    def __init__(self, server: Server):
        self.server = server
        listening = process.bind("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=LONG)
        self._process = process.process_of(server)
        self._thread = threading.Thread(target=self._process.run, args=([listening],))
        self._thread.start()
        self.wait(lambda: self._process.started)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def events(self, path: str, body: Any) -> list[Any]:
        """The data of a stream of events; "[DONE]" at the end is left out."""
        with self.client.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]

    def text(self, prompt: str, **options: Any) -> str:
        """What is written behind ``prompt``."""
        answer = self.post("/v1/completions", {"prompt": prompt, "temperature": 0, **options})
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["text"]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the values of a metric."""
        lines = self.get("/metrics").text.splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            line for line in lines if line.partition("{")[0] == name and all(each in line for each in wanted)
        ]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    @staticmethod
    def wait(condition: Any, seconds: float = LONG) -> None:
        """Waits for a condition."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.01)

    def begin_stop(self) -> None:
        """Tells it to stop."""
        self._process._loop.call_soon_threadsafe(self._process.stop)

    def stop(self) -> None:
        """Stops it, and waits."""
        self.client.close()
        if self._thread.is_alive():
            self.begin_stop()
            self._thread.join(LONG)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(*models: str | None, options: dict[str, Any] | None = None, **settings: Any) -> Iterator[Running]:
    """A server of models (the one that comes with Lumen); ``options`` are those of ``LLM``."""
    chosen = Settings(**{"grace": 5.0, **settings})
    catalog = Catalog(
        ModelName.parse_all(models),
        lambda source: LLM(source, **(options or {})),
        idle=chosen.idle,
        most=chosen.max_models,
        any_name=chosen.any_name,
    )
    running = Running(Server(chosen, catalog))
    try:
        Running.wait(lambda: catalog.first.state in ("loaded", "failed"))
        yield running
    finally:
        running.stop()
