# SPDX-License-Identifier: Apache-2.0
"""What a server does besides answering."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from lumen_mlir.errors import LumenError
from lumen_mlir.serve.server import Server

logger = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """Loads the first model meanwhile, unloads what nobody needs, and all at the end."""
    tasks = [asyncio.ensure_future(_load_first(server)), asyncio.ensure_future(server.catalog.unload_idle())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.catalog.close()
        await asyncio.to_thread(server.traces.close)


async def _load_first(server: Server) -> None:
    # (What is wrong is in the log, and ``/ready`` says it.)
    with contextlib.suppress(LumenError):
        await server.catalog.load(server.catalog.first)
