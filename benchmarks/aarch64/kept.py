# SPDX-License-Identifier: Apache-2.0
"""What was measured, kept in files: the same code and the same tools give the same numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from aarch64 import guest

# The sources that all numbers depend on.
_SOURCES = ("count.c", "cycles.py", "guest.py")


def measured(key: str, measure: Callable[[], Any], *sources: str) -> Any:
    """What ``measure`` gives, as JSON has it, or gave before.

    The key says which code it measures; ``sources`` are files of this folder that matter, too.
    """
    digest = hashlib.blake2b(guest.versions().encode(), digest_size=8)
    for source in (*_SOURCES, *sources):
        digest.update((guest.HERE / source).read_bytes())
    file = guest.FOLDER / f"measured-{digest.hexdigest()}" / f"{key}.json"
    if not file.exists():
        result = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result), encoding="ascii")
        part.rename(file)
    return json.loads(file.read_text(encoding="ascii"))
