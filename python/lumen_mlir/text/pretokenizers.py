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
# Letters with a case, as the authors of DeepSeek LLM list them: ranges of code points.
_CASED = """
    0041-005A 0061-007A 00B5 00C0-00D6 00D8-00F6 00F8-01BA 01BC-01BF 01C4-0293 0295-02AF 0370-0373 0376
    0377 037B-037D 037F 0386 0388-038A 038C 038E-03A1 03A3-03F5 03F7-0481 048A-052F 0531-0556 10A0-10C5
    13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45
    1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3
    1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D
    212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D
    A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A
    10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
"""


def _members(ranges: str) -> str:
    """Ranges of code points as the inside of a class of a regular expression."""
    return "".join("-".join(rf"\x{{{end}}}" for end in each.split("-")) for each in ranges.split())


_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_members(_CASED)}]+",
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
    r"\s+$",
    r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+",
    r"\p{N}",
)
_DEEPSEEK_CODER = (
    r"[\r\n]",
    r"\s?\p{L}+",
    r"\s?\p{P}+",
    r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+",
    r"\p{N}",
)
_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_FALCON = (r"[\p{P}\$\+<=>\^`~\|]+", _GPT2)
_BLOOM = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+"
_SEED_CODER = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class PreTokenizer:
    """``patterns`` cut the text one after another; the rest follows the family's tokenizer.

    ``byte_patterns`` go on cutting in the byte alphabet, in which some bytes look like digits.

    ``nfc``: the text is normalized to Unicode NFC first (which joins decomposed Hangul). ``ignore_merges``: a
    word that is a token is taken whole. ``add_bos``: what holds where the file does not say.
    ``clean_spaces``: the family's own tokenizer drops the space before punctuation when it decodes.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    byte_patterns: tuple[str, ...] = ()
    nfc: bool = False
    ignore_merges: bool = False
    add_bos: bool = False
    clean_spaces: bool = True

    def splitter(self) -> pre_tokenizers.PreTokenizer:
        """The Hugging Face pre-tokenizer: the cuts, then bytes to the byte alphabet."""
        first, then = (
            [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
            for patterns in (self.patterns, self.byte_patterns)
        )
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([*first, to_bytes, *then])

    def normalizer(self) -> normalizers.Normalizer | None:
        """The Hugging Face normalizer, if the family has one."""
        return normalizers.NFC() if self.nfc else None


_ROWS = (
    PreTokenizer(("qwen2",), (_QWEN2,), nfc=True, clean_spaces=False),
    PreTokenizer(("qwen35",), (_QWEN35,), nfc=True, clean_spaces=False),
    PreTokenizer(
        (
            *("deepseek-r1-qwen", "kormo", "solar-open", "stablelm2", "megrez", "hunyuan", "grok-2"),
            *("bailingmoe", "bailingmoe2", "llada-moe"),
        ),
        (_QWEN2,),
        clean_spaces=False,
    ),
    PreTokenizer(
        ("llama-bpe", "llama3", "llama-v3", "midm-2.0", "falcon3", "falcon-h1", "pixtral", "lfm2"),
        (_LLAMA3,),
        ignore_merges=True,
        add_bos=True,
    ),
    PreTokenizer(("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), (_LLAMA3,)),
    PreTokenizer(("tekken",), (_TEKKEN,), ignore_merges=True, add_bos=True, clean_spaces=False),
    PreTokenizer(
        ("gpt-2", "a.x-4.0", "exaone4", "mpt", "olmo", "phi-2", "gigachat", "mellum", "modern-bert", "jais"),
        (_GPT2,),
    ),
    PreTokenizer(("trillion", "granite-docling"), (_GPT2,), clean_spaces=False),
    PreTokenizer(
        ("exaone", "starcoder", "refact", "command-r", "smollm", "codeshell", "minerva-7b", "mellum2"),
        (r"\p{N}", _GPT2),
    ),
    PreTokenizer(("exaone-moe",), (_EXAONE_MOE,)),
    PreTokenizer(("gpt-4o", "llama4", "kanana2"), (_GPT4O,), clean_spaces=False),
    PreTokenizer(("deepseek-llm",), _DEEPSEEK_LLM, clean_spaces=False),
    PreTokenizer(("deepseek-coder",), _DEEPSEEK_CODER, clean_spaces=False),
    PreTokenizer(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _DEEPSEEK_V3, clean_spaces=False),
    PreTokenizer(("falcon",), _FALCON, (r"\p{N}+", r"[0-9][0-9][0-9]")),
    PreTokenizer(("bloom", "poro-chat", "gpt3-finnish"), (_BLOOM,), clean_spaces=False),
    PreTokenizer(("viking",), (_BLOOM, r"\p{N}"), clean_spaces=False),
    PreTokenizer(("seed-coder",), (_SEED_CODER,), clean_spaces=False),
    PreTokenizer(("default",), _DEFAULT),
)

PRE_TOKENIZERS = {name: row for row in _ROWS for name in row.names}
