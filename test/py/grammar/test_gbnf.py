# SPDX-License-Identifier: Apache-2.0
"""GBNF: what it means, character by character."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from dice import Writer, byte_tokenizer

from lumen_mlir import Grammar, GrammarError
from lumen_mlir.grammar import gbnf
from lumen_mlir.grammar.gbnf import lark_of_gbnf
from lumen_mlir.grammar.gbnf_rules import Characters, Choice, Reference, Repeat, Sequence, read_rules

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws # a number
ws     ::= | " " | "\n" [ \t]{0,20}
"""
SUMS = r"""
root ::= (expr "=" term "\n")+
expr ::= term ([-+*/] term)*
term ::= num | "(" ws expr ")" ws
num  ::= [0-9]+ ws
ws   ::= [ \t\n]*
"""


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return Writer(byte_tokenizer(tmp_path_factory.mktemp("v")))


def fits(writer, grammar: Grammar, text: str) -> bool:
    matcher = writer.compiler.compile(grammar).start().matcher
    ids = writer.tokenizer.encode(text, special=False, add_bos=False) if text else []
    accepted = matcher.try_consume_tokens(ids) == len(ids)
    return accepted and (matcher.is_accepting() or (matcher.is_stopped() and not matcher.is_error()))


@pytest.mark.parametrize(
    ("rules", "texts", "others"),
    [
        (JSON, ["{}", '{"a": [1, "b\\n"]} ', '{"한":true }', '{"a":1.5e3}'], ["", "{", "[]", '{"a":01}']),
        # A number may end in the line feed that ends the line.
        (SUMS, ["1+2=3\n", "1+2=3\n\n", "(1+2)*3 =9\n4=4 \n"], ["1+2=3", "1+=3\n", "(1=1\n"]),
        ('root ::= [가-힣]+ "입니다."', ["가입니다.", "입니다입니다."], ["입니다.", "가입니다"]),
        ('root ::= "a"* "ab" root?', ["ab", "aaab", "abab"], ["a", "aba", ""]),
        ('root ::= (a ":" a ";")+\na ::= "if" | [a-z]+', ["if:iffy;", "x:if;y:z;"], ["if;", ":;"]),
        (r'root ::= "\u00e9\U0001F600" [\u4e00-\u9fff] "\x41\t" [/\]\-^]', ["é😀一A\t/", "é😀一A\t-"], ["é"]),
        ("root ::= [a&&b]+ [^a]", ["a&b&c", "bb\n"], ["aa", "c"]),
        ('root ::= a-b aB a_b\na-b ::= "a"\naB ::= "b"\na_b ::= "c"', ["abc"], ["ab"]),
        ('root ::= Item\nItem ::= "a" ITEM\nITEM ::= "b"', ["ab"], ["a"]),
        ('root ::= . "\\n" .', ["x\ny", "한\n글", "\n\n\n"], ["xy", "\n\n"]),
        ('root ::= "" | "a"', ["", "a"], ["aa"]),
        ("root ::=", [""], ["a"]),
        ('root ::= ("" | ("")*) "a"?', ["", "a"], ["aa"]),
        ('# all\nroot ::= "a" # one\n  | "b"\n\n  |\n  "c"\n# end', ["a", "b", "c"], ["", "ab"]),
        ('root ::= (\n "a"\n | "b"\n)\n', ["a", "b"], [""]),
        ('root ::= "a"{2} [b]{1,} "c"{0,2}', ["aab", "aabbcc"], ["ab", "aabccc", "aa"]),
        ('root ::= "a"+?\r\n', ["", "aa"], ["b"]),
        ('root ::= "(" root ")" | "x"', ["x", "((x))"], ["(x", "()"]),
        ('root ::= root "a" | "b"', ["b", "baa"], ["a", "ab"]),
        ('root ::= [^"]* "\\"" [[\\]]', ['한 글"[', '"]'], ['""[', "["]),
    ],
)  # fmt: skip
def test_what_rules_mean(writer, rules, texts, others):
    grammar = Grammar.gbnf(rules)
    assert [fits(writer, grammar, text) for text in texts] == [True] * len(texts)
    assert [fits(writer, grammar, text) for text in others] == [False] * len(others)


def test_texts(writer):
    calls = Grammar.gbnf('root ::= ("안녕" | "👋🏽" | [ㄱ-ㅎ]{2})+ "."')
    for seed in range(10):
        run = writer.write(Grammar.gbnf(SUMS), 60, seed=seed, prompt=seed)
        assert run.finish_reason == "length" or fits(writer, Grammar.gbnf(SUMS), run.output)
        run = writer.write(calls, 90, seed=seed, prompt=seed)
        assert re.fullmatch("(안녕|👋🏽|[ㄱ-ㅎ]{2})+[.]", run.output) or run.finish_reason == "length"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("", "there is no rule 'root'"),
        ('a ::= "b"', "there is no rule 'root'"),
        ("root ::= a\n\na ::= b c", "line 3: there is no rule 'b'"),
        ('root ::= "a"\nroot ::= "b"', "line 2 before ' ::= \"b\"': the rule 'root' is there twice"),
        ('root "a"', "line 1 before '\"a\"': ::= was expected"),
        ('root ::= "a', "line 1: the end of a text or of a class of characters was expected"),
        ('root ::= "a\n"', "line 1: the end of a text"),
        ("root ::= [a\n]", "line 1: the end of a text"),
        ("root ::= [z-a]", "a range of characters ends before it begins"),
        (r'root ::= "\q"', r"\\q has no meaning"),
        (r'root ::= "\x4"', r"\\x4\" is no character"),
        (r'root ::= "\ud800"', r"\\ud800 is no character"),
        (r'root ::= "\UFFFFFFFF"', r"\\UFFFFFFFF is no character"),
        ('root ::= ("a"', r"line 1: \) was expected"),
        ('root ::= "a")', "line 1 before '\\)': the end of the rule was expected"),
        ('root ::= "a" $', "the end of the rule was expected"),
        ('root ::= "a"{', "N,M} was expected"),
        ('root ::= "a"{3,2}', "3,2} is no number of times up to 10,000"),
        ('root ::= "a"{20000}', "20000} is no number of times up to 10,000"),
        ("root ::= <a b>", "<name> or <\\[id\\]> was expected"),
        ("root ::= " + "(" * 5000, "more than 100 parentheses are open"),
        ("root ::= r0\n" + "".join(f"r{n} ::= r{n + 1}\n" for n in range(3000)) + "r3000 ::=", "too "),
        ("? ::= a", "the name of a rule was expected"),
    ],
)  # fmt: skip
def test_what_is_wrong(rules, message):
    with pytest.raises(GrammarError, match=message) as caught:
        lark_of_gbnf(rules)
    assert str(caught.value).startswith("the GBNF grammar cannot be used: ") and "\n" not in str(caught.value)


def test_large_grammars_end(monkeypatch):
    rules = "".join(
        f'r{n} ::= "{n}" r{(n * 7 + 1) % 900} | r{(n * 5 + 3) % 900} [a-z]+ | "x"\n' for n in range(900)
    )
    monkeypatch.setattr(gbnf, "_LOOKS", 20_000)
    with pytest.raises(GrammarError, match="it is too complex"):
        lark_of_gbnf("root ::= r0\n" + rules)


def test_many_words(writer):
    """Of what would take long to compare, each character is a lexeme; that means the same."""
    words = " | ".join(f'"word{n}" root?' for n in range(400))
    grammar = Grammar.gbnf(f"root ::= {words}")
    assert lark_of_gbnf(grammar.text).count("/\n") > 1000
    assert fits(writer, grammar, "word12word3") and not fits(writer, grammar, "word12word")
    # Where a choice is all there is, it is one.
    assert lark_of_gbnf("root ::= " + " | ".join(f'"{n}"' for n in range(500))).count("/\n") == 1


@pytest.mark.parametrize("pairs", [0, 50])
def test_single_characters_mean_the_same(writer, monkeypatch, pairs):
    monkeypatch.setattr(gbnf, "_PAIRS", pairs)
    for text, expected in (('{"a": [1, "b"], "c": {}} ', True), ('{"a": [1 "b"]}', False), ("", False)):
        assert fits(writer, Grammar.gbnf(f"{JSON}\n# {pairs}"), text) == expected


def test_tokens(writer):
    run = writer.write(Grammar.gbnf('root ::= "a" <|mark|> [0-9]{2} <[257]>?'), special=True)
    assert run.output[:9] == "a<|mark|>" and run.output[9:11].isdigit()
    with pytest.raises(GrammarError, match="unknown special token"):
        writer.compiler.compile(Grammar.gbnf("root ::= <nobody>"))


# --- beside the plainest reading of the rules ---------------------------------------------------------------


def ends(node, text: str, begin: int, rules, deep: int = 0) -> set[int]:
    """Where a part that begins at a place may end."""
    if isinstance(node, Characters):
        here = begin < len(text) and any(first <= ord(text[begin]) <= last for first, last in node.ranges)
        return {begin + 1} if here else set()
    if isinstance(node, Reference):
        return set() if deep > 12 else ends(rules[node.name], text, begin, rules, deep + 1)
    if isinstance(node, Choice):
        return set().union(*(ends(part, text, begin, rules, deep) for part in node.parts))
    if isinstance(node, Sequence):
        found = {begin}
        for part in node.parts:
            found = set().union(*(ends(part, text, place, rules, deep) for place in found))
        return found
    assert isinstance(node, Repeat)
    found, now = ({begin} if node.least == 0 else set()), {begin}
    for count in range(1, (node.most or len(text) + node.least) + 1):
        now = set().union(*(ends(node.part, text, place, rules, deep) for place in now))
        if count >= node.least:
            found |= now
        if not now:
            break
    return found


def random_part(rng: random.Random, names: list[str], size: int) -> str:
    kinds = ["text", "text", "class", "class", "name", "choice", "sequence", "repeat"]
    kind = rng.choice(kinds if size > 0 else kinds[:4])
    if kind == "text":
        return '"' + "".join(rng.choice("ab ") for _ in range(rng.randint(1, 3))) + '"'
    if kind == "class":
        return rng.choice(["[ab]", "[ ]", "[^a]", "[b-z]", "[a ]", "."])
    if kind == "name" and names:
        # A character first, so that a rule goes on before it comes round to itself.
        return f"{rng.choice(['[ab]', chr(34) + 'b' + chr(34)])} {rng.choice(names)}"
    parts = [random_part(rng, names, size - 1) for _ in range(rng.randint(1, 3))]
    if kind == "choice":
        return f"({' | '.join(parts)})"
    if kind == "repeat":
        return f"({parts[0]}){rng.choice(['*', '+', '?', '{2}', '{1,2}', '{0,3}'])}"
    return f"({' '.join(parts)})"


@pytest.mark.parametrize("part", range(4))
def test_random_rules(writer, part):
    """The texts of up to four letters that rules allow are those that plain reading allows."""
    texts = ["".join(letters) for size in range(5) for letters in itertools.product("ab ", repeat=size)]
    allowed = lexemes = 0
    for seed in range(part * 40, part * 40 + 40):
        rng = random.Random(seed)
        names = ["root", "x", "y"][: rng.randint(1, 3)]
        rules = "\n".join(f"{name} ::= {random_part(rng, names[1:] or names, 3)}" for name in names)
        read = read_rules(rules)
        lexemes += lark_of_gbnf(rules).count("/\n")
        for text in texts:
            expected = len(text) in ends(read["root"], text, 0, read)
            assert fits(writer, Grammar.gbnf(rules), text) == expected, (rules, text, lark_of_gbnf(rules))
            allowed += expected
    assert allowed > 50 and lexemes > 45
