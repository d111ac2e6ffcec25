# SPDX-License-Identifier: Apache-2.0
"""The chat page in Debian's Chromium, as a reader uses it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)
from scripted_server import Script

CHROMIUM = "/usr/bin/chromium"
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
# What the page needs to find when a test drives it.
MESSAGE, SEND, STOP = "#message", "button.send[aria-label=보내기]", "button.send[aria-label=중지]"


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        # Root has no sandbox, and containers have little of /dev/shm.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        # It writes settings and caches into the home folder.
        environment = {**os.environ, "HOME": home}
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options, env=environment)
        yield started
        started.close()


class ChatPage:
    """A tab with the page. What is written to the console, and what is fetched, is kept."""

    def __init__(self, context: BrowserContext, script: Script):
        self.script = script
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.tab: Page = context.new_page()
        self.tab.set_default_timeout(30_000)
        self.tab.on("console", self._on_console)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", self._on_request)
        self.open()

    def _on_console(self, message: ConsoleMessage) -> None:
        # That a server refuses is a part of tests; nothing else is.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.script.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, path: str = "") -> None:
        """Loads the page anew."""
        self.tab.goto(self.script.address + path)
        self.tab.wait_for_selector(MESSAGE)

    def send(self, text: str) -> None:
        """Sends a message, and does not wait for the answer."""
        self.tab.fill(MESSAGE, text)
        self.tab.press(MESSAGE, "Enter")

    def ask(self, text: str) -> str:
        """Sends a message; the answer as it is shown."""
        before = len(self.script.requests)
        self.tab.fill(MESSAGE, text)
        expect(self.tab.locator("button.send")).to_be_enabled()
        self.tab.press(MESSAGE, "Enter")
        self.wait_for_request(before + 1)
        return self.answer()

    def wait_for_request(self, count: int) -> None:
        """Waits until the server was asked so many times."""
        for _ in range(600):
            if len(self.script.requests) >= count:
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"{len(self.script.requests)} requests came, {count} were expected")

    def answer(self) -> str:
        """The last answer, once it is complete."""
        self.wait_until_idle()
        return self.tab.locator("article.answer").last.locator(".markdown").last.inner_text()

    def wait_until_idle(self) -> None:
        """Waits for the end of an answer."""
        expect(self.tab.locator("article.answer").last).to_have_attribute("aria-busy", "false")

    def shows(self, selector: str, texts: list[str]) -> None:
        """Waits until the elements say this."""
        expect(self.tab.locator(selector)).to_have_text(texts)

    def settings(self) -> None:
        """Opens the settings."""
        self.tab.click(".header button >> nth=-1")
        self.tab.wait_for_selector("dialog[open]")

    def faults(self) -> list[str]:
        """Serious faults of accessibility in what is shown, by axe-core."""
        self.tab.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = self.tab.evaluate("axe.run().then(({violations}) => violations)")
        return [
            f"{fault['id']} ({fault['impact']}): {json.dumps([node['target'] for node in fault['nodes']])}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]


def compose(tab: Page, syllables: list[str], keys_between: dict[str, int]) -> None:
    """Writes a text as an input method does: each step of a syllable replaces the one before.

    ``keys_between``, with their codes, are pressed before the last syllable is complete; input methods take
    them as their own. The code is 229 where the system says so, and that of the key elsewhere.
    """
    session = tab.context.new_cdp_session(tab)
    for text in syllables:
        session.send(
            "Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)}
        )
    for key, code in keys_between.items():
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **pressed})
        session.send("Input.dispatchKeyEvent", {"type": "keyUp", **pressed})
    session.send("Input.insertText", {"text": syllables[-1]})
    session.detach()
