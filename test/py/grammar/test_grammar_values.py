# SPDX-License-Identifier: Apache-2.0
"""Grammars as values, and what is said of those that cannot be used."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from dice import byte_tokenizer

from lumen_mlir import Grammar, GrammarError, LumenError
from lumen_mlir.grammar import compiler
from lumen_mlir.grammar.compiler import GrammarCompiler


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return byte_tokenizer(tmp_path_factory.mktemp("v"))


@pytest.fixture(scope="module")
def compile(vocabulary):
    return GrammarCompiler(vocabulary, 1).compile


def test_grammars_are_values():
    one, other = Grammar.json_schema({"type": "object"}), Grammar.json_schema('{"type":  "object"}')
    assert one == other == Grammar.json_object() and hash(one) == hash(other)
    # The order of properties is that of the text.
    assert Grammar.json_schema({"a": 1, "b": 2}) != Grammar.json_schema({"b": 2, "a": 1})
    assert Grammar.regex("a") != Grammar.lark("a") != Grammar.gbnf("a")
    assert repr(Grammar.regex("a+")) == "<Grammar: regular expression 'a+'>"
    with pytest.raises(AttributeError):
        one.text = ""


DEEP: list = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grammar.regex(3), "the regular expression is 3; text was expected"),
        (lambda: Grammar.lark(b"start"), "the Lark grammar is b'start'; text was expected"),
        (lambda: Grammar.gbnf(None), "the GBNF grammar is None; text was expected"),
        (lambda: Grammar.regex("\ud800"), r"not valid Unicode: character 0 is U\+D800"),
        (lambda: Grammar.regex("a" * 262_145), "has 262,145 characters; at most 262,144 may be"),
        (lambda: Grammar.choice("ab"), "the choice is 'ab'; a list of texts was expected"),
        (lambda: Grammar.choice([]), r"the choice is \[\]; a list of texts was expected"),
        (lambda: Grammar.choice(["a", 1]), "the choice has 1; text was expected"),
        (lambda: Grammar.json_schema("{"), "the JSON schema is no JSON: .* line 1 column 2"),
        (lambda: Grammar.json_schema("[" * 100_000), "the JSON schema is no JSON: "),
        (lambda: Grammar.json_schema("3"), "the JSON schema is 3; an object was expected"),
        (lambda: Grammar.json_schema(None), "the JSON schema is None; an object was expected"),
        (lambda: Grammar.json_schema({"const": float("nan")}), "cannot be written as JSON"),
        (lambda: Grammar.json_schema({"const": {1, 2}}), "cannot be written as JSON"),
        (lambda: Grammar.json_schema({"const": DEEP}), "cannot be written as JSON"),
    ],
)
def test_what_is_no_grammar(make, message):
    with pytest.raises(GrammarError, match=message):
        make()


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (Grammar.json_schema({"type": "strin"}), "the JSON schema cannot be used: Invalid type: strin"),
        (Grammar.json_schema({"type": "string", "not": {}}), 'Unimplemented keys: \\["not"\\]'),
        (Grammar.json_schema({"$ref": "#/$defs/x"}), "Pointer '/\\$defs/x' does not exist"),
        (Grammar.json_schema({"$ref": "http://example.com/x"}), "http://example.com/x"),
        (Grammar.json_schema({"minimum": 3, "maximum": 2, "type": "integer"}), "greater than maximum"),
        (Grammar.json_schema({"type": "string", "format": "x"}), "Unknown format: x"),
        (Grammar.json_schema({"type": "string", "pattern": "a("}), "the JSON schema cannot be used: "),
        (Grammar.json_schema({"type": "string", "pattern": "(?=a)"}), "look-around"),
        (Grammar.json_schema({"const": "\ud800"}), "the JSON schema cannot be used: "),
        (Grammar.json_schema(False), "the JSON schema is false, which nothing fits"),
        (Grammar.regex("a(b"), r"expression cannot be used: unclosed group \(at its character 2\)$"),
        (Grammar.regex("가\n나[b"), r"expression cannot be used: unclosed character class"),
        (Grammar.regex("a\\"), r"expression cannot be used: incomplete escape \(at its character 2\)$"),
        (Grammar.regex("a\\\\\\"), "incomplete escape"),
        (Grammar.regex(r"(a)\1"), "backreferences are not supported"),
        (Grammar.lark('start: "a" b\n'), r'the Lark grammar cannot be used: at 1\(8\): unknown name: "b"'),
        (Grammar.lark('start: "a" \nb: "c'), r"2\(\d+\): lexer error"),
        (Grammar.lark('foo: "a"\n'), "no start rule found"),
        (Grammar.lark("start: <|nobody|>"), "unknown special token"),
        (Grammar.lark(""), "the Lark grammar cannot be used: Empty grammar"),
        (Grammar.lark('{"grammars": [{"regex": "a"}]}'), "begins with {; rules were expected"),
        (Grammar.gbnf("a ::= b\n"), "the GBNF grammar cannot be used: line 1: there is no rule 'b'"),
        (Grammar.gbnf("root ::= x\n"), "line 1: there is no rule 'x'"),
        (Grammar.gbnf('root ::= "a\n'), "the GBNF grammar cannot be used: line 1: "),
        (Grammar.gbnf("root ::= [a\n"), "the GBNF grammar cannot be used: line 1: "),
        (Grammar.gbnf("root ::= " + "(" * 5000), "more than 100 parentheses are open"),
        (Grammar("poem", "roses"), "'poem' is no kind of grammar"),
    ],
)
def test_what_is_wrong_with_a_grammar(compile, grammar, message):
    for _ in range(2):
        with pytest.raises(GrammarError, match=message) as caught:
            compile(grammar)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    # Another one is not affected.
    compile(Grammar.regex("a"))


@pytest.mark.parametrize(
    ("grammar", "fits", "others"),
    [
        (Grammar.regex("a/b"), ["a/b"], ["ab", "a\\/b"]),
        (Grammar.regex(r"a\/b"), ["a/b"], ["a\\/b"]),
        (Grammar.regex(r"a\\/b"), ["a\\/b"], ["a/b"]),
        (Grammar.regex("a\\\\"), ["a\\"], ["a", "a\\\\"]),
        (Grammar.regex('a\nb|//|"'), ["a\nb", "//", '"'], ["a", "b", ""]),
        (Grammar.regex(""), [""], ["a"]),
        (
            Grammar.choice(["a|b", "(", "한 국", "a\n.", "\\"]),
            ["a|b", "(", "한 국", "a\n.", "\\"],
            ["a", "b", "ab"],
        ),
        (Grammar.choice(["a", "ab", "abc"]), ["a", "ab", "abc"], ["", "b", "abcd"]),
        (Grammar.json_schema(True), ["1", '{"a": [null]}', '"x"'], ["", "{", "1 "]),
        (Grammar.json_object(), ["{}", '{"a": {"b": 1}}', '{\n  "a": 1\n}'], ["[]", "1", '{"a": 01}']),
        (
            Grammar.json_schema({"type": "object", "x-guidance": {"whitespace_flexible": False}}),
            ["{}"],
            ["{ }"],
        ),
        (Grammar.rules('root ::= "a" [0-9]'), ["a1"], ["a", "1"]),
        (Grammar.rules('start: "a" DIGIT\nDIGIT: /[0-9]/'), ["a1"], ["a", "1"]),
        (Grammar.rules('start: "x ::= y"'), ["x ::= y"], ["y"]),
    ],
)
def test_what_a_grammar_allows(compile, vocabulary, grammar, fits, others):
    for texts, expected in ((fits, True), (others, False)):
        for text in texts:
            state, allowed = compile(grammar).start(), True
            for token in vocabulary.encode(text, special=False, add_bos=False) if text else ():
                (mask,) = state.masks([state])
                allowed = allowed and bool(mask[token >> 5] >> (token & 31) & 1)
                if allowed:
                    state.accept(token)
            assert (allowed and (state.is_complete or state.is_accepting)) == expected, text


def test_what_was_compiled_is_kept(compile):
    grammar = Grammar.regex("abc")
    assert compile(grammar) is compile(Grammar.regex("abc"))
    for number in range(40):
        compile(Grammar.regex(f"a{number}"))
    first = compile(grammar)
    compile(Grammar.regex("a39"))
    assert compile(grammar) is first
    with pytest.raises(GrammarError, match="the grammar is a str; a Grammar was expected"):
        compile("a")


def test_threads_compile_once(compile, monkeypatch):
    calls, matcher = [], GrammarCompiler.matcher
    monkeypatch.setattr(GrammarCompiler, "matcher", lambda *of: calls.append(of) or matcher(*of))
    found: list = []
    grammar = Grammar.regex("one of many")
    threads = [threading.Thread(target=lambda: found.append(compile(grammar))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(id, found))) == 1 and len(calls) == 1


def test_nobody_waits_long(compile, monkeypatch):
    """What takes too long is refused, and can be had later; others are compiled meanwhile."""
    matcher, free = GrammarCompiler.matcher, threading.Event()
    slow = Grammar.regex("slow")
    monkeypatch.setattr(compiler, "_SECONDS", 0.2)
    monkeypatch.setattr(
        GrammarCompiler,
        "matcher",
        lambda self, of: (of is slow and free.wait(60)) and None or matcher(self, of),
    )
    begin = time.monotonic()
    with pytest.raises(
        GrammarError, match="the regular expression was not compiled in 0.2 s; it is too complex"
    ):
        compile(slow)
    assert time.monotonic() - begin < 30
    monkeypatch.setattr(compiler, "_SECONDS", 30)
    assert compile(Grammar.regex("quick")).grammar == Grammar.regex("quick")
    free.set()
    assert compile(slow).grammar is slow


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(LumenError, match=r"grammars need llguidance: pip install 'lumen-mlir\[serve\]'"):
        GrammarCompiler(byte_tokenizer(tmp_path), 1)


def test_the_library_is_imported_when_it_is_needed():
    code = "import sys, lumen_mlir as l; l.LLM, l.Grammar.regex('a'); print('llguidance' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
