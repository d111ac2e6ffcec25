# SPDX-License-Identifier: Apache-2.0
"""What all requests of a server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from lumen_mlir.serve.catalog import Catalog
from lumen_mlir.serve.metrics import Metrics
from lumen_mlir.serve.response_store import ResponseStore
from lumen_mlir.serve.settings import Settings
from lumen_mlir.serve.traces import NoTraces, Traces


@dataclass
class Server:
    """A server.

    Attributes:
      settings: how it is run.
      catalog: its models.
      metrics: of its requests.
      responses: that it keeps.
      traces: of its requests.
      stopping: set once it is told to stop; requests that come then are refused.
      cut: set when answers that are not done have to end.
    """

    settings: Settings
    catalog: Catalog
    metrics: Metrics = field(default_factory=Metrics)
    responses: ResponseStore = field(default_factory=ResponseStore)
    traces: Traces | NoTraces = field(default_factory=NoTraces)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.metrics.add_models(lambda: self.catalog.loaded)

    @staticmethod
    def of(connection: HTTPConnection) -> Server:
        """That of a request."""
        server: Server = connection.app.state.server
        return server
