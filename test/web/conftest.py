# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest


@pytest.fixture
def script():
    from scripted_server import serving

    with serving() as script:
        yield script


@pytest.fixture(scope="session")
def chromium_browser():
    from page_driver import browser

    with browser() as started:
        yield started


@pytest.fixture
def context(chromium_browser):
    with chromium_browser.new_context(
        locale="ko-KR", color_scheme="light", viewport={"width": 1200, "height": 800}, accept_downloads=True
    ) as made:
        yield made


@pytest.fixture
def chat(context, script):
    """The page in Korean. Nothing may be fetched from elsewhere, nor be complained about."""
    from page_driver import ChatPage

    page = ChatPage(context, script)
    yield page
    assert page.complaints == []
    assert page.elsewhere == []
