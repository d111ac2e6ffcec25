# SPDX-License-Identifier: Apache-2.0
"""A Chromium without a window, told what to do over two pipes (the Chrome DevTools Protocol)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SECONDS = 120


class Browser:
    """A browser; ``chromium()`` starts it."""

    def __init__(self, write: int, read: int):
        self._write, self._read = write, read
        self._number = 0
        self._data = b""

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._receive())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self) -> bytes:
        while b"\0" not in self._data:
            ready, _, _ = select.select([self._read], [], [], _SECONDS)
            more = os.read(self._read, 1 << 16) if ready else b""
            if not more:
                raise AssertionError("the browser says nothing")
            self._data += more
        message, _, self._data = self._data.partition(b"\0")
        return message


class Page:
    """A page that was opened in a browser."""

    def __init__(self, browser: Browser, url: str):
        self._browser = browser
        target = browser.call("Target.createTarget", url=url)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript."""
        answer = self._browser.call(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as there is one."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.1)
        raise AssertionError(f"{expression} had no value in {_SECONDS} seconds")


@contextlib.contextmanager
def chromium(program: str, profile: Path) -> Iterator[Browser]:
    """A running browser, whose settings are in a folder of its own."""
    requests, answers = os.pipe(), os.pipe()

    def place() -> None:
        # The browser reads 3 and writes 4. (Both are beyond what the pipes have been given.)
        read, write = os.dup(requests[0]), os.dup(answers[1])
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        [
            *(program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
            # Root has no sandbox, and containers have little of /dev/shm.
            *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"),
            "about:blank",
        ],
        preexec_fn=place,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(requests[0])
    os.close(answers[1])
    try:
        yield Browser(requests[1], answers[0])
    finally:
        process.terminate()
        process.wait()
        os.close(requests[1])
        os.close(answers[0])
