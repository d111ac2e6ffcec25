# SPDX-License-Identifier: Apache-2.0
"""Whether and how long a model thinks: what its template can be told, and how reasoning is ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lumen_mlir.text.answers.forms import ReasoningFormat
from lumen_mlir.text.answers.parser import AnswerParser
from lumen_mlir.text.answers.probe import QUESTION, Probe
from lumen_mlir.text.answers.start import Start
from lumen_mlir.text.chat_messages import ChatError

if TYPE_CHECKING:
    from lumen_mlir.text.tokenizer import Tokenizer

# Variables that turn reasoning on, and those that turn it off.
_SWITCHES = ("enable_thinking", "thinking", "enable_reasoning", "force_reasoning")
_OFF_SWITCHES = ("skip_reasoning", "disable_thinking")
_EFFORTS = ("none", "minimal", "low", "medium", "high")


@dataclass(frozen=True)
class ThinkingVariables:
    """What a template can be told: the variables for thinking, for none, and for each effort.

    None where it has no such variable. Of an effort that is not known, the template makes an error.
    """

    on: Mapping[str, Any] | None = None
    off: Mapping[str, Any] | None = None
    efforts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def chosen(self, enable: bool | None = None, effort: str | None = None) -> dict[str, Any]:
        """The variables for a request. Raises ``ChatError`` for what the template cannot be told.

        The effort "none" is to think not at all. A template without a switch cannot keep a model from
        thinking; to let it think is nothing special.
        """
        variables: dict[str, Any] = {}
        if effort is not None:
            if effort in self.efforts:
                variables.update(self.efforts[effort])
            elif effort == "none":
                enable = False if enable is None else enable
            elif self.efforts:
                known = ", ".join(self.efforts)
                raise ChatError(f"the effort is '{effort}'; the model's chat template knows {known}")
            elif effort not in _EFFORTS:
                raise ChatError(f"the effort is '{effort}'; expected one of {', '.join(_EFFORTS)}")
        if enable is False and self.off is None:
            raise ChatError("the model's chat template has no switch for thinking")
        if enable is not None:
            variables.update((self.on if enable else self.off) or {})
        return variables


def find_variables(
    probe: Probe, variables: frozenset[str], reasoning: ReasoningFormat | None
) -> ThinkingVariables:
    """What the template of ``variables`` can be told."""
    on: dict[str, Any] = {}
    off: dict[str, Any] = {}
    for name in _SWITCHES:
        if name in variables:
            prompts = [_prompt(probe, {name: value}) for value in (True, False)]
            if None not in prompts and prompts[0] != prompts[1]:
                on[name], off[name] = True, False
    for name in _OFF_SWITCHES:
        if name in variables:
            prompts = [_prompt(probe, {name: value}) for value in (True, False)]
            if None not in prompts and prompts[0] != prompts[1]:
                on[name], off[name] = False, True
    efforts: dict[str, dict[str, Any]] = {}
    if "reasoning_effort" in variables:
        tried = {each: _prompt(probe, {"reasoning_effort": each}) for each in _EFFORTS}
        unknown = _prompt(probe, {"reasoning_effort": "zq"})
        # An effort "none" that means nothing to the template is no way not to think.
        efforts = {
            each: {"reasoning_effort": each}
            for each, prompt in tried.items()
            if prompt is not None and (each != "none" or prompt != unknown)
        }
        ends = {each: Start.of(tried[each] or "", reasoning) for each in efforts}
        # An effort that writes an empty reasoning is a switch.
        without = next((each for each, start in ends.items() if start is Start.CONTENT), None)
        if not off and without is not None and set(ends.values()) != {Start.CONTENT}:
            off = {"reasoning_effort": without}
    return ThinkingVariables(on or ({} if off else None), off or None, efforts)


def _prompt(probe: Probe, variables: Mapping[str, Any]) -> str | None:
    try:
        return probe.rendered([QUESTION], True, variables)
    except ChatError:
        return None


class ThinkingBudget:
    """Ends the reasoning of one answer when its tokens are used up.

    Args:
      closing: the tokens that end reasoning (``AnswerFormat.closing_tokens``).
      parser: of the answer; what is fed to it is what is counted.
      tokens: how many may be thought; 0 for none.
    """

    def __init__(self, closing: list[int], parser: AnswerParser, tokens: int):
        self._closing, self._parser, self._left = closing, parser, tokens
        self._is_used_up = self._was_thinking = False

    def forced(self) -> list[int]:
        """Tokens that must come next, before any other is drawn; most often none.

        To be asked before the first token, and after each that was drawn and whose text the parser has been
        fed. After they were given once, the text of these tokens is fed to the parser like any other.
        """
        self._was_thinking = self._parser.is_thinking
        if self._is_used_up or self._left > 0 or not self._parser.is_thinking:
            return []
        self._is_used_up = True
        return list(self._closing)

    def drawn(self, is_whole: bool = True) -> None:
        """Counts a token that was drawn; ``is_whole``: no character lacks bytes behind it.

        A budget ends only behind a whole character. What begins the reasoning does not count.
        """
        if self._was_thinking:
            self._left = max(self._left - 1, 0 if is_whole else 1)


def closing_tokens(reasoning: ReasoningFormat, tokenizer: Tokenizer) -> list[int]:
    """The tokens of what ends reasoning."""
    return tokenizer.encode(reasoning.closing, special=True, add_bos=False, add_eos=False, begins=False)
