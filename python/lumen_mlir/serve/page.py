# SPDX-License-Identifier: Apache-2.0
"""The page to chat, which is one file. Its sources are in ``web/``."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response


@cache
def _page() -> tuple[bytes, dict[str, str]]:
    """The page, and the headers that keep everything out of it that is not its own."""
    data = (files("lumen_mlir.serve") / "page.html").read_bytes()
    text = data.decode()
    policy = {
        "default-src": "'none'",
        "script-src": _hashes("script", text),
        "style-src": _hashes("style", text),
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return data, {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _hashes(tag: str, page: str) -> str:
    """What may run: the scripts, or the styles, that stand in the page."""
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


async def page(request: Request) -> Response:
    """``GET /``: the page to chat."""
    data, headers = _page()
    return Response(data, headers=headers, media_type="text/html")
