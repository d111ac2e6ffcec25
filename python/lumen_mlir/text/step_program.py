# SPDX-License-Identifier: Apache-2.0
"""Normalizers and pre-tokenizers of the package ``tokenizers`` as lists of steps for a small interpreter.

A step is an operation and three numbers. It works on the pieces that a text is in so far:

====================  ===============================================================================
``NFC``               Unicode's normal form C
``PREPEND s``         text s before each piece
``REPLACE p s``       what program p matches becomes text s
``ALPHABET``          bytes become the characters of the byte alphabet
``CUT p b n``         cuts where program p matches, with behaviour b; n = 1: where it does not match
``PREFIX s f``        text s before each piece that does not begin with it; f = 1: only where a prompt begins
====================  ===============================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tokenizers import pre_tokenizers

from lumen_mlir.text.code_points import digits, removed_by
from lumen_mlir.text.pattern_program import Programs
from lumen_mlir.text.token_types import TokenizerError
from lumen_mlir.text.tokenizer_rules import Rules, parts

NFC, PREPEND, REPLACE, ALPHABET, CUT, PREFIX = range(1, 7)
_BEHAVIOURS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
_REMOVED, _ISOLATED, _MERGED_WITH_NEXT = 0, 1, 3

# How the package cuts texts for its byte-level tokenizer.
_BYTE_LEVEL = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Step = tuple[int, int, int, int]


@dataclass
class StepPrograms:
    """Steps of normalizers and pre-tokenizers, with the programs and texts that they name by number."""

    programs: Programs = field(default_factory=Programs)
    texts: list[bytes] = field(default_factory=list)

    def normalizer(self, rules: Rules) -> list[Step]:
        """The steps of the normalizer. Raises ``TokenizerError`` for those that bundles do not have."""
        steps: list[Step] = []
        for spec in parts(_described(rules.normalizer)):
            kind = spec["type"]
            if kind == "NFC":
                steps.append((NFC, 0, 0, 0))
            elif kind == "Prepend":
                steps.append((PREPEND, self._text(spec["prepend"]), 0, 0))
            elif kind == "Replace":
                steps.append((REPLACE, self._pattern(spec["pattern"]), self._text(spec["content"]), 0))
            elif kind == "ByteLevel":
                steps.append((ALPHABET, 0, 0, 0))
            else:
                raise TokenizerError(f"the normalizer has a step of type '{kind}', which bundles cannot have")
        return steps

    def splitter(self, rules: Rules) -> list[Step]:
        """The steps of the pre-tokenizer, likewise."""
        steps: list[Step] = []
        for spec in parts(_described(rules.splitter)):
            kind = spec["type"]
            if kind == "Split":
                how = _BEHAVIOURS.index(spec["behavior"])
                steps.append((CUT, self._pattern(spec["pattern"]), how, int(spec["invert"])))
            elif kind == "ByteLevel":
                if spec["add_prefix_space"]:
                    steps.append((PREFIX, self._text(" "), 0, 0))
                if spec["use_regex"]:
                    steps.append((CUT, self.programs.add(_BYTE_LEVEL), _ISOLATED, 0))
                steps.append((ALPHABET, 0, 0, 0))
            elif kind == "Metaspace":
                steps += self._metaspace(spec)
            elif kind == "CharDelimiterSplit":
                steps.append((CUT, self.programs.add_text(spec["delimiter"]), _REMOVED, 0))
            elif kind in ("Digits", "Punctuation", "WhitespaceSplit"):
                steps.append(self._characters(kind, spec))
            else:
                raise TokenizerError(
                    f"the pre-tokenizer has a step of type '{kind}', which bundles cannot have"
                )
        return steps

    def _metaspace(self, spec: dict[str, Any]) -> list[Step]:
        mark, scheme = spec["replacement"], spec["prepend_scheme"]
        steps: list[Step] = [(REPLACE, self.programs.add_text(" "), self._text(mark), 0)]
        if scheme != "never":
            steps.append((PREFIX, self._text(mark), int(scheme == "first"), 0))
        if spec["split"]:
            steps.append((CUT, self.programs.add_text(mark), _MERGED_WITH_NEXT, 0))
        return steps

    def _characters(self, kind: str, spec: dict[str, Any]) -> Step:
        """Cuts at single characters, of a set that only the package knows."""
        if kind == "Digits":
            how = "Isolated" if spec["individual_digits"] else "Contiguous"
            ranges = digits()
        elif kind == "Punctuation":
            how, ranges = spec["behavior"], removed_by(pre_tokenizers.Punctuation("removed"))
        else:
            how, ranges = "Removed", removed_by(pre_tokenizers.WhitespaceSplit())
        return (CUT, self.programs.add_set(ranges), _BEHAVIOURS.index(how), 0)

    def _pattern(self, pattern: dict[str, str]) -> int:
        if "String" in pattern:
            return self.programs.add_text(pattern["String"])
        return self.programs.add(pattern["Regex"])

    def _text(self, text: str) -> int:
        data = text.encode("utf-8")
        if data not in self.texts:
            self.texts.append(data)
        return self.texts.index(data)


def _described(step: Any) -> Any:
    """A step of the package as it stands in a tokenizer.json."""
    return None if step is None else json.loads(step.__getstate__())
