# SPDX-License-Identifier: Apache-2.0
"""How text becomes words before merging: the steps of the Hugging Face package ``tokenizers``.

They come from a family (``tokenizer.ggml.pre``), or, where a model was a Hugging Face folder, from its
``tokenizer.json``. A model file keeps these under ``RULES``, as a JSON object: ``normalizer`` and
``pre_tokenizer`` as in ``tokenizer.json``, of its ``model`` what is neither vocabulary nor merges, and of
each added token its ``id``, what is true of ``FLAGS``, ``in_model`` where it is a token of the model besides,
and its ``content`` where the vocabulary has none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken

from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.text.pretokenizers import PreTokenizer
from lumen_mlir.text.token_types import RULES, UNKNOWN, UNUSED, USER_DEFINED, TokenizerError

FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")
# The steps that are known to work here; the package has more, for models of other kinds.
_NORMALIZERS = (
    *("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Prepend", "Replace", "ByteLevel"),
    *("Nmt", "BertNormalizer"),
)
_PRE_TOKENIZERS = (
    *("ByteLevel", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "CharDelimiterSplit"),
    *("Metaspace", "BertPreTokenizer", "UnicodeScripts"),
)
# Steps that leave a text in the byte alphabet in it.
_CUTS = ("Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "CharDelimiterSplit")


@dataclass(frozen=True)
class Added:
    """A token that is taken out of a text before it is cut into words."""

    id: int
    content: str
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    in_model: bool = True

    def package(self) -> AddedToken:
        """The same in the package's terms."""
        return AddedToken(self.content, **{flag: getattr(self, flag) for flag in FLAGS})


@dataclass(frozen=True)
class Rules:
    """The steps before merging, and how characters become the first tokens.

    ``byte_level``: words come in the byte alphabet; otherwise in characters, and one that is no token
    becomes its bytes, such as ``<0xEA>``. ``plain``: that holds whatever the text is. ``outside``: ids that
    no merging gives: added tokens and padding. ``behind``: the rules for what does not begin a prompt, where
    they are others.
    """

    normalizer: tokenizers.normalizers.Normalizer | None
    splitter: tokenizers.pre_tokenizers.PreTokenizer | None
    byte_level: bool
    plain: bool
    ignore_merges: bool
    added: tuple[Added, ...]
    outside: frozenset[int] = frozenset()
    byte_fallback: bool = False
    fuse_unk: bool = False
    unk_token: str | None = None
    behind: Rules | None = None

    def model(
        self, ids: dict[str, int], merges: list[tuple[str, str]], **options: Any
    ) -> tokenizers.models.BPE:
        """The package's model for these tokens and merges."""
        return tokenizers.models.BPE(
            vocab=ids, merges=merges, byte_fallback=self.byte_fallback, fuse_unk=self.fuse_unk, **options
        )

    def tokenizer(self, model: tokenizers.models.Model) -> tokenizers.Tokenizer:
        """The package's tokenizer: added tokens are taken out of a text, and ``model`` splits the rest."""
        built = tokenizers.Tokenizer(model)
        if self.normalizer is not None:
            built.normalizer = self.normalizer
        if self.splitter is not None:
            built.pre_tokenizer = self.splitter
        for special in (True, False):
            chosen = [token.package() for token in self.added if token.special == special]
            (built.add_special_tokens if special else built.add_tokens)(chosen)
        return built

    def with_special(self, ids: list[int], text: Callable[[int], str]) -> Rules:
        """The same, where the tokens ``ids`` are special too."""
        known = {token.id for token in self.added}
        more = [Added(index, text(index), special=True) for index in ids if index not in known]
        return replace(self, added=(*self.added, *more))


def rules_of_family(pre: PreTokenizer, types: np.ndarray, text: Callable[[int], str]) -> Rules:
    """The rules of a byte-level family. ``text`` gives the token of an id."""
    marked = np.flatnonzero((types >= UNKNOWN) & (types <= USER_DEFINED)).tolist()
    added = tuple(
        Added(index, text(index), special=bool(types[index] != USER_DEFINED))
        for index in marked
        if text(index)
    )
    normalizer = pre.normalizer() if pre.nfc else None
    return Rules(normalizer, pre.splitter(), True, True, pre.ignore_merges, added)


def read_rules(
    path: str,
    source: str,
    types: np.ndarray,
    text: Callable[[int], str],
    family: PreTokenizer | None,
    overruled: bool,
) -> Rules:
    """The rules in ``source``, the value of ``RULES``.

    ``family`` cuts the text where the rules do not say how, or if they are ``overruled``. Raises
    ``TokenizerError``.
    """
    with refusing(f"{path}: '{RULES}'"):
        spec = json.loads(source)
        if not isinstance(spec, dict):
            raise TokenizerError("is no JSON object")
        added = tuple(_added(spec.get("added_tokens", []), len(types), text))
        outside = {token.id for token in added if not token.in_model}
        outside |= set(np.flatnonzero(types == UNUSED).tolist())
        model = spec.get("model", {})
        rules = Rules(
            *package_steps(spec),
            *_alphabet(spec),
            bool(model.get("ignore_merges")),
            added,
            frozenset(outside),
            bool(model.get("byte_fallback")),
            bool(model.get("fuse_unk")),
            model.get("unk_token"),
        )
        if family is not None and (overruled or "pre_tokenizer" not in spec):
            others = rules_of_family(family, np.empty(0, np.int32), text)
            return replace(others, added=rules.added, outside=rules.outside)
        firsts = [step for step in parts(spec.get("pre_tokenizer")) if step.get("prepend_scheme") == "first"]
        for step in firsts:
            step["prepend_scheme"] = "never"
        return replace(rules, behind=replace(rules, splitter=package_steps(spec)[1])) if firsts else rules


def package_steps(spec: dict) -> tuple[Any, Any]:
    """Normalizer and pre-tokenizer of a tokenizer.json as the package's objects, or None.

    Raises ``TokenizerError`` for steps that are not known, and whatever the package raises.
    """
    for key, known in (("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS)):
        for step in parts(spec.get(key)):
            kind, pattern = step.get("type"), step.get("pattern")
            if kind not in known:
                raise TokenizerError(f"'{key}' has a step of type {kind!r:.60}; known are {', '.join(known)}")
            if isinstance(pattern, dict) and "" in pattern.values():
                raise TokenizerError(f"'{key}' has a step of type '{kind}' with an empty pattern")
    model = spec.get("model", {})
    chosen = {key: model[key] for key in ("ignore_merges", "byte_fallback", "fuse_unk") if key in model}
    steps = {key: spec.get(key) for key in ("normalizer", "pre_tokenizer")}
    empty = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", **chosen, "vocab": {}, "merges": []},
    }
    built = tokenizers.Tokenizer.from_str(json.dumps({**empty, **steps}))
    return built.normalizer, built.pre_tokenizer


def parts(step: Any) -> list[dict]:
    """A step of tokenizer.json, with the steps of sequences one by one."""
    if not isinstance(step, dict):
        return []
    nested = next((step[key] for key in ("normalizers", "pretokenizers", "processors") if key in step), None)
    return [inner for each in nested for inner in parts(each)] if isinstance(nested, list) else [step]


@contextmanager
def refusing(what: str, error: type[LumenError] = TokenizerError) -> Iterator[None]:
    """Whatever the package or odd values raise inside becomes an ``error`` that begins with ``what``."""
    try:
        yield
    except LumenError as found:
        raise error(f"{what}: {found}") from None
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    # Rust's panics come as a kind of BaseException, and the package's errors as bare Exception.
    except BaseException as found:
        text = one_line(found, 200)
        if isinstance(found, (LookupError, TypeError, ValueError, AttributeError, RecursionError)):
            text = f"is damaged ({type(found).__name__}: {text})"
        printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        raise error(f"{what}: {printable}") from found


def byte_level(spec: dict) -> bool:
    """Whether a tokenizer.json turns text into the byte alphabet."""
    steps = [*parts(spec.get("normalizer")), *parts(spec.get("pre_tokenizer"))]
    return any(step.get("type") == "ByteLevel" for step in steps)


def _alphabet(spec: dict) -> tuple[bool, bool]:
    """``Rules.byte_level`` and ``Rules.plain``."""
    steps = [*parts(spec.get("normalizer")), *parts(spec.get("pre_tokenizer"))]
    kinds = [step.get("type") for step in steps]
    if "ByteLevel" in kinds:
        behind = kinds[kinds.index("ByteLevel") + 1 :]
        return True, set(behind) <= set(_CUTS)
    return False, bool(spec.get("model", {}).get("byte_fallback"))


def _added(listed: list, count: int, text: Callable[[int], str]) -> Iterator[Added]:
    for entry in listed:
        index = entry["id"]
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise TokenizerError(f"an added token has the id {index!r}")
        content = text(index) if index < count else entry.get("content")
        if not isinstance(content, str):
            raise TokenizerError(f"added token {index} has no content")
        flags = {flag: bool(entry.get(flag)) for flag in FLAGS}
        if content:
            yield Added(index, content, **flags, in_model=bool(entry.get("in_model")))
