# SPDX-License-Identifier: Apache-2.0
"""How the chat page looks, and how it is used without a mouse and on narrow screens."""

from __future__ import annotations

import pytest
from page_driver import MESSAGE, ChatPage
from playwright.sync_api import expect
from scripted_server import Fault, content, end, reading, reasoning, tool_call, words

EVERYTHING = """# 제목

문단의 `코드`와 **굵은 글**, [링크](https://example.com), 식 $x^2$와 $\\no$

$$\\sum_{i=1}^n i$$

## 표

| 형식 | 비트 |
|---|---:|
| Q8_0 | 8.5 |

```python
def f(x: int) -> str:  # 아주 긴 줄 아주 긴 줄 아주 긴 줄 아주 긴 줄 아주 긴 줄
    return f"{x}" + 'y'
```

- [x] 한 일
- [ ] 할 일

> 인용
"""


def everything(request):
    """Answers with all that the page can show."""
    word = request["messages"][-1]["content"]
    if word == "도구":
        yield tool_call(0, '{"a": 1}', id="a", name="get")
        yield end("tool_calls")
    elif word == "오류":
        raise Fault(400, "no")
    else:
        yield reading(5, 10)
        yield reasoning("생각 **중**")
        yield from words(EVERYTHING)


@pytest.mark.parametrize("language", ["ko-KR", "en-US"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(chromium_browser, script, scheme, language):
    script.answer = everything
    with chromium_browser.new_context(locale=language, color_scheme=scheme) as context:
        chat = ChatPage(context, script)
        faults = {"at first": chat.faults()}
        for word in ("모두", "오류"):
            chat.send(word)
            chat.wait_for_request(len(script.requests) or 1)
            chat.wait_until_idle()
        chat.tab.locator("summary").click()
        chat.tab.locator("article.answer").first.get_by_role("button").nth(1).hover()
        chat.send("도구")
        chat.tab.locator(".tool textarea").wait_for()
        faults["a conversation"] = chat.faults()
        chat.tab.locator("article.user").first.hover()
        chat.tab.locator("article.user button").nth(1).click()
        faults["an edit"] = chat.faults()
        chat.tab.keyboard.press("Escape")
        chat.settings()
        chat.tab.locator("#tools").fill("{")
        chat.tab.locator(".fields input").first.fill("x")
        faults["settings"] = chat.faults()
        assert faults == dict.fromkeys(faults, [])
        assert chat.complaints == []


WIDER = "({ scrollWidth, clientWidth }) => scrollWidth > clientWidth"


def test_a_narrow_screen(chromium_browser, script):
    script.answer = everything
    with chromium_browser.new_context(
        locale="ko-KR", viewport={"width": 340, "height": 640}, has_touch=True, is_mobile=True
    ) as context:
        chat = ChatPage(context, script)
        expect(chat.tab.locator("nav")).to_have_count(0)
        # Enter starts a line on screen keyboards; the button sends.
        chat.tab.fill(MESSAGE, "모두")
        chat.tab.press(MESSAGE, "Enter")
        assert chat.tab.input_value(MESSAGE) == "모두\n"
        chat.tab.tap("button.send")
        chat.wait_for_request(1)
        chat.wait_until_idle()
        # Only code, tables and formulas scroll sideways, within themselves.
        for selector in ("html", ".scroller", ".messages"):
            assert not chat.tab.locator(selector).evaluate(WIDER), selector
        assert chat.tab.locator("pre code").evaluate(WIDER)
        assert chat.faults() == []
        chat.tab.get_by_label("대화 목록 보기").tap()
        expect(chat.tab.locator("nav")).to_be_visible()
        assert chat.tab.locator(".main").evaluate("element => element.inert")
        assert chat.faults() == []
        chat.tab.locator("nav li a").tap()
        expect(chat.tab.locator("nav")).to_have_count(0)
        assert chat.complaints == []


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_light_and_dark(chat, context):
    light = chat.tab.evaluate(BACKGROUND)
    chat.tab.emulate_media(color_scheme="dark")
    dark = chat.tab.evaluate(BACKGROUND)
    assert light != dark
    # The switch goes before what the system says, and stays.
    chat.settings()
    chat.tab.get_by_label("테마").select_option("light")
    assert chat.tab.evaluate(BACKGROUND) == light
    chat.tab.reload()
    assert chat.tab.evaluate(BACKGROUND) == light
    chat.settings()
    chat.tab.get_by_label("테마").select_option("system")
    assert chat.tab.evaluate(BACKGROUND) == dark


def test_languages(chat):
    expect(chat.tab.locator("a.new")).to_have_text("새 대화")
    chat.ask("안녕")
    chat.settings()
    chat.tab.get_by_label("언어").select_option("en")
    assert chat.tab.locator("html").get_attribute("lang") == "en"
    chat.tab.keyboard.press("Escape")
    chat.shows("a.new", ["New conversation"])
    expect(chat.tab.locator(".stats")).to_contain_text("42.0 tokens/s")
    chat.tab.reload()
    chat.shows("a.new", ["New conversation"])


def test_another_language_is_shown_in_english(chromium_browser, script):
    with chromium_browser.new_context(locale="de-DE") as context:
        chat = ChatPage(context, script)
        chat.shows("a.new", ["New conversation"])


def test_the_keyboard_alone(chat, script):
    def slow(request):
        yield content("하나")
        script.left.wait(30)

    expect(chat.tab.locator(MESSAGE)).to_be_focused()
    # The first stop of the Tab key leads to where one writes; it is before the name at the top.
    chat.tab.click(".brand")
    chat.tab.keyboard.press("Shift+Tab")
    expect(chat.tab.locator(".skip")).to_be_focused()
    chat.tab.keyboard.press("Enter")
    expect(chat.tab.locator(MESSAGE)).to_be_focused()
    chat.ask("하나")
    # The window takes the focus, keeps it, and gives it back.
    button = chat.tab.get_by_label("설정")
    button.focus()
    chat.tab.keyboard.press("Enter")
    expect(chat.tab.get_by_role("dialog", name="설정")).to_be_visible()
    for _ in range(40):
        chat.tab.keyboard.press("Tab")
        # Behind the last stop comes the browser itself.
        assert chat.tab.evaluate("document.activeElement.matches('body, dialog, dialog *')")
    chat.tab.keyboard.press("Escape")
    expect(button).to_be_focused()
    # What appears when one points at it appears for the keyboard, too.
    edit = chat.tab.get_by_label("수정", exact=True)
    edit.focus()
    expect(edit).to_have_css("opacity", "1")
    # An answer says that it is being written.
    script.answer = slow
    chat.send("둘")
    expect(chat.tab.locator("p[role=status]")).to_have_text("답변을 쓰고 있습니다.")
    chat.tab.keyboard.press("Escape")
    expect(chat.tab.locator("p[role=status]")).to_have_text("중지했습니다.")


def test_formulas_and_code(chat, script):
    script.answer = everything
    chat.ask("모두")
    answer = chat.tab.locator("article.answer")
    assert answer.locator("math").count() == 2
    assert answer.locator("math mo").first.evaluate("element => element.namespaceURI").endswith("MathML")
    # What is no formula is shown as it is written.
    expect(answer.locator(".math.unread")).to_have_text("\\no")
    assert answer.locator("pre .hljs-keyword").first.inner_text() == "def"
    chat.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer.get_by_role("button", name="코드 복사").click()
    expect(answer.locator(".copy-code")).to_have_text("복사했습니다")
    copied = chat.tab.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("def f(x: int) -> str:") and copied.endswith("'y'\n")
    answer.get_by_role("button", name="복사", exact=True).click()
    expect(answer.get_by_role("button", name="복사했습니다").last).to_be_visible()
    assert chat.tab.evaluate("navigator.clipboard.readText()") == EVERYTHING


def test_copying_where_the_clipboard_is_not_offered(chat):
    chat.ask("?")
    chat.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.tab.evaluate("globalThis.read = navigator.clipboard.readText.bind(navigator.clipboard)")
    chat.tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    chat.tab.locator("article.answer").get_by_label("복사").click()
    expect(chat.tab.locator("article.answer").get_by_label("복사했습니다")).to_be_visible()
    assert chat.tab.evaluate("read()") == "예."
