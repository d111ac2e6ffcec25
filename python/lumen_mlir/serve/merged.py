# SPDX-License-Identifier: Apache-2.0
"""The texts of several prompts in one answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any

from lumen_mlir.serve.completion import Completion
from lumen_mlir.serve.events import Event, Progress, Text
from lumen_mlir.serve.usage import usage


class Merged:
    """``completions``, whose texts are numbered one after the other.

    Attributes:
      count: of texts.
      first: of the completions.
    """

    def __init__(self, completions: Sequence[Completion]):
        self._completions = list(completions)
        self.first = self._completions[0]
        self._begins = [0]
        for completion in self._completions:
            self._begins.append(self._begins[-1] + completion.count)
        self.count = self._begins.pop()

    def completion_of(self, number: int) -> Completion:
        """The one that a text belongs to."""
        return next(
            completion
            for begin, completion in zip(reversed(self._begins), reversed(self._completions), strict=True)
            if number >= begin
        )

    async def events(self, progress: bool = False) -> AsyncIterator[Event]:
        """See ``Completion.events``; progress is told of a single prompt only."""
        if len(self._completions) == 1:
            async for event in self.first.events(progress):
                yield event
            return
        news: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        tasks = [
            asyncio.create_task(_pump(completion, begin, news))
            for completion, begin in zip(self._completions, self._begins, strict=True)
        ]
        try:
            left = len(tasks)
            while left:
                found = await news.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    left -= 1
                else:
                    yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def texts(self) -> list[Text]:
        """All texts, once they are done."""
        found = await _all([completion.texts() for completion in self._completions])
        return [text for texts in found for text in texts]

    def usage(self) -> dict[str, Any]:
        """Of all together."""
        total: dict[str, Any] = {}
        for completion in self._completions:
            _add(total, usage(completion))
        return total


async def _pump(completion: Completion, begin: int, news: asyncio.Queue) -> None:
    try:
        async for event in completion.events():
            if not isinstance(event, Progress):
                news.put_nowait(dataclasses.replace(event, choice=begin + event.choice))
    except Exception as error:  # whatever it is, the reader is told
        news.put_nowait(error)
    else:
        news.put_nowait(None)


async def _all(work: Sequence[Any]) -> list[list[Text]]:
    """What all of ``work`` gives; where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _add(total: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value
