# SPDX-License-Identifier: Apache-2.0
"""How ``pytest -n`` shares the tests between processes: whole files, those that take long first.

The tests of a file share what they compile, so a file stays in one process.
"""

from __future__ import annotations

import os
import re

import pytest

# Of which a process of tests takes at most so much, with all that it starts.
_BYTES_EACH = 2 << 30

# What takes longest goes first, so that no process is left with it at the end.
SLOW_FIRST = (
    "run/test_stepper",
    "formats/test_kernels",
    "formats/test_format_models",
    "cli/test_commands",
    "passes/test_attention",
    "test_fuzz",
    "cli/test_bad_input",
    "run/test_step_check",
    "run/test_tuning",
    "aot/test_bundle",
    "aot/test_runtime",
    "test_tutorials",
    "cli/test_examples",
    "test_benchmarks",
)
# Files whose tests of different targets share nothing.
_BY_TARGET = ("formats/test_kernels", "passes/test_attention")
_TARGET = re.compile(r"(generic|(?:x86-64-v|aarch64|armv|wasm32)\S*)\]$")


def scope(nodeid: str) -> str:
    """The tests of one scope run in one process."""
    file = nodeid.partition("::")[0]
    target = _TARGET.search(nodeid)
    if target and any(name in file for name in _BY_TARGET):
        return f"{file} {target[1]}"
    return file


def _rank(item: pytest.Item) -> int:
    places = [place for place, name in enumerate(SLOW_FIRST) if f"/{name}.py" in item.nodeid]
    return places[0] if places else len(SLOW_FIRST)


def slow_first(items: list[pytest.Item]) -> None:
    """Orders the tests by their files; those of a file stay as they are."""
    items.sort(key=_rank)


def workers() -> int:
    """One per processor that this process may use, as far as memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // _BYTES_EACH))


def make_scheduler(config: pytest.Config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    config.option.loadscopereorder = False
    return ByScope(config, log)
