# SPDX-License-Identifier: Apache-2.0
"""Takes the picture of the chat page: ``python test/web/picture.py docs/images/chat-page.png``.

It takes a font for Korean, such as Debian's ``fonts-noto-cjk``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from page_driver import ChatPage, browser
from scripted_server import content, end, reasoning, serving, words

TITLES = ["회의록 세 줄 요약", "파이썬으로 CSV 읽기", "부산 여행 일정"]
QUESTION = "4비트 양자화가 무엇인지 짧게 설명해 줘."
ANSWER = """**양자화(quantization)**는 가중치를 적은 비트로 나타내는 일입니다. \
가중치 $w$를 그룹으로 나누고, 그룹마다 배율 $s$와 최솟값 $m$을 정합니다.

$$w \\approx s \\cdot q - m, \\qquad q \\in \\{0, 1, \\dots, 15\\}$$

| 형식 | 가중치당 비트 | 8B 모델 |
|---|---:|---:|
| F16 | 16 | 16.1 GB |
| Q8_0 | 8.5 | 8.5 GB |
| Q4_K_M | 4.9 | 4.9 GB |

```python
def dequantize(codes, scale, minimum):
    return scale * codes - minimum  # 코드 32개가 한 그룹
```
"""


def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The example."""
    if request["messages"][-1]["content"] != QUESTION:
        return words("네.")
    return example()


def example() -> Iterator[dict[str, Any]]:
    """An answer with all that one looks for in a picture."""
    yield reasoning("짧게 설명하고, 식과 표를 보이자.")
    yield content(ANSWER)
    yield end(prompt=1480, cached=1402, tokens=213) | {
        "timings": {
            "prompt_ms": 61.0,
            "predicted_n": 213,
            "predicted_ms": 5020.0,
            "predicted_per_second": 42.4,
        }
    }


def main(path: str) -> None:
    """Writes the picture."""
    with serving() as script, browser() as chromium:
        script.answer, script.models = answer, ["example-8B-Q4_K_M"]
        with chromium.new_context(locale="ko-KR", viewport={"width": 1120, "height": 800}) as context:
            chat = ChatPage(context, script)
            for title in TITLES:
                chat.ask(title)
                chat.tab.click("a.new")
            chat.ask(QUESTION)
            chat.tab.mouse.move(700, 20)
            chat.tab.wait_for_timeout(500)
            chat.tab.screenshot(path=path)


if __name__ == "__main__":
    main(*sys.argv[1:])
