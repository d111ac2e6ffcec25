# SPDX-License-Identifier: Apache-2.0
"""What was measured, kept in files: the same code and the same tools give the same numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from aarch64 import guest

# The sources that numbers depend on, beside the code that is measured.
_SOURCES = ("count.c", "cycles.py", "guest.py", "llama_prompt.cpp", "peer.cpp")


def measured(key: str, measure: Callable[[], Any]) -> Any:
    """What ``measure`` gives, as JSON has it, or gave before. The key says which code it measures."""
    digest = hashlib.blake2b(guest.versions().encode(), digest_size=8)
    for source in _SOURCES:
        digest.update((guest.HERE / source).read_bytes())
    file = guest.FOLDER / f"measured-{digest.hexdigest()}" / f"{key}.json"
    if not file.exists():
        result = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result), encoding="ascii")
        part.rename(file)
    return json.loads(file.read_text(encoding="ascii"))
