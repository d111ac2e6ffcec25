# SPDX-License-Identifier: Apache-2.0
"""``LLM`` for programs that use asyncio.

For example::

    async with AsyncLLM("model.gguf") as llm:
        async for piece in llm.generate("오늘 본 영화는"):
            print(piece, end="", flush=True)
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.llm import LLM
from lumen_mlir.generate.prompts import is_list_of_prompts

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lumen_mlir.generate.embeddings import Embeddings
    from lumen_mlir.generate.parameters import Parameters

# Requests for vectors that are computed at a time; others wait their turn.
_EMBEDDERS = 32


class AsyncGeneration(AsyncIterator[str]):
    """A text being written: an asynchronous iterator of its pieces.

    A task that is cancelled while it waits for a piece gives the text up.

    Attributes:
      generation: the same as ``LLM`` has it, with tokens, ``finish_reason`` and so on.
      tokens_read: how many of its tokens the pieces so far came of, those too that are held back.
    """

    def __init__(self, generation: Generation, reader: _Reader):
        self.generation = generation
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        # Each with the number of tokens.
        self._news: asyncio.Queue[tuple[str | BaseException | None, int]] = asyncio.Queue()
        self.tokens_read = 0
        self._begun = self._over = False

    async def __anext__(self) -> str:
        if not self._begun:
            self._begun = True
            self._reader.add(self)
        if self._over:
            raise StopAsyncIteration
        try:
            news, self.tokens_read = await self._news.get()
        except asyncio.CancelledError:
            self.generation.close()
            raise
        if isinstance(news, str):
            return news
        self._over = True
        if news is not None:
            raise news
        raise StopAsyncIteration

    async def text(self) -> str:
        """The rest of the text, all at once."""
        return "".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Gives it up; nothing more comes."""
        self._over = True
        self.generation.close()

    def read(self) -> bool:
        """Hands on what there is without waiting; False where nothing more comes. For the reader's thread."""
        last: BaseException | None = None
        try:
            piece = self.generation.poll()
            ended = self.generation.finish_reason is not None
        except BaseException as error:
            piece, ended, last = "", True, error
        tokens = len(self.generation.tokens)
        try:
            if piece:
                self._loop.call_soon_threadsafe(self._news.put_nowait, (piece, tokens))
            if ended:
                self._loop.call_soon_threadsafe(self._news.put_nowait, (last, tokens))
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            self.generation.close()
            return False
        return not ended


class _Reader:
    """A thread that reads all texts that are being written, as long as there are any."""

    def __init__(self, llm: LLM):
        self._llm = llm
        self._mutex = threading.Lock()
        self._texts: list[AsyncGeneration] = []
        self._thread: threading.Thread | None = None

    def add(self, text: AsyncGeneration) -> None:
        """Reads one more."""
        text.generation.begin()
        with self._mutex:
            self._texts.append(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lumen-reader", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._texts:
                    self._thread = None
                    return
            # Each text says what is wrong with it.
            with suppress(Exception):
                self._llm.wait(lambda: any(text.generation.has_news for text in list(self._texts)))
            for text in list(self._texts):
                if not text.read():
                    with self._mutex:
                        self._texts.remove(text)


class AsyncLLM:
    """``LLM`` whose texts are read with ``async for``. Opening a model takes time: see ``open``.

    Any number of tasks may use one; what they ask for at a time is computed together.

    Attributes:
      llm: the model, whose other methods a thread may use (``asyncio.to_thread``).
    """

    def __init__(self, path: str | os.PathLike[str] | None | LLM = None, **options: Any):
        self.llm = path if isinstance(path, LLM) else LLM(path, **options)
        self._reader = _Reader(self.llm)
        # Each waits for the vectors of one request: threads begin where there are requests.
        self._embedders = ThreadPoolExecutor(_EMBEDDERS, "lumen-embeddings")

    @staticmethod
    async def open(path: str | os.PathLike[str] | None = None, **options: Any) -> AsyncLLM:
        """Opens a model in another thread, with the parameters of ``LLM``."""
        return AsyncLLM(await asyncio.to_thread(LLM, path, **options))

    async def __aenter__(self) -> AsyncLLM:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See ``LLM.close``."""
        await asyncio.to_thread(self.llm.close)
        self._embedders.shutdown(wait=False)

    def generate(
        self, prompt: str | Iterable[int], max_tokens: int | None = 256, **parameters: Unpack[Parameters]
    ) -> AsyncGeneration:
        """See ``LLM.generate``."""
        return self.reading(self.llm.generate(prompt, max_tokens, **parameters))

    async def embed(
        self,
        texts: str | Iterable[int] | Sequence[str | Sequence[int]],
        pooling: str | None = None,
        dimensions: int | None = None,
        **parameters: Any,
    ) -> np.ndarray:
        """See ``LLM.embed``. A task that is cancelled meanwhile gives the texts up."""
        several = is_list_of_prompts(texts)
        given: Any = texts if several else [texts]
        make = partial(self.llm.embeddings, given, pooling, dimensions, **parameters)
        found = await self.vectors(await asyncio.to_thread(make))
        return found if several else found[0]

    async def vectors(self, embeddings: Embeddings) -> np.ndarray:
        """Those of texts that nobody computes yet; see ``embed``."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._embedders, embeddings.vectors)
        except asyncio.CancelledError:
            embeddings.cancel()
            raise

    def reading(self, generation: Generation) -> AsyncGeneration:
        """A text of ``llm`` that nobody has begun to read, to be read by the running loop."""
        return AsyncGeneration(generation, self._reader)

    def chat(
        self, messages: str | Sequence[Mapping[str, Any]], max_tokens: int | None = None, **parameters: Any
    ) -> AsyncGeneration:
        """See ``LLM.chat``."""
        return self.reading(self.llm.chat(messages, max_tokens, **parameters))
