# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers of every kind of ``tokenizer.json``, and texts that tell their rules apart."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from lumen_mlir.gguf import GGUFFile, Metadata
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.hf import tokenizer as hf_tokenizer
from lumen_mlir.hf.config import HFConfig
from lumen_mlir.text.pretokenizers import PRE_TOKENIZERS
from lumen_mlir.text.tokenizer import Tokenizer

_SENTENCES = (
    """
오늘 본 영화는 재미있었습니다. 배우들의 연기가 좋았고 음악도 훌륭했다! 대한민국 서울특별시 2024년 12월 31일
한국어 문장을 토큰으로 나누는 방법을 설명해 주세요. 그는 "안녕하세요?"라고 말했다. ㅋㅋㅋ ㅎㅎ ㅠㅠ
The quick brown fox jumps over the lazy dog; it's 12345 times, don't you know? I'VE said so: 3.14159!
def main():\n    print('hello, world')\n\n    return 0\n// a/b/c  --  x += 1;
user assistant system <think> </think> naïve café 你好，世界。 日本語です。 Привет мир 1,000.00 $5 #1
"""
    * 4
)
WORDS = _SENTENCES.split()

# What is written between words: all kinds of white space, controls, marks, scripts and signs.
_ODD = [
    *" \n\t\r\x0b\x0c\x85\u00a0\u2009\u200b\u200d\u3000\ufeff\x00\x01\x1b\x7f",
    *"'\"!?.,;:/\\-_+=<>|~`^$#@%&*()[]{}…。，「」·",
    *"0123456789①½²٣५Ⅷ",
    *"\u2581\u0120\u010a\u00bd\u0301\u0308\u11ab\u1161\u1112\uac00뷁힣ㄱㅏㆎᅟ",
    *"éÉñßıİΩΩK\u212b\ufb01ａＡǅⅣЖдאבहिで漢🇰🇷👨‍👩‍👧😀🏽\ue000\uffff\U0010ffff",
]
_PHRASES = [
    "  ",
    "   ",
    "\n\n",
    "\r\n",
    " \n ",
    "'s",
    "'LL",
    "'d",
    "<0x41>",
    "<0x0A>",
    "<unk>",
    "▁▁",
    "<|",
    "|>",
    "a ",
    "▁a",
]

# Special and ordinary tokens with every flag; some are tokens of the model besides.
ADDED = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<|im_", special=False, normalized=False),
    AddedToken("<l>", special=True, normalized=False, lstrip=True),
    AddedToken("<r>", special=True, normalized=False, rstrip=True),
    AddedToken("<lr>", special=False, normalized=True, lstrip=True, rstrip=True),
    AddedToken("한국", special=False, normalized=True, single_word=True),
    AddedToken("뷁", special=False, normalized=True),
    AddedToken("é", special=False, normalized=True),
    AddedToken("hello", special=False, normalized=False, single_word=True),
    AddedToken("the", special=True, normalized=False, single_word=True, lstrip=True),
    AddedToken(" x ", special=False, normalized=False),
    AddedToken("\n\n", special=False, normalized=False),
    AddedToken("ab", special=False, normalized=True),
    AddedToken("EOT", special=True, normalized=True),
]


def random_text(rng: random.Random) -> str:
    """A text of any kind, of up to about 40 pieces."""
    added = [token.content for token in ADDED]
    pieces = []
    for _ in range(rng.randrange(rng.choice((3, 12, 40)))):
        source = rng.randrange(7)
        if source == 0:
            piece = chr(
                rng.choice(
                    (rng.randrange(0xAC00, 0xD7A4), rng.randrange(0x1100, 0x1200), rng.randrange(0xD800))
                )
            )
        elif source == 1:
            piece = rng.choice(added)
        elif source == 2:
            piece = rng.choice(_PHRASES)
        else:
            piece = rng.choice((WORDS, WORDS, _ODD)[source % 3])
        if rng.random() < 0.3:
            piece += " "
        pieces.append(piece)
    text = "".join(pieces)
    form = rng.choice((None, None, None, "NFD", "NFC"))
    return text if form is None else unicodedata.normalize(form, text)


def _bytes(
    splitter, normalizer=None, added: bool = True, ignore_merges: bool = False
) -> tokenizers.Tokenizer:
    built = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    built.pre_tokenizer, built.decoder = splitter, decoders.ByteLevel()
    if normalizer is not None:
        built.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    built.train_from_iterator(_SENTENCES.splitlines(), trainer)
    return _with_added(built, added)


def _with_added(built: tokenizers.Tokenizer, added: bool) -> tokenizers.Tokenizer:
    for token in ADDED if added else ADDED[:2]:
        (built.add_special_tokens if token.special else built.add_tokens)([token])
    return built


def _split(*patterns: str) -> list:
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]


def _characters(
    normalizer, splitter, added: bool = True, bytes_missing: bool = False, **options
) -> tokenizers.Tokenizer:
    """A vocabulary that was one of SentencePiece."""
    special, raw = ["<unk>", "<s>", "</s>"], [f"<0x{byte:02X}>" for byte in range(256)]
    built = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", **options))
    built.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always", True)
    tokens = [*special, *(raw[:0xE0] if bytes_missing else raw)]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=tokens, show_progress=False)
    built.train_from_iterator(_SENTENCES.splitlines(), trainer)
    spec = json.loads(built.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] in special]
    vocabulary, merges = spec["model"]["vocab"], spec["model"]["merges"]
    for left, right in (("▁", "▁"), ("▁▁", "▁▁")):
        vocabulary[left + right] = len(vocabulary)
        merges.append([left, right])
    steps = tokenizers.Tokenizer(models.BPE())
    if normalizer is not None:
        steps.normalizer = normalizer
    if splitter is not None:
        steps.pre_tokenizer = splitter
    steps = json.loads(steps.to_str())
    spec |= {key: steps[key] for key in ("normalizer", "pre_tokenizer")}
    built = tokenizers.Tokenizer.from_str(json.dumps(spec))
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _with_added(built, added)


def _kinds() -> dict[str, Callable[[], tokenizers.Tokenizer]]:
    level, metaspace = pre_tokenizers.ByteLevel, pre_tokenizers.Metaspace
    sequence = pre_tokenizers.Sequence
    found: dict[str, Callable[[], tokenizers.Tokenizer]] = {}
    for pre in dict.fromkeys(PRE_TOKENIZERS.values()):
        normalizer = pre.normalizer() if pre.nfc else None
        found[pre.names[0]] = lambda pre=pre, normalizer=normalizer: _bytes(
            pre.splitter(), normalizer, ignore_merges=pre.ignore_merges
        )
    digits, to_bytes = pre_tokenizers.Digits(individual_digits=True), level(False, use_regex=False)
    found |= {
        "byte-level": lambda: _bytes(level(add_prefix_space=False)),
        "byte-level-prefix": lambda: _bytes(level(add_prefix_space=True)),
        "digits": lambda: _bytes(sequence([digits, level(add_prefix_space=False)]), added=False),
        "falcon-steps": lambda: _bytes(
            sequence(
                [
                    pre_tokenizers.Punctuation("contiguous"),
                    level(add_prefix_space=False),
                    pre_tokenizers.Digits(individual_digits=False),
                    *_split("[0-9][0-9][0-9]"),
                ]
            )
        ),
        "deepseek-steps": lambda: _bytes(
            sequence([*_split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一]+"), digits, to_bytes])
        ),
        "no-family": lambda: _bytes(
            sequence([*_split(r"[가-힣]+| ?[a-z]+|\s+"), to_bytes]), ignore_merges=True
        ),
        "whole-text": lambda: _bytes(to_bytes),
        "bytes-by-normalizer": lambda: _bytes(sequence(_split(r"[^Ġ]+|Ġ+")), normalizers.ByteLevel()),
        "characters-after-bytes": lambda: _bytes(sequence([level(False), metaspace("▁", "always")])),
    }
    cutters = {
        "white-space": pre_tokenizers.Whitespace(),
        "white-space-split": pre_tokenizers.WhitespaceSplit(),
        "one-character": pre_tokenizers.CharDelimiterSplit("e"),
        "scripts": pre_tokenizers.UnicodeScripts(),
        "bert": pre_tokenizers.BertPreTokenizer(),
        "inverted": pre_tokenizers.Split(Regex(r"\S+"), "merged_with_next", invert=True),
    }
    for name, cutter in cutters.items():
        found[name] = lambda cutter=cutter: _bytes(sequence([cutter, to_bytes]))
    steps = {
        "nmt": normalizers.Nmt(),
        "bert-normalizer": normalizers.BertNormalizer(),
        "nfd": normalizers.NFD(),
        "nfkc": normalizers.NFKC(),
        "lowercase": normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
        "accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
        "strip": normalizers.Strip(),
        "replace": normalizers.Replace(Regex(r"\s+"), " "),
    }
    for name, step in steps.items():
        found[name] = lambda step=step: _bytes(level(add_prefix_space=False), step)
    replace = normalizers.Replace(" ", "▁")
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    found |= {
        "legacy": lambda: _characters(legacy, None),
        "legacy-plain": lambda: _characters(legacy, None, added=False),
        "gemma": lambda: _characters(replace, None),
        "gemma-split": lambda: _characters(replace, pre_tokenizers.Split(" ", "merged_with_previous")),
        "nfkc-characters": lambda: _characters(normalizers.Sequence([normalizers.NFKC(), replace]), None),
        "unknown": lambda: _characters(legacy, None, bytes_missing=True),
        "unknown-fused": lambda: _characters(legacy, None, bytes_missing=True, fuse_unk=True),
        "whole-words": lambda: _characters(None, metaspace("▁", "always"), ignore_merges=True),
    }
    for scheme in ("first", "always", "never"):
        for split in (False, True):
            name = f"metaspace-{scheme}" + ("-split" if split else "")
            found[name] = lambda scheme=scheme, split=split: _characters(None, metaspace("▁", scheme, split))
    return found


KINDS = _kinds()


class Folder:
    """A model file with nothing but the tokenizer of a folder."""

    files = ()

    def __init__(self, folder: Path):
        self.path = str(folder)
        self.entries = hf_tokenizer.metadata(folder, HFConfig(folder / "config.json"))
        self.metadata = Metadata.of(self.path, self.entries)

    def fingerprint(self) -> str:
        """The key of nothing: there is no cache."""
        return "0"


def write_folder(folder: Path, reference: tokenizers.Tokenizer, rows: int | None = None) -> Folder:
    """``reference`` as a folder with an embedding table of ``rows`` (else as many as it needs)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(reference.to_str(), encoding="utf-8")
    rows = rows or max(reference.get_vocab(True).values()) + 1
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": rows}
    (folder / "config.json").write_text(json.dumps(config))
    return Folder(folder)


def convert(folder: Folder, path: Path) -> GGUFFile:
    """The tokenizer as ``lumen convert`` writes it."""
    writer = GGUFWriter(path)
    for key, (value, kind) in folder.entries.items():
        writer.add(key, value, kind)
    writer.write()
    return GGUFFile.open(path)


class Compared:
    """One kind: the package's tokenizer, and Lumen's of the folder and of the converted file."""

    def __init__(self, name: str, folder: Path):
        self.name, self.reference = name, KINDS[name]()
        opened = write_folder(folder / name, self.reference)
        self.direct = Tokenizer.from_gguf(opened)
        self.converted = Tokenizer.from_gguf(convert(opened, folder / f"{name}.gguf"))
        # One that has met a long text, and goes by the package since.
        self.whole = Tokenizer.from_gguf(opened)
        self.whole.encode("a" * 2001)
        added = self.reference.get_added_tokens_decoder().items()
        self._normalized = {index for index, token in added if token.normalized}

    def check(self, text: str, special: bool) -> None:
        """Raises ``AssertionError`` where ids or their text differ."""
        self.reference.encode_special_tokens = not special
        wanted = self.reference.encode(text, add_special_tokens=False).ids
        for way in ("direct", "converted", "whole"):
            tokenizer = getattr(self, way)
            found = tokenizer.encode(text, special, add_bos=False, add_eos=False)
            assert found == wanted, (
                f"{self.name}, {way}, special={special}: {text!r} gives {self._texts(found)}; "
                f"{self._texts(wanted)} was expected"
            )
        # (The package writes such added tokens as its normalizer changes them.)
        if self._normalized.intersection(wanted):
            return
        stream = self.direct.stream(special=True)
        text_of_ids = "".join([*map(stream.feed, wanted), stream.finish()])
        wanted_text = self.reference.decode(wanted, skip_special_tokens=False)
        assert text_of_ids == wanted_text, (
            f"{self.name}: {self._texts(wanted)} is {text_of_ids!r}; {wanted_text!r} was expected"
        )

    def _texts(self, ids: list[int]) -> list[str | None]:
        return [self.reference.id_to_token(index) for index in ids]
