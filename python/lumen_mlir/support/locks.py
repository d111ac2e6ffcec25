# SPDX-License-Identifier: Apache-2.0
"""Locks for objects that several threads of Python use, which forked processes can use too."""

from __future__ import annotations

import os
import threading
import weakref

_locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()


def turn_lock() -> threading.RLock:
    """A reentrant lock that is free in a forked child, unless the thread that forked holds it.

    A plain one that another thread of the parent held would stay locked in the child for ever.
    """
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _free_locks() -> None:
    for lock in list(_locks):
        if not lock._is_owned():  # type: ignore[attr-defined]
            lock._at_fork_reinit()  # type: ignore[attr-defined]


os.register_at_fork(after_in_child=_free_locks)
