# SPDX-License-Identifier: Apache-2.0
"""How each byte-level BPE family cuts text into words before merging: ``tokenizer.ggml.pre`` of a GGUF file.

The regular expressions are those of the models' own ``tokenizer.json`` files. To support another family, add
its name to a row or add a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN35 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# What llama.cpp falls back to: punctuation, GPT-2's words, runs of digits, and those three by three.
_DEFAULT = (
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
)
# Words joined by single spaces stay together: tokens may span several words.
_EXAONE_MOE = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class PreTokenizer:
    """``patterns`` cut the text one after another; the rest follows the family's tokenizer.

    ``nfc``: the text is normalized to Unicode NFC first (which joins decomposed Hangul). ``ignore_merges``: a
    word that is a token is taken whole. ``add_bos``: what holds where the file does not say.
    ``clean_spaces``: the family's own tokenizer drops the space before punctuation when it decodes.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    nfc: bool = False
    ignore_merges: bool = False
    add_bos: bool = False
    clean_spaces: bool = True

    def splitter(self) -> pre_tokenizers.PreTokenizer:
        """The Hugging Face pre-tokenizer: the cuts, then bytes to the byte alphabet."""
        cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in self.patterns]
        return pre_tokenizers.Sequence(
            [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )

    def normalizer(self) -> normalizers.Normalizer | None:
        """The Hugging Face normalizer, if the family has one."""
        return normalizers.NFC() if self.nfc else None


_ROWS = (
    PreTokenizer(("qwen2",), (_QWEN2,), nfc=True, clean_spaces=False),
    PreTokenizer(("qwen35",), (_QWEN35,), nfc=True, clean_spaces=False),
    PreTokenizer(("deepseek-r1-qwen", "kormo", "solar-open", "stablelm2"), (_QWEN2,), clean_spaces=False),
    PreTokenizer(
        ("llama-bpe", "llama3", "llama-v3", "midm-2.0", "falcon3", "pixtral"),
        (_LLAMA3,),
        ignore_merges=True,
        add_bos=True,
    ),
    PreTokenizer(("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), (_LLAMA3,)),
    PreTokenizer(("tekken",), (_TEKKEN,), ignore_merges=True, add_bos=True, clean_spaces=False),
    PreTokenizer(("gpt-2", "a.x-4.0", "exaone4", "mpt", "olmo", "phi-2"), (_GPT2,)),
    PreTokenizer(("trillion",), (_GPT2,), clean_spaces=False),
    PreTokenizer(("exaone", "starcoder", "refact", "command-r", "smollm"), (r"\p{N}", _GPT2)),
    PreTokenizer(("exaone-moe",), (_EXAONE_MOE,)),
    PreTokenizer(("gpt-4o", "llama4", "kanana2"), (_GPT4O,), clean_spaces=False),
    PreTokenizer(("default",), _DEFAULT),
)

PRE_TOKENIZERS = {name: row for row in _ROWS for name in row.names}
