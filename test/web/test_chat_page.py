# SPDX-License-Identifier: Apache-2.0
"""Conversations on the chat page: writing, streaming, stopping, branches, tools."""

from __future__ import annotations

import json
import re
import threading

import pytest
from page_driver import MESSAGE, SEND, STOP, compose
from playwright.sync_api import expect
from scripted_server import Fault, content, end, reading, reasoning, tool_call, words


def messages(request: dict) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in request["messages"]]


def test_a_conversation_in_korean(chat, script):
    script.answer = lambda request: words(f"**{request['messages'][-1]['content']}**라고 하셨습니다.")
    assert chat.tab.locator("html").get_attribute("lang") == "ko"
    chat.tab.focus(MESSAGE)
    # The last syllable is still being composed when Enter comes: it is the input method's.
    compose(chat.tab, ["ㅇ", "아", "안"], {"Enter": 13})
    compose(chat.tab, ["ㄴ", "녀", "녕"], {"Enter": 229})
    assert chat.tab.input_value(MESSAGE) == "안녕"
    assert script.requests == []
    chat.tab.press(MESSAGE, "Shift+Enter")
    compose(chat.tab, ["ㅎ", "하"], {})
    chat.tab.press(MESSAGE, "Enter")
    chat.wait_for_request(1)
    assert messages(script.requests[0]) == [("user", "안녕\n하")]
    assert chat.answer() == "안녕\n하라고 하셨습니다."
    assert chat.tab.input_value(MESSAGE) == ""
    chat.shows("nav li a", ["안녕"])
    # The focus stays where the next message is written, and a screen reader hears that the answer is there.
    expect(chat.tab.locator(MESSAGE)).to_be_focused()
    assert chat.tab.locator("p[role=status]").inner_text() == "답변이 끝났습니다."
    chat.ask("또")
    assert messages(script.requests[1])[1:] == [
        ("assistant", "**안녕\n하**라고 하셨습니다."),
        ("user", "또"),
    ]


def test_requests(chat, script):
    chat.ask("하나")
    assert script.requests == [
        {
            "model": "scripted",
            "messages": [{"role": "user", "content": "하나"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
            "timings_per_token": True,
        }
    ]
    chat.settings()
    chat.tab.get_by_label("시스템 프롬프트").fill("짧게 답하라.")
    chat.tab.get_by_label("온도").fill("0.2")
    chat.tab.get_by_label("Top-k").fill("0.5")
    expect(chat.tab.locator(".fields .fault")).to_have_text("0부터 1,000,000까지의 수를 입력하세요.")
    chat.tab.get_by_label("시드").fill("7")
    chat.tab.get_by_label("답하기 전에").uncheck()
    chat.tab.keyboard.press("Escape")
    expect(chat.tab.locator("dialog")).to_have_count(0)
    chat.ask("둘")
    request = script.requests[1]
    assert request["messages"][0] == {"role": "system", "content": "짧게 답하라."}
    chosen = {name: request.get(name) for name in ("temperature", "top_k", "seed", "enable_thinking")}
    assert chosen == {"temperature": 0.2, "top_k": None, "seed": 7, "enable_thinking": False}
    # They stay, and belong to the browser; the system prompt belongs to the conversation.
    chat.tab.reload()
    chat.tab.click("a.new")
    chat.ask("셋")
    assert "system" not in dict(messages(script.requests[2]))
    assert script.requests[2]["seed"] == 7


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop(chat, script, how):
    def endless(request):
        yield content("처음 ")
        while True:
            yield content("계속 ")
            if script.left.wait(0.02):
                return

    script.answer = endless
    chat.send("말해 줘")
    expect(chat.tab.locator("article.answer .markdown")).to_contain_text("계속 계속")
    assert chat.tab.locator(SEND).count() == 0
    if how == "button":
        chat.tab.click(STOP)
    else:
        chat.tab.press(MESSAGE, "Escape")
    assert chat.answer().startswith("처음 계속")
    assert script.left.wait(10), "the connection goes on"
    expect(chat.tab.locator(".answer .note")).to_have_text("끝나기 전에 중지되었습니다.")
    script.answer = lambda request: words("네.")
    assert chat.ask("고마워") == "네."
    assert messages(script.requests[1])[1][1].startswith("처음 계속")


def test_enter_while_an_answer_is_written_sends_nothing(chat, script):
    goes_on = threading.Event()

    def waits(request):
        yield content("하나")
        goes_on.wait(30)
        yield end()

    script.answer = waits
    chat.send("첫째")
    expect(chat.tab.locator("article.answer .markdown")).to_have_text("하나")
    chat.send("둘째")
    assert chat.tab.input_value(MESSAGE) == "둘째"
    goes_on.set()
    chat.wait_until_idle()
    assert len(script.requests) == 1
    chat.tab.press(MESSAGE, "Enter")
    chat.wait_for_request(2)


def test_branches(chat, script):
    count = 0

    def numbered(request):
        nonlocal count
        count += 1
        yield from words(f"답 {count}")

    script.answer = numbered
    assert chat.ask("질문") == "답 1"
    assert chat.ask("이어서") == "답 2"
    # Another answer to the first question.
    chat.tab.locator("article.answer").first.get_by_label("다시 답하기").click()
    chat.wait_for_request(3)
    assert chat.answer() == "답 3"
    assert messages(script.requests[2]) == [("user", "질문")]
    chat.shows(".branches", ["2/2"])
    # Back, with all that followed.
    chat.tab.get_by_label("이전 갈래").click()
    chat.shows("article.answer .markdown", ["답 1", "답 2"])
    chat.shows(".bubble", ["질문", "이어서"])
    # Another question.
    chat.tab.locator("article.user").last.hover()
    chat.tab.locator("article.user").last.get_by_label("수정", exact=True).click()
    chat.tab.get_by_label("메시지 수정").fill("바꾼 말")
    chat.tab.get_by_label("메시지 수정").press("Enter")
    chat.wait_for_request(4)
    assert chat.answer() == "답 4"
    assert messages(script.requests[3]) == [("user", "질문"), ("assistant", "답 1"), ("user", "바꾼 말")]
    chat.tab.reload()
    chat.shows(".bubble", ["질문", "바꾼 말"])
    chat.tab.locator("article.user").last.get_by_label("이전 갈래").click()
    chat.shows(".bubble", ["질문", "이어서"])
    chat.tab.locator("article.answer").first.get_by_label("다음 갈래").click()
    chat.shows("article.answer .markdown", ["답 3"])


def test_an_edit_that_is_given_up(chat, script):
    chat.ask("질문")
    chat.tab.locator("article.user").hover()
    chat.tab.get_by_label("수정", exact=True).click()
    expect(chat.tab.get_by_label("메시지 수정")).to_be_focused()
    chat.tab.keyboard.type("!")
    chat.tab.keyboard.press("Escape")
    chat.shows(".bubble", ["질문"])
    assert len(script.requests) == 1


def test_thoughts_are_folded(chat, script):
    goes_on = threading.Event()

    def thinks(request):
        yield reasoning("먼저 **생각**한다.")
        goes_on.wait(30)
        yield from words("답이다.")

    script.answer = thinks
    chat.send("왜?")
    expect(chat.tab.locator("summary")).to_have_text("생각하는 중…")
    goes_on.set()
    assert chat.answer() == "답이다."
    expect(chat.tab.locator("summary")).to_have_text(re.compile(r"^\d+\.\d초 동안 생각함$"))
    thoughts = chat.tab.locator(".reasoning .markdown")
    expect(thoughts).to_be_hidden()
    chat.tab.click("summary")
    expect(thoughts).to_be_visible()
    expect(thoughts.locator("strong")).to_have_text("생각")
    # They are not part of the next request: templates drop them.
    chat.ask("그래?")
    assert "reasoning_content" not in script.requests[1]["messages"][1]


def test_tools(chat, script):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}

    def calls(request):
        if request["messages"][-1]["role"] == "tool":
            yield from words("맑습니다.")
            return
        yield reasoning("물어보자.")
        yield tool_call(0, '{"city":', id="a", name="get_weather")
        yield tool_call(0, '"서울"}')
        yield tool_call(1, '{"city": ', id="b", name="get_weather")
        yield end("tool_calls")

    script.answer = calls
    chat.settings()
    field = chat.tab.get_by_label("도구", exact=True)
    field.fill("[{]")
    expect(chat.tab.locator("dialog .fault")).to_be_visible()
    field.fill(json.dumps([tool]))
    expect(chat.tab.locator("dialog .fault")).to_have_count(0)
    chat.tab.keyboard.press("Escape")
    chat.send("날씨는?")
    chat.wait_until_idle()
    assert script.requests[0]["tools"] == [tool]
    chat.shows(".tool h3 code", ["get_weather", "get_weather"])
    assert chat.tab.locator(".tool pre").first.inner_text().strip() == '{\n  "city": "서울"\n}'
    chat.shows(".tool .fault", ["인자가 올바른 JSON이 아닙니다."])
    # Results are given for all calls, or none.
    give = chat.tab.get_by_role("button", name="결과 보내기")
    chat.tab.get_by_label("결과", exact=True).first.fill('{"sky":"clear"}')
    expect(give).to_be_disabled()
    chat.tab.get_by_label("결과", exact=True).last.fill("없음")
    give.click()
    chat.wait_for_request(2)
    assert chat.answer() == "맑습니다."
    sent = script.requests[1]["messages"]
    assert [call["function"]["arguments"] for call in sent[1]["tool_calls"]] == [
        '{"city":"서울"}',
        '{"city": ',
    ]
    assert sent[1]["reasoning_content"] == "물어보자."
    assert sent[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": '{"sky":"clear"}'},
        {"role": "tool", "tool_call_id": "b", "content": "없음"},
    ]
    chat.tab.reload()
    assert chat.tab.locator(".tool pre").nth(1).inner_text().strip() == '{\n  "sky": "clear"\n}'


def test_progress_and_counts(chat, script):
    steps = [threading.Event() for _ in range(2)]

    def measured(request):
        yield reading(512, 2048, cache=256)
        steps[0].wait(30)
        yield content("예") | {"timings": {"predicted_n": 1, "predicted_per_second": 12.5}}
        steps[1].wait(30)
        yield end(prompt=2048, cached=256, tokens=1000)

    script.answer = measured
    chat.send("긴 글")
    bar = chat.tab.locator("progress")
    expect(bar).to_have_attribute("value", "512")
    expect(bar).to_have_attribute("max", "2048")
    expect(chat.tab.locator(".reading")).to_contain_text("토큰 2,048개 중 512개 (캐시에서 256개)")
    gauge = chat.tab.locator("[role=meter]")
    expect(gauge).to_have_text("50%")
    steps[0].set()
    expect(chat.tab.locator(".stats")).to_contain_text("초당 12.5토큰")
    expect(bar).to_have_count(0)
    steps[1].set()
    chat.wait_until_idle()
    expect(chat.tab.locator(".stats")).to_have_text(
        "초당 1,000.0토큰 · 토큰 1,000개 · 1.1초 · 프롬프트 2,048개, 캐시 256개"
    )
    expect(gauge).to_have_attribute("aria-valuetext", "토큰 4,096개 중 3,048개")
    chat.tab.reload()
    expect(gauge).to_have_text("74%")
    chat.tab.click("a.new")
    expect(gauge).to_have_count(0)


def test_models(context, script):
    from page_driver import ChatPage

    script.models = ["하나", "둘"]
    script.more = {"model=둘": {"sampling": {"temperature": 0.1, "typical_p": 1}, "tools": False}}
    chat = ChatPage(context, script)
    expect(chat.tab.locator(SEND)).to_be_visible()
    script.tell.clear()
    chat.tab.get_by_label("모델").select_option("둘")
    # The server loads it, as it can tell nothing of it before.
    expect(chat.tab.locator(".notice")).to_have_text("서버가 모델을 불러오는 중입니다…")
    script.tell.set()
    expect(chat.tab.locator(".notice")).to_have_count(0)
    chat.settings()
    expect(chat.tab.get_by_label("온도")).to_have_attribute("placeholder", "0.1")
    assert chat.tab.get_by_label("Top-k").count() == chat.tab.get_by_label("도구", exact=True).count() == 0
    chat.tab.keyboard.press("Escape")
    chat.ask("?")
    chat.tab.reload()
    chat.ask("?")
    assert [request["model"] for request in script.requests] == ["둘", "둘"]
    # Another server may not have it.
    script.models = ["셋"]
    chat.tab.reload()
    expect(chat.tab.locator(".model")).to_have_text("셋")
    chat.ask("?")
    assert script.requests[-1]["model"] == "셋"


def test_an_answer_at_the_limit(chat, script):
    def cut(request):
        yield content("끝이 없")
        yield end("length")

    script.answer = cut
    chat.ask("?")
    expect(chat.tab.locator(".answer .note")).to_have_text("답변이 길이 제한에서 끝났습니다.")


def test_two_answers_at_once(chat, script):
    goes_on = threading.Event()

    def waits(request):
        word = request["messages"][-1]["content"]
        yield content(f"{word} ")
        goes_on.wait(30)
        yield from words("끝")

    script.answer = waits
    chat.send("하나")
    expect(chat.tab.locator("article.answer .markdown")).to_have_text("하나")
    chat.tab.click("a.new")
    chat.send("둘")
    expect(chat.tab.locator("article.answer .markdown")).to_have_text("둘")
    goes_on.set()
    assert chat.answer() == "둘 끝"
    chat.tab.click("nav li a >> text=하나")
    assert chat.answer() == "하나 끝"


def test_a_server_that_refuses(chat, script):
    def refuses(request):
        raise Fault(400, "the prompt has 5,000 tokens")
        yield

    script.answer = refuses
    chat.send("긴 글")
    expect(chat.tab.locator(".failure")).to_contain_text("서버가 거절했습니다: the prompt has 5,000 tokens")
    script.answer = lambda request: words("이제 됩니다.")
    chat.tab.get_by_role("button", name="다시 시도").click()
    chat.wait_for_request(2)
    assert chat.answer() == "이제 됩니다."
    # The one that failed is gone.
    assert chat.tab.locator(".branches").count() == 0
