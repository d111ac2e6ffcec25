# SPDX-License-Identifier: Apache-2.0
"""The chat page and what goes wrong: servers, connections, keys, and text that means harm."""

from __future__ import annotations

import threading
import time

import pytest
from page_driver import MESSAGE, SEND, ChatPage
from playwright.sync_api import expect
from scripted_server import Drop, Fault, content, end, words


def test_an_error_in_the_midst_of_an_answer(chat, script):
    def fails(request):
        yield content("절반")
        raise Fault(500, "out of memory")

    script.answer = fails
    chat.send("?")
    expect(chat.tab.locator(".failure")).to_contain_text("서버가 거절했습니다: out of memory")
    # What came before stays.
    chat.shows("article.answer .markdown", ["절반"])
    assert "답변하지 못했습니다." in chat.tab.locator("p[role=status]").inner_text()


def test_a_connection_that_ends(chat, script):
    def drops(request):
        yield content("절반")
        time.sleep(0.2)
        raise Drop

    script.answer = drops
    chat.send("?")
    expect(chat.tab.locator(".failure")).to_contain_text("서버와의 연결이 끊어졌습니다.")
    chat.shows("article.answer .markdown", ["절반"])


def test_a_server_that_goes_away(chat, script, chromium_browser):
    chat.tab.route("**/v1/chat/completions", lambda route: route.abort())
    chat.send("?")
    expect(chat.tab.locator(".failure")).to_contain_text("서버가 응답하지 않습니다.")


@pytest.mark.parametrize(
    "answer",
    [
        {"body": "<html>proxy</html>", "content_type": "text/html"},
        {"body": "data: {no json\n\n", "content_type": "text/event-stream"},
    ],
)
def test_answers_that_are_none(chat, answer):
    chat.tab.route("**/v1/chat/completions", lambda route: route.fulfill(status=200, **answer))
    chat.send("?")
    expect(chat.tab.locator(".failure")).to_contain_text("서버의 응답을 이해할 수 없습니다.")


def test_a_server_that_loads_its_model(context, script):
    script.loading = True
    chat = ChatPage(context, script)
    expect(chat.tab.locator(".notice")).to_have_text("서버가 모델을 불러오는 중입니다…")
    # Nothing can be sent yet, and what is written stays.
    chat.send("이른 말")
    assert chat.tab.input_value(MESSAGE) == "이른 말"
    expect(chat.tab.locator(SEND)).to_be_disabled()
    script.loading = False
    expect(chat.tab.locator(".notice")).to_have_count(0)
    chat.tab.press(MESSAGE, "Enter")
    chat.wait_for_request(1)
    assert chat.answer() == "예."


def test_a_model_without_a_chat_template(context, script):
    script.props["chat"] = False
    chat = ChatPage(context, script)
    expect(chat.tab.locator(".notice")).to_contain_text("--chat-template")


def test_an_empty_answer(chat, script):
    script.answer = lambda request: iter([end()])
    chat.send("?")
    expect(chat.tab.locator(".answer .note")).to_have_text("빈 답변입니다.")


def test_a_key(context, script):
    script.key = "비밀-1".encode().hex()
    chat = ChatPage(context, script)
    dialog = chat.tab.locator("dialog")
    expect(dialog).to_contain_text("이 서버는 키가 필요합니다.")
    dialog.get_by_label("API 키").fill("wrong")
    dialog.get_by_label("API 키").press("Enter")
    expect(dialog).to_contain_text("서버가 이 키를 받아들이지 않습니다.")
    dialog.get_by_label("API 키").fill(script.key)
    dialog.get_by_role("button", name="저장").click()
    expect(dialog).to_have_count(0)
    assert chat.ask("?") == "예."
    chat.tab.reload()
    assert chat.ask("?") == "예."
    # It is kept for the tab only, as nothing else was asked for.
    assert chat.tab.evaluate("JSON.stringify(localStorage)").count(script.key) == 0
    # A key that becomes invalid is asked for again, and the answer can be asked for again.
    before, script.key = script.key, "other"
    chat.send("!")
    dialog.get_by_label("API 키").fill("other")
    dialog.get_by_label("이 브라우저에 키 저장").check()
    dialog.get_by_role("button", name="저장").click()
    chat.tab.get_by_role("button", name="다시 시도").click()
    chat.wait_for_request(3)
    assert chat.answer() == "예."
    stored = chat.tab.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
    assert "other" in stored and before not in stored
    assert chat.complaints == []


HARM = r"""
<script>globalThis.harmed = 1</script> <img src=x onerror="globalThis.harmed = 1">

<svg onload="globalThis.harmed = 1"></svg> <style>body { display: none }</style>

[a](javascript:globalThis.harmed=1) [b](data:text/html,<script>alert(1)</script>) [c](vbscript:x)

![d](https://evil.example/pixel.png) ![e](http://evil.example/"onerror="globalThis.harmed=1)

$\href{javascript:globalThis.harmed=1}{x}$ $\includegraphics{https://evil.example/a.png}$

$$\class{messages}{y} \htmlStyle{position:fixed}{z}$$

| <iframe src="https://evil.example"></iframe> | b |
|---|---|
| <base href="https://evil.example"> | <form action="https://evil.example"><button>x</button></form> |

```"><img src=x onerror=globalThis.harmed=1>
</code></pre><script>globalThis.harmed = 1</script>
```

```html
<script>globalThis.harmed = 1</script>
```

<a href="https://evil.example" style="position:fixed;inset:0">cover</a>
"""

WATCH = """
addEventListener("securitypolicyviolation", (event) => { globalThis.violation = event.violatedDirective; });
"""


def test_text_that_means_harm(chat, script):
    chat.tab.evaluate(WATCH)
    script.answer = lambda request: words(HARM)
    chat.ask(HARM)
    chat.tab.reload()
    answer = chat.tab.locator("article.answer")
    expect(answer).to_contain_text("globalThis.harmed = 1")
    assert chat.tab.evaluate("[globalThis.harmed, globalThis.violation]") == [None, None]
    tags = "script, style, iframe, svg:not(.icon), form, base, img, [onerror], [onload]"
    assert answer.locator(tags).count() == 0
    links = answer.locator("a").evaluate_all("links => links.map(({ href, rel }) => [href, rel])")
    assert {href.partition(":")[0] for href, _ in links} == {"https", "http"}
    assert {rel for _, rel in links} == {"noopener noreferrer nofollow"}
    assert answer.locator("math [style*=fixed], .markdown .messages").count() == 0
    # The title came from a message, too.
    chat.shows("nav li a", ['<script>globalThis.harmed = 1</script> <img src=x onerror="…'])


def test_a_long_answer_is_drawn_piece_by_piece(chat, script):
    goes_on = threading.Event()

    def long(request):
        yield content("# 처음\n\n")
        yield content("다음 문단\n\n")
        goes_on.wait(30)
        for number in range(3000):
            yield content(f"문단 {number}: **굵게** `코드` $x_{{{number}}}$\n\n")
            if number % 100 == 0:
                time.sleep(0.02)
        yield from words("```python\n" + "x = 1  # 한 줄\n" * 3000 + "```\n\n끝.")

    script.answer = long
    chat.send("길게")
    heading = chat.tab.locator(".markdown .h1")
    heading.wait_for()
    heading.evaluate("element => { globalThis.first = element; }")
    goes_on.set()
    expect(chat.tab.locator("article.answer")).to_have_attribute("aria-busy", "false", timeout=120_000)
    assert chat.tab.locator(".markdown .block").count() == 3004
    # What is complete is never drawn again.
    assert chat.tab.evaluate("globalThis.first.isConnected")
    expect(chat.tab.locator(".markdown .block").last).to_have_text("끝.")


def test_scrolling(chat, script):
    goes_on = threading.Event()

    def long(request):
        yield content("문단\n\n" * 60)
        goes_on.wait(30)
        yield from words("문단\n\n" * 60)

    script.answer = long
    chat.send("길게")
    scroller = chat.tab.locator(".scroller")
    expect(chat.tab.locator(".markdown .block")).to_have_count(60)
    left = "element => element.scrollHeight - element.scrollTop - element.clientHeight"
    chat.tab.wait_for_timeout(200)
    assert scroller.evaluate(left) < 2
    # Who reads further up is left there.
    scroller.hover()
    chat.tab.mouse.wheel(0, -600)
    expect(chat.tab.get_by_label("맨 아래로")).to_be_visible()
    place = scroller.evaluate("element => element.scrollTop")
    goes_on.set()
    chat.wait_until_idle()
    assert scroller.evaluate("element => element.scrollTop") == place
    chat.tab.get_by_label("맨 아래로").click()
    assert scroller.evaluate(left) < 2
    expect(chat.tab.get_by_label("맨 아래로")).to_have_count(0)
