# SPDX-License-Identifier: Apache-2.0
"""What the chat page keeps in the browser: reloads, files, several tabs, and browsers that keep nothing."""

from __future__ import annotations

import json
import threading

import pytest
from page_driver import MESSAGE, ChatPage
from playwright.sync_api import expect
from scripted_server import content, words


def export(chat) -> str:
    """The text of the file with all conversations."""
    chat.settings()
    with chat.tab.expect_download() as download:
        chat.tab.get_by_role("button", name="모두 내보내기").click()
    chat.tab.keyboard.press("Escape")
    assert download.value.suggested_filename.startswith("lumen-")
    return download.value.path().read_text()


def load(chat, text: str | bytes) -> str:
    """What the page says of a file to import."""
    chat.settings()
    data = text if isinstance(text, bytes) else text.encode()
    file = {"name": "x.json", "mimeType": "application/json", "buffer": data}
    chat.tab.locator("input[type=file]").set_input_files(file)
    said = chat.tab.locator("dialog section >> nth=-1").locator(".success, .fault").inner_text()
    chat.tab.keyboard.press("Escape")
    return said


def test_reload(chat, script):
    chat.ask("하나")
    chat.ask("둘")
    address = chat.tab.url
    chat.tab.reload()
    chat.shows(".bubble", ["하나", "둘"])
    assert chat.tab.url == address
    chat.tab.click("a.new")
    expect(chat.tab.locator(".welcome")).to_be_visible()
    chat.tab.go_back()
    expect(chat.tab.locator(".bubble")).to_have_text(["하나", "둘"])
    chat.tab.goto(f"{script.address}#/nothing")
    expect(chat.tab.locator(".welcome")).to_be_visible()


def test_reload_in_the_midst_of_an_answer(chat, script):
    def waits(request):
        yield content("절반")
        script.left.wait(30)
        yield content("?")

    script.answer = waits
    chat.send("길게")
    expect(chat.tab.locator("article.answer .markdown")).to_have_text("절반")
    # It is saved every two seconds, and when the page goes.
    chat.tab.reload()
    script.left.set()
    chat.shows("article.answer .markdown", ["절반"])
    expect(chat.tab.locator(".answer .note")).to_have_text("끝나기 전에 중지되었습니다.")


def test_export_and_import(chat, script):
    count = 0

    def numbered(request):
        nonlocal count
        count += 1
        yield from words(f"답 {count}")

    script.answer = numbered
    chat.ask("하나")
    chat.tab.get_by_label("다시 답하기").click()
    chat.wait_for_request(2)
    chat.wait_until_idle()
    chat.tab.click("a.new")
    chat.ask("둘")
    file = export(chat)
    assert [each["title"] for each in json.loads(file)["conversations"]] == ["둘", "하나"]

    chat.settings()
    chat.tab.get_by_role("button", name="모두 삭제").click()
    chat.tab.click("dialog .danger")
    chat.tab.keyboard.press("Escape")
    expect(chat.tab.locator("nav li")).to_have_count(0)
    expect(chat.tab.locator(".welcome")).to_be_visible()
    chat.tab.reload()
    expect(chat.tab.locator("nav li")).to_have_count(0)

    assert load(chat, file) == "대화 2개를 가져왔습니다."
    # Twice is not two of each.
    assert load(chat, file) == "대화 2개를 가져왔습니다."
    chat.tab.reload()
    chat.shows("nav li a", ["둘", "하나"])
    chat.tab.click("nav li a >> text=하나")
    chat.shows("article.answer .markdown", ["답 2"])
    chat.tab.get_by_label("이전 갈래").click()
    chat.shows("article.answer .markdown", ["답 1"])
    before, after = json.loads(file)["conversations"], json.loads(export(chat))["conversations"]
    for conversation in before + after:
        del conversation["head"]
    assert after == before


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("{", "이 파일을 가져올 수 없습니다 (not JSON)."),
        (b"\xff\xfe\x00", "이 파일을 가져올 수 없습니다 (not JSON)."),
        ('{"format": "lumen-conversations", "version": 9}', "version: expected 1, got 9"),
        (
            '{"format": "lumen-conversations", "version": 1, "conversations": [{"messages": [{"id": "<"}]}]}',
            "conversations[0].messages[0].id: expected 1 to 64 letters and digits",
        ),
    ],
)
def test_bad_files(chat, file, said):
    chat.ask("하나")
    assert said in load(chat, file)
    chat.shows("nav li a", ["하나"])


def test_rename_and_delete(chat):
    chat.ask("하나")
    item = chat.tab.locator("nav li")
    item.hover()
    item.get_by_label("이름 바꾸기").click()
    expect(chat.tab.get_by_label("제목", exact=True)).to_be_focused()
    chat.tab.keyboard.type("새 이름")
    chat.tab.keyboard.press("Enter")
    expect(item.locator("a")).to_have_text("새 이름")
    assert chat.tab.title() == "새 이름 – Lumen"
    chat.tab.reload()
    item.hover()
    with chat.tab.expect_download() as download:
        item.get_by_label("내보내기").click()
    assert json.loads(download.value.path().read_text())["conversations"][0]["title"] == "새 이름"
    item.get_by_label("삭제").click()
    expect(chat.tab.locator("dialog h2")).to_have_text("“새 이름” 대화를 삭제할까요?")
    chat.tab.keyboard.press("Escape")
    expect(item).to_have_count(1)
    item.hover()
    item.get_by_label("삭제").click()
    chat.tab.locator("dialog .danger").click()
    expect(item).to_have_count(0)
    chat.tab.reload()
    expect(item).to_have_count(0)


def test_search(chat):
    for title in ("Apple", "바나나", "apricot"):
        chat.tab.click("a.new")
        chat.ask(title)
    chat.tab.get_by_label("제목 검색").fill("AP")
    chat.shows("nav li a", ["apricot", "Apple"])
    chat.tab.get_by_label("제목 검색").fill("없음")
    expect(chat.tab.locator(".list .muted")).to_have_text("이 제목의 대화가 없습니다.")


# Lets a tab hear nothing of the others for a while, as if it were slow.
DEAF = """
const Channel = BroadcastChannel;
globalThis.BroadcastChannel = class extends Channel {
  set onmessage(call) { super.onmessage = (event) => globalThis.deaf || call(event); }
};
"""


def test_several_tabs(chat, context, script):
    context.add_init_script(DEAF)
    chat.tab.reload()
    chat.ask("하나")
    other = ChatPage(context, script)
    other.tab.click("nav li a")
    # What one tab asks, the other one shows.
    other.ask("둘")
    expect(chat.tab.locator(".bubble")).to_have_text(["하나", "둘"])
    expect(chat.tab.locator("article.answer .markdown")).to_have_text(["예.", "예."])
    # Both go on from the same place: these are branches, and neither is lost.
    goes_on = threading.Event()

    def waits(request):
        yield content(request["messages"][-1]["content"])
        goes_on.wait(30)
        yield from words("!")

    script.answer = waits
    for page in (chat, other):
        page.tab.evaluate("globalThis.deaf = true")
    chat.send("왼쪽")
    other.send("오른쪽")
    chat.wait_for_request(4)
    goes_on.set()
    assert chat.answer() == "왼쪽!"
    assert other.answer() == "오른쪽!"
    for page in (chat, other):
        page.tab.reload()
        bubbles = page.tab.locator(".bubble")
        expect(bubbles).to_have_count(3)
        shown = bubbles.last.inner_text()
        arrow = page.tab.locator("article.user .branches button:enabled")
        arrow.click()
        page.shows(".bubble", ["하나", "둘", "왼쪽" if shown == "오른쪽" else "오른쪽"])
    # Settings hold in both.
    chat.settings()
    chat.tab.get_by_label("언어").select_option("en")
    expect(other.tab.locator("a.new")).to_have_text("New conversation")
    chat.tab.get_by_label("Language").select_option("system")
    chat.tab.keyboard.press("Escape")
    # And what one deletes is gone.
    chat.tab.locator("nav li").hover()
    chat.tab.locator("nav li").get_by_label("삭제").click()
    chat.tab.locator("dialog .danger").click()
    expect(other.tab.locator("nav li")).to_have_count(0)
    expect(other.tab.locator(".welcome")).to_be_visible()
    assert other.complaints == []


REFUSES = {
    "no database": """
        const get = () => { throw new DOMException('no', 'SecurityError'); };
        Object.defineProperty(globalThis, 'indexedDB', { get });
    """,
    "nothing at all": """
        Object.defineProperty(globalThis, 'indexedDB', { value: undefined });
        const get = () => { throw new DOMException('no', 'SecurityError'); };
        Object.defineProperty(globalThis, 'localStorage', { get });
        Object.defineProperty(globalThis, 'sessionStorage', { get });
    """,
    "a later version": """
        const open = indexedDB.open.bind(indexedDB);
        indexedDB.open = (name) => {
          const request = open(name + '-later', 1);
          const failing = new EventTarget();
          setTimeout(() => failing.onerror?.(new Event('error')));
          request.onsuccess = () => request.result.close();
          failing.error = new DOMException('later', 'VersionError');
          return failing;
        };
    """,
}


@pytest.mark.parametrize("refusal", REFUSES)
def test_browsers_that_keep_nothing(context, script, refusal):
    context.add_init_script(REFUSES[refusal])
    chat = ChatPage(context, script)
    notice = chat.tab.locator(".notice")
    expect(notice).to_have_text("브라우저가 저장을 허용하지 않습니다. 남길 대화는 내보내세요.")
    # It works all the same, as long as the page is there.
    chat.ask("하나")
    chat.tab.click("a.new")
    chat.ask("둘")
    chat.tab.click("nav li a >> text=하나")
    chat.shows(".bubble", ["하나"])
    assert len(json.loads(export(chat))["conversations"]) == 2
    notice.get_by_label("닫기").click()
    expect(notice).to_have_count(0)
    assert chat.complaints == []


def test_a_database_of_a_later_version(context, script):
    first = ChatPage(context, script)
    first.ask("하나")
    first.tab.evaluate(
        """new Promise((done, failed) => {
          const request = indexedDB.open('lumen', 99);
          request.onsuccess = () => { request.result.close(); done(); };
          request.onerror = () => failed(request.error);
        })"""
    )
    # The open page lets go of the database, and says that it cannot save any more.
    first.send("둘")
    expect(first.tab.locator(".notice")).to_contain_text("대화를 저장하지 못했습니다")
    second = ChatPage(context, script)
    expect(second.tab.locator(".notice")).to_contain_text("브라우저가 저장을 허용하지 않습니다")
    second.ask("셋")
    assert first.complaints == second.complaints == []


def test_storage_that_is_full(chat):
    chat.ask("하나")
    chat.tab.evaluate(
        """
        IDBObjectStore.prototype.put = function () {
          const { transaction } = this;
          Promise.resolve().then(() => (transaction.done ||= transaction.abort() ?? true));
        };
        const full = new DOMException('full', 'QuotaExceededError');
        Object.defineProperty(IDBTransaction.prototype, 'error', { get: () => full });
        """
    )
    assert chat.ask("둘") == "예."
    expect(chat.tab.locator(".notice")).to_have_text(
        "대화를 저장하지 못했습니다 (브라우저의 저장 공간이 가득 참). 내보내기로 남길 수 있습니다."
    )
    assert [message["content"] for message in json.loads(export(chat))["conversations"][0]["messages"]] == [
        "하나",
        "예.",
        "둘",
        "예.",
    ]


def test_a_damaged_conversation(chat):
    chat.ask("하나")
    chat.tab.click("a.new")
    chat.tab.evaluate(
        """new Promise((done) => {
          const request = indexedDB.open('lumen', 1);
          request.onsuccess = () => {
            const change = request.result.transaction('messages', 'readwrite');
            change.objectStore('messages').openCursor().onsuccess = ({ target: { result } }) => {
              if (result === null) return;
              result.update({ ...result.value, role: 'nobody' });
              result.continue();
            };
            change.oncomplete = () => { request.result.close(); done(); };
          };
        })"""
    )
    chat.tab.reload()
    chat.tab.click("nav li a")
    expect(chat.tab.locator(".notice")).to_have_text("이 대화는 손상되어 열 수 없습니다.")
    chat.tab.fill(MESSAGE, "새로")
    assert chat.ask("새로") == "예."
