// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Blocks, wholeBlocks } from "../src/markdown/blocks.ts";
import { highlighted } from "../src/markdown/highlight.ts";
import { toHtml } from "../src/markdown/parser.ts";

const html = (text: string) => toHtml(text).trim();

test("bold text before Korean particles", () => {
  assert.equal(html('**"말"**은'), "<p><strong>&quot;말&quot;</strong>은</p>");
  assert.equal(html("**배율(scale)**과 **a `**` b**"), "<p><strong>배율(scale)</strong>과 <strong>a <code>**</code> b</strong></p>");
  assert.equal(html("2 ** 3 ** 4"), "<p>2 ** 3 ** 4</p>");
  assert.equal(html("**a *b* c** ***d***"), "<p><strong>a <em>b</em> c</strong> <em><strong>d</strong></em></p>");
});

test("formulas", () => {
  assert.equal(html("값 $x<1$는"), '<p>값 <span class="math">x&lt;1</span>는</p>');
  assert.equal(html("\\(a_1 * b * c\\)"), '<p><span class="math">a_1 * b * c</span></p>');
  const display = '<p><span class="math display">a\n\nb</span></p>';
  assert.equal(html("$$\na\n\nb\n$$"), display);
  assert.equal(html("\\[\na\n\nb\n\\]"), display);
  assert.equal(html("앞\n$$x$$\n뒤"), '<p>앞</p>\n<p><span class="math display">x</span></p>\n<p>뒤</p>');
  assert.equal(html("`$x$`"), "<p><code>$x$</code></p>");
});

test("prices are no formulas", () => {
  for (const text of ["$5와 $10", "US$5, US$6", "$100에서 $200로", "$ 5 $", "\\$x\\$"]) {
    assert.equal(html(text).includes("math"), false, text);
  }
});

test("tags are text, but for those that Markdown has no words for", () => {
  assert.equal(html("a<br>b H<sub>2</sub>O"), "<p>a<br>b H<sub>2</sub>O</p>");
  assert.equal(html("List<String> <b onclick=x>"), "<p>List&lt;String&gt; &lt;b onclick=x&gt;</p>");
  assert.equal(html("<script>alert(1)</script>"), '<p class="source">&lt;script&gt;alert(1)&lt;/script&gt;</p>');
  assert.equal(html("<br onload=x>"), '<p class="source">&lt;br onload=x&gt;</p>');
});

test("pictures are links, unless they are in the text", () => {
  assert.equal(html("![그림](https://example.com/a.png)"), '<p><a href="https://example.com/a.png">그림</a></p>');
  assert.equal(html("![x](data:image/png;base64,AA==)"), '<p><img src="data:image/png;base64,AA==" alt="x"></p>');
  assert.equal(html("![x](data:image/svg+xml,<svg>)").includes("<img"), false);
});

test("code", () => {
  assert.equal(html('```c++ x\na<b\n```'), '<pre data-language="c++"><code>a&lt;b\n</code></pre>');
  assert.equal(html('```"><script>\n1\n```'), '<pre data-language="&quot;&gt;&lt;script&gt;"><code>1\n</code></pre>');
  assert.equal(highlighted("return <1>", "python"), '<span class="hljs-keyword">return</span> &lt;<span class="hljs-number">1</span>&gt;');
  assert.equal(highlighted("x", "no-such-language"), null);
  assert.equal(highlighted("x".repeat(200_000), "python"), null);
});

const TEXT = `# 제목

문단 하나
둘째 줄

1. 하나

2. 둘
   - 셋

   문단

\`\`\`python
a = 1

b = 2
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

$$
x

y
$$

    code

    more

> 인용
이어서

끝 [링크][1]
`;

test("a text that grows has the blocks of the whole one, and those before the last do not change", () => {
  for (const step of [1, 3, 7, 50]) {
    const growing = new Blocks();
    let before: string[] = [];
    for (let length = 0; length <= TEXT.length + step; length += step) {
      const blocks = growing.update(TEXT.slice(0, length));
      assert.deepEqual(blocks.slice(0, Math.max(0, before.length - 1)), before.slice(0, -1));
      before = blocks;
    }
    const trimmed = (blocks: string[]) => blocks.map((block) => block.trimEnd());
    assert.deepEqual(trimmed(before), trimmed(wholeBlocks(TEXT)), `steps of ${step}`);
  }
});

test("lines may end as on Windows, and a chunk between the two characters", () => {
  const growing = new Blocks();
  growing.update("a\r");
  growing.update("a\r\n\r");
  assert.deepEqual(growing.update("a\r\n\r\nb\r\n\r\nc\r\n").map((block) => block.trim()), ["a", "b", "c"]);
});

test("what looks like the begin of a formula does not hold back the text for long", () => {
  const text = `$$ 비싼 것\n\n${"문단\n\n".repeat(2000)}`;
  assert.ok(new Blocks().update(text).length > 1000);
});

test("links by names find them", () => {
  const [first] = wholeBlocks("[글][1]\n\n다음\n\n[1]: https://example.com/x\n");
  assert.equal(html(first), '<p><a href="https://example.com/x">글</a></p>');
});

test("a block costs the same, however long the text before is", () => {
  // Reads every block but the last once: 20,000 blocks would take minutes otherwise.
  const growing = new Blocks();
  let text = "";
  for (let number = 0; number < 20_000; number++) {
    text += `문단 ${number}\n\n`;
    if (number % 10 === 0) growing.update(text);
  }
  assert.equal(growing.update(text).length, 20_000);
});
