# SPDX-License-Identifier: Apache-2.0
"""Control tokens that are written in the text of messages, and stay text there.

A template writes control tokens, and a message may have the same letters in it: then the model would read a
turn that nobody took. So every such writing in a message becomes one rare character before the template sees
it, which survives whatever a template does to texts. In the prompt it becomes text again, and is encoded as
such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lumen_mlir.text.chat_messages import THOUGHTS, mapped
from lumen_mlir.text.tokenizer import Tokenizer

# Letters without case that Python prints as they are: Anatolian and Egyptian hieroglyphs.
LETTERS = [chr(code) for code in (*range(0x14400, 0x14644), *range(0x13000, 0x1342F))]


class SpecialTexts:
    """How the control tokens of a tokenizer are written.

    Args:
      tokens: the writing and the id of all control tokens.
      framing: the writing of those that end a turn or begin a text, which no message has in it.
    """

    def __init__(self, tokens: Mapping[str, int], framing: Iterable[str] = ()):
        self._all, self._framing = _finder(tokens), _finder(framing)
        self._ids = frozenset(tokens.values())

    @staticmethod
    def of(tokenizer: Tokenizer) -> SpecialTexts:
        """Those of ``tokenizer``."""
        framing = {*tokenizer.end_tokens, tokenizer.bos, tokenizer.eos}
        texts = [tokenizer.token_text(token) for token in framing if token is not None]
        return SpecialTexts(tokenizer.control_tokens, texts)

    def occur(self, text: str) -> bool:
        """Whether one of them is in ``text``."""
        return self._all is not None and self._all.search(text) is not None

    def hide(self, messages: list[dict[str, Any]], *others: Any) -> tuple[Hidden, list[Any]]:
        """What was hidden in normalized ``messages`` and ``others``, and these with letters in its place.

        The content of the model's own messages keeps its control tokens, but for those that end a turn.
        """
        hidden = Hidden([messages, *others])
        anywhere, framing = hidden.hiding(self._all), hidden.hiding(self._framing)

        def changed(message: dict[str, Any]) -> dict[str, Any]:
            own = ("content", *THOUGHTS) if message["role"] == "assistant" else ()
            return {
                anywhere(name): mapped(value, framing if name in own else anywhere)
                for name, value in message.items()
            }

        return hidden, [[changed(message) for message in messages], *(mapped(o, anywhere) for o in others)]

    def encode(self, tokenizer: Tokenizer, prompt: str, hidden: Hidden) -> list[int]:
        """The token ids of ``prompt``, in which letters stand for ``hidden``; none is added at its ends."""
        ids: list[int] = []
        for text, special in self.parts(prompt, hidden):
            options = {"special": special, "add_bos": False, "add_eos": False}
            made = tokenizer.encode(hidden.restored(text), begins=not ids, **options)
            if not special and not self._ids.isdisjoint(made):
                # Tokens that a file calls text are found everywhere but across a cut.
                made = []
                for piece in hidden.cut(text):
                    made += tokenizer.encode(piece, begins=not (ids or made), **options)
            ids += made
        return ids

    def parts(self, prompt: str, hidden: Hidden) -> list[tuple[str, bool]]:
        """``prompt`` in parts, and whether control tokens in them are such.

        A part without is the whole text between two control tokens: words are cut as they always are. Letters
        still stand for what is hidden.
        """
        if self._all is None or not hidden.letters:
            return [(prompt, True)]
        parts: list[tuple[str, bool]] = []
        tokens = [match.span() for match in self._all.finditer(prompt)]
        begins, ends = [0, *(end for _, end in tokens)], [*(begin for begin, _ in tokens), len(prompt)]
        taken = 0
        for begin, end in zip(begins, ends, strict=True):
            if hidden.occurs(prompt[begin:end]):
                parts += [(prompt[taken:begin], True), (prompt[begin:end], False)]
                taken = end
        return [part for part in [*parts, (prompt[taken:], True)] if part[0]]


class Hidden:
    """Letters that stand for texts; ``taken``: anything whose texts have none of them.

    Attributes:
      letters: each with its text.
    """

    def __init__(self, taken: Any = ()):
        self.letters: dict[str, str] = {}
        self._of: dict[str, str] = {}
        self._taken = taken
        self._free: list[str] | None = None

    def hiding(self, finder: re.Pattern | None) -> Callable[[str], str]:
        """A function that puts letters in the place of what ``finder`` finds in a text."""
        if finder is None:
            return lambda text: text
        return lambda text: finder.sub(self._letter, text)

    def occurs(self, text: str) -> bool:
        """Whether ``text`` has letters in it."""
        return any(letter in text for letter in self.letters)

    def restored(self, text: str) -> str:
        """``text`` with the texts that its letters stand for."""
        return (
            text.translate({ord(letter): whole for letter, whole in self.letters.items()})
            if self.letters
            else text
        )

    def cut(self, text: str) -> list[str]:
        """``restored`` in pieces: each text that a letter stands for is cut behind its first character."""
        pieces = [""]
        for part in re.split(f"([{''.join(self.letters)}])", text):
            written = self.letters.get(part, part)
            if part in self.letters:
                pieces[-1] += written[:1]
                pieces.append(written[1:])
            else:
                pieces[-1] += written
        return [piece for piece in pieces if piece]

    def _letter(self, match: re.Match) -> str:
        if match[0] not in self._of:
            if self._free is None:
                used: set[str] = set()
                mapped(self._taken, lambda text: used.update(text) or text)
                self._free = [letter for letter in reversed(LETTERS) if letter not in used]
            letter = self._free.pop()
            self._of[match[0]], self.letters[letter] = letter, match[0]
        return self._of[match[0]]


def _finder(texts: Iterable[str]) -> re.Pattern | None:
    """Finds the longest of ``texts`` at each place."""
    ordered = sorted(filter(None, texts), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
