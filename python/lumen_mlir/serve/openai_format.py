# SPDX-License-Identifier: Apache-2.0
"""The form that an answer has to have."""

from __future__ import annotations

from typing import Any

from lumen_mlir.serve.problem import Problem


def output_format(response_format: dict[str, Any] | None, grammar: str | None, regex: str | None) -> Any:
    """The grammar of an answer; None for any text. Raises ``Problem`` where it is not known."""
    if response_format in (None, {"type": "text"}) and grammar is None and regex is None:
        return None
    raise Problem(400, "only text is known", field="response_format")
