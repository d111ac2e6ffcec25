# SPDX-License-Identifier: Apache-2.0
"""What stands around the answers of OpenAI's completions, and around the chunks of their streams."""

from __future__ import annotations

import time
import uuid
from typing import Any

from lumen_mlir.serve import json_body
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.sampling_fields import SamplingFields

DONE = b"data: [DONE]\n\n"


class OpenAIFrame:
    """Of one answer.

    Args:
      prefix: of its id.
      kind, chunk: what OpenAI calls the answer, and a part of it.

    Attributes:
      model: the name of the model that answers.
      tells_usage, tells_progress, tells_timings: what a stream is to have in it.
    """

    def __init__(self, prefix: str, kind: str, chunk: str, body: SamplingFields):
        self._id, self._created = f"{prefix}-{uuid.uuid4().hex}", int(time.time())
        self._kind, self._chunk = kind, chunk
        self.model = ""
        self.tells_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        self.tells_progress, self.tells_timings = bool(body.return_progress), bool(body.timings_per_token)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.model}

    def answer(self, **fields: Any) -> dict[str, Any]:
        """The answer at once."""
        return {**self._head(self._kind), **fields}

    def event(self, **fields: Any) -> bytes:
        """A chunk of a stream."""
        head = self._head(self._chunk)
        if self.tells_usage:
            head["usage"] = None
        return b"data: " + json_body.encoded({**head, **fields}) + b"\n\n"

    def failure(self, problem: Problem) -> bytes:
        """See ``Form``."""
        return b"data: " + json_body.encoded(problem.openai()) + b"\n\n"
