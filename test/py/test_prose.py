# SPDX-License-Identifier: Apache-2.0
"""Pages are easy to read: short sentences, and how things are instead of how they came to be so."""

from pathlib import Path

import prose
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# These are dated, and tell of the code of their day.
DATED = [page for page in PAGES if page.parent.name == "experiments" or page.name == "CHANGELOG.md"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sentences(page):
    assert prose.long_sentences(page) == [], f"more than {prose.MOST_WORDS} words"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DATED], ids=name)
def test_no_history(page):
    assert prose.history(page) == []


TEXT = """# A heading. Of two sentences

One sentence, e.g. this
one, with 3.5 `codes of. it` and a [link. With a point](page.md). Another *one.* (A third?)

<!-- A comment. -->

    code. Of a block

- An item
  that goes on
- Another

| cell | a. b |
|---|---|

```
fenced. Code
```
"""


def test_what_a_sentence_is():
    assert list(prose.sentences(TEXT)) == [
        "A heading.",
        "Of two sentences",
        "One sentence, e.g. this one, with 3.5 code and a link.",
        "With a point.",
        "Another *one.*",
        "(A third?)",
        "An item that goes on",
        "Another",
        "cell",
        "a.",
        "b",
    ]
    assert prose.words("- 3.5 words, *and* `code` — no dash") == 6


def test_what_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{'word ' * 31}. {'word ' * 30}.\n\nIt is no longer so. It lasts no longer than that.\n")
    assert [prose.words(sentence) for sentence in prose.long_sentences(page)] == [31]
    assert prose.history(page) == ["It is no longer so."]
