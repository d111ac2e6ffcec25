# SPDX-License-Identifier: Apache-2.0
"""Texts that grammars shape, written by chance: what they are, whatever the model likes."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import unicodedata
import weakref

import jsonschema
import llguidance
import numpy as np
import pytest
from dice import Writer, byte_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumen_mlir import Grammar, GrammarError, LumenError
from lumen_mlir.generate.speculation import NgramGuess
from lumen_mlir.grammar import compiler
from lumen_mlir.grammar import state as compiler_state
from lumen_mlir.grammar.state import GrammarState

FAMILY, WAVE = "👨‍👩‍👧‍👦", "👋🏽"
FLAG, KEYCAP, HEART = "🇰🇷", "1️⃣", "❤️‍🔥"
DECOMPOSED = unicodedata.normalize("NFD", "한국")
VALUES = [
    "한국",
    "한글",
    DECOMPOSED,
    "가",
    "힣",
    FAMILY,
    "👨‍👩‍👧",
    WAVE,
    "👋",
    FLAG,
    KEYCAP,
    HEART,
    "é",
    "𠀀",
]


@pytest.fixture(scope="module")
def bytes_only(tmp_path_factory):
    """Tokens are single bytes, so every character of Hangul takes three draws."""
    return Writer(byte_tokenizer(tmp_path_factory.mktemp("bytes")))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Tokens are parts of characters, characters, and more than one."""
    known = ("한국", "한", "👨‍👩", "👋🏽", '{"', '":', '", "', "name", "true", "가나다", "입니다", "  ")
    return Writer(byte_tokenizer(tmp_path_factory.mktemp("words"), known))


@pytest.fixture(params=["bytes_only", "words"])
def writer(request):
    return request.getfixturevalue(request.param)


def test_enums_of_hangul_and_emoji(writer):
    """Each is written whole, and each of them at some time; what begins alike is told apart by its bytes."""
    grammar, seen = Grammar.json_schema({"enum": VALUES}), set()
    for seed in range(150):
        run = writer.write(grammar, seed=seed, prompt=seed)
        assert (run.finish_reason, run.stopped_by) in (("end", None), ("end", run._tokenizer.eos))
        seen.add(json.loads(run.output))
        # Not a byte was left out or put in.
        written = b"".join(run._tokenizer.token_bytes(token) for token in run.tokens)
        assert (
            written == run.output.encode() == json.dumps(json.loads(run.output), ensure_ascii=False).encode()
        )
    assert len(seen) > 10 and seen <= set(VALUES)
    assert DECOMPOSED in seen and "한국" in seen


@pytest.mark.parametrize(
    "pattern",
    [
        "[가-힣]{2,4}(님|씨)",
        "[ㄱ-ㅎㅏ-ㅣ]{3}",
        f"({FAMILY}|{WAVE}|{FLAG}){{1,4}}!",
        "(?:\\p{Emoji_Presentation}){1,3}\\.",
        "[^\\x00-\\x7f]{1,5}x",
        f"{DECOMPOSED}?y",
        "\\p{Hangul}\\p{Han}[\U0001f3fb-\U0001f3ff]",
    ],
)
def test_patterns_of_hangul_and_emoji(writer, pattern):
    # (Python's own expressions know no properties of characters.)
    own = pattern.replace("\\p{Emoji_Presentation}", "[\U0001f000-\U0001faff⌚-⯿]")
    own = own.replace("\\p{Hangul}", "[ㄱ-ㆎ가-힣ᄀ-ᇿ〮-〯ꥠ-ퟻﾠ-ￜ㈀-㉾]")
    own = own.replace("\\p{Han}", "[⺀-〿㇀-鿿豈-﫿\U00016000-\U000323af]")
    for grammar in (
        Grammar.regex(pattern),
        Grammar.json_schema({"type": "string", "pattern": f"^{pattern}$"}),
    ):
        for seed in range(12):
            run = writer.write(grammar, seed=seed, prompt=seed)
            text = json.loads(run.output) if grammar.kind == "JSON schema" else run.output
            assert run.finish_reason == "end" and re.fullmatch(own, text), text
            assert "\ufffd" not in run.output


def test_each_byte_is_what_the_grammar_allows(bytes_only):
    """At every place, exactly the bytes that go on to one of the values may follow."""
    values = [value.encode() for value in VALUES]
    # (Rules with several lexemes that begin alike: an enum is one.)
    grammar = Grammar.regex("|".join(map(re.escape, VALUES)))
    for value in values:
        state = bytes_only.compiler.compile(grammar).start()
        for end in range(len(value) + 1):
            (mask,) = state.masks([state])
            allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
            tokenizer = bytes_only.tokenizer
            begun = [other for other in values if other.startswith(value[:end])]
            # Where one of them alone can follow, its next token is forced, which is a byte here.
            expected = {other[end : end + 1] for other in begun if len(other) > end}
            assert {tokenizer.token_bytes(token) for token in allowed} - {b""} == expected
            ends = {token for token in allowed if token in tokenizer.end_tokens}
            assert bool(ends) == (value[:end] in values)
            if end < len(value):
                state.accept(byte(tokenizer, value[end]))


def byte(tokenizer, value: int) -> int:
    """The token of a byte."""
    return next(token for token in range(256) if tokenizer.token_bytes(token) == bytes([value]))


SOME = [
    Grammar.json_schema({"enum": VALUES}),
    Grammar.json_schema(
        {
            "type": "object",
            "properties": {
                "이름": {"type": "string", "maxLength": 6},
                "kind": {"enum": ["person", "place", FAMILY]},
                "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
            },
            "required": ["이름", "kind", "tags"],
            "additionalProperties": False,
        }
    ),
    Grammar.regex("[가-힣]{3,8}입니다\\."),
    Grammar.lark('start: "name: " NAME ("; " NAME)? "."\nNAME: /[a-z가-힣]{2,6}/\n'),
    Grammar.gbnf('root ::= item item item\nitem ::= "- " [^\\n]{1,5} "\\n"\n'),
    Grammar.regex("(true|false|한국){2,9}end"),
    Grammar.json_schema(
        {"type": "array", "items": {"type": "integer", "minimum": 10, "maximum": 99}, "maxItems": 4}
    ),
    Grammar.lark('start: "no choice at all: " %json {"const": "가나다"}\n'),
]


def told(run):
    return run.output, run.tokens, run.finish_reason, run.stopped_by


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.0}, {"min_p": 0.1, "top_k": 5}, {"presence_penalty": 1.5}]
)
def test_a_batch_of_grammars_is_each_alone(writer, sampling):
    """Eight texts with grammars, and two without, at once and one after the other."""
    asked = [*enumerate(SOME), (8, None), (9, None)]
    alone = [told(writer.write(grammar, 60, seed=n, prompt=n, **sampling)) for n, grammar in asked]
    together = [writer.begin(grammar, 60, seed=n, prompt=n, **sampling) for n, grammar in asked]
    for run in together:
        run.begin()
    assert [told(run) for run in together if run.text() or True] == alone


def test_forced_tokens_change_no_text(writer):
    """With probabilities each token is drawn by itself; else those come at once that are forced."""
    for number, grammar in enumerate(SOME):
        for seed in range(5):
            begun, calls = writer.dice.calls, []
            runs = []
            for logprobs in (None, 2):
                run = writer.write(grammar, seed=seed, prompt=number, logprobs=logprobs, presence_penalty=0.5)
                runs.append(told(run))
                calls.append(writer.dice.calls - begun)
                begun = writer.dice.calls
                # Random numbers are by place.
                assert run._sampler.number == len(run.tokens) + isinstance(run.stopped_by, int)
            assert runs[0] == runs[1]
            assert len(run.logprobs) == len(run.tokens) == calls[1] - isinstance(run.stopped_by, int)
            assert calls[0] <= calls[1]
    # What is forced whole takes two steps: the prompt, and nothing for the rest.
    assert calls[0] == 1 and runs[0][0] == 'no choice at all: "가나다"'


def test_what_is_forced_is_one_chunk(bytes_only):
    grammar = Grammar.regex("(a|b)1234567890(a|b)")
    bytes_only.dice.rows.clear()
    run = bytes_only.write(grammar)
    assert re.fullmatch(grammar.text, run.output) and bytes_only.dice.rows == [1, 11]
    assert (run.finish_reason, run.stopped_by) == ("end", None)


@pytest.mark.parametrize("most", range(1, 14))
def test_a_run_ends_where_max_tokens_says(bytes_only, most):
    run = bytes_only.write(Grammar.regex("(a|b)1234567890"), most, logprobs=None)
    assert run.output[1:] == "1234567890"[: most - 1] and len(run.tokens) == min(most, 11)
    assert run.finish_reason == ("length" if most < 11 else "end")


@pytest.mark.parametrize(
    ("stop", "output", "reason"),
    [
        ({"stop": "567"}, "1234", "stop"),
        ({"stop_token_ids": [ord("7")]}, "123456", "stop"),
        ({"stop": "0"}, "123456789", "stop"),
    ],
)
def test_a_run_ends_where_a_stop_says(bytes_only, stop, output, reason):
    if "stop_token_ids" in stop:
        stop = {"stop_token_ids": [byte(bytes_only.tokenizer, ord("7"))]}
    for logprobs in (None, 0):
        run = bytes_only.write(Grammar.regex("(a|b)1234567890"), logprobs=logprobs, **stop)
        assert (run.output[1:], run.finish_reason) == (output, reason)
        assert run.stopped_by in (*stop.values(), *stop.get("stop_token_ids", ()))


@pytest.mark.parametrize("logprobs", [None, 3])
@pytest.mark.parametrize("grammar", SOME, ids=lambda grammar: grammar.kind)
def test_guesses_change_no_text(writer, grammar, logprobs, monkeypatch):
    """Right or wrong: the grammar goes on by what is drawn, and by nothing else."""
    from lumen_mlir.generate.cost_curve import CostCurve

    monkeypatch.setattr(CostCurve, "seconds", lambda self, tokens, pairs=0: 1.0)
    monkeypatch.setattr(CostCurve, "has_measured", lambda self, tokens: True)
    right = 0
    for seed in range(6):
        plain, guess = writer.write(grammar, 80, seed=seed, logprobs=logprobs), NgramGuess()
        run = writer.write(grammar, 80, seed=seed, logprobs=logprobs, guess=guess)
        assert told(run) == told(plain) and run.logprobs == plain.logprobs
        right += guess.right


def test_end_tokens_that_are_ignored(writer):
    """A text ends all the same where nothing else can follow."""
    for grammar in SOME:
        run = writer.write(grammar, 300, ignore_eos=True, seed=5)
        assert (run.finish_reason, run.stopped_by) == ("end", None)
    # And goes on as long as it may.
    grammar = Grammar.regex("a{1,50}")
    assert writer.write(grammar, ignore_eos=True).output == "a" * 50
    end = writer.tokenizer.eos
    lengths = {len(writer.write(grammar, seed=n, prompt=n, logit_bias={end: 3}).output) for n in range(9)}
    assert len(lengths) > 1


def test_records_are_those_of_the_model(writer):
    """Probabilities are those before the grammar."""
    run = writer.write(Grammar.regex("(ab|cd)ef"), logprobs=5)
    assert len(run.logprobs) == len(run.tokens)
    assert all(record.token == token for record, token in zip(run.logprobs, run.tokens, strict=True))
    # The likeliest tokens are not those that the grammar allows.
    assert any(record.token not in [top.token for top in record.top] for record in run.logprobs)


def test_control_tokens_in_a_grammar(bytes_only):
    run = bytes_only.write(Grammar.lark('start: "call" <|mark|> /[0-9]{3}/\n'), special=True)
    assert re.fullmatch(r"call<\|mark\|>\d{3}", run.output)
    # An end token ends the text, also where a grammar goes on behind it.
    run = bytes_only.write(Grammar.lark('start: "x" <|end|> "y"\n'), special=True)
    assert (run.output, run.finish_reason) == ("x", "end") and run.stopped_by == run._tokenizer.eos
    # As text, a name is written letter by letter.
    run = bytes_only.write(Grammar.lark('start: "<|mark|>" /[0-9]/\n'))
    assert run.output.startswith("<|mark|>") and len(run.tokens) == 9


@pytest.mark.parametrize("after", ["<|mark|>", "qu", "한"])
@pytest.mark.parametrize("logprobs", [None, 0])
def test_a_grammar_that_begins_later(writer, after, logprobs):
    """Before it, anything is written; texts are the same together with others, and with guesses."""
    grammar, begun = Grammar.regex("(가|나)다라[0-9]{3}"), 0
    likely = {token: 10 for token in writer.tokenizer.encode(after, special=True)}
    likely[writer.tokenizer.eos] = -100
    runs = []
    for seed in range(8):
        options = dict(logit_bias=likely, special=True, grammar_after=after, logprobs=logprobs, seed=seed)
        runs.append((writer.begin(grammar, 60, prompt=seed, **options), options))
        runs[-1][0].begin()
    for seed, (run, options) in enumerate(runs):
        run.text()
        before, found, behind = run.output.partition(after)
        assert not found or run.finish_reason == "length" or re.fullmatch(grammar.text, behind)
        begun += run.finish_reason == "end"
        alone = writer.write(grammar, 60, prompt=seed, guess=NgramGuess(), **options)
        assert told(alone) == told(run)
    assert begun
    with pytest.raises(LumenError, match="grammar_after is ''; a text was expected"):
        writer.write(grammar, grammar_after="")


def test_a_vocabulary_without_an_end(tmp_path):
    writer = Writer(byte_tokenizer(tmp_path, controls=()))
    run = writer.write(Grammar.regex("[가-힣]{2}끝"))
    assert re.fullmatch("[가-힣]{2}끝", run.output) and run.finish_reason == "end"
    assert writer.write(Grammar.regex("a{0,9}")).output == "a" * 9


def limited(monkeypatch, tokenizer, **limits):
    """A writer whose grammars may take less."""
    monkeypatch.setattr(compiler, "limits", lambda: llguidance.LLParserLimits(verbose_errors=False, **limits))
    return Writer(tokenizer)


def test_a_grammar_that_cannot_go_on_ends_its_text_alone(bytes_only, monkeypatch):
    writer = limited(monkeypatch, bytes_only.tokenizer, step_max_items=400)
    hostile = Grammar.lark("start: e\ne: e e e | e e | /[a-z]/ | /[a-z ]/\n")
    plain = told(writer.write(SOME[1], seed=3))
    endless = {bytes_only.tokenizer.eos: -100}
    good, bad = writer.begin(SOME[1], seed=3), writer.begin(hostile, logit_bias=endless)
    for run in (bad, good):
        run.begin()
    assert good.text() and told(good) == plain
    with pytest.raises(GrammarError, match="cannot go on by its grammar: .*Too many items") as caught:
        bad.text()
    assert "\n" not in str(caught.value)


def test_what_a_text_makes_too_large_is_no_matter_to_others(bytes_only, monkeypatch):
    """Texts of a grammar share what was found out about it, which has a limit."""
    grammar = Grammar.regex("(a|b){0,200}a(a|b){9}")
    plain = [told(bytes_only.write(grammar, 100, seed=n, prompt=n)) for n in range(20)]
    writer = limited(monkeypatch, bytes_only.tokenizer, max_lexer_states=250)
    recovered, recover = [], GrammarState.recover
    monkeypatch.setattr(GrammarState, "recover", lambda state: recovered.append(state) or recover(state))
    runs = [writer.begin(grammar, 100, seed=n, prompt=n) for n in range(20)]
    for run in runs:
        run.begin()
    found = []
    for run in runs:
        with contextlib.suppress(GrammarError):
            run.text()
            found.append(told(run))
    # Each one that was written is what it is alone, and most are, one after the other or at once.
    assert recovered and len(found) > 15 and all(text in plain for text in found)


def test_a_grammar_that_takes_long_is_given_up(bytes_only, monkeypatch):
    state = bytes_only.compiler.compile(Grammar.regex("[a-z]{100}")).start()
    monkeypatch.setattr(compiler_state, "_SECONDS", 0.0)
    monkeypatch.setattr(compiler_state, "_SECONDS_A_TOKEN", 0.0)
    (error,) = state.masks([state])
    assert re.match("the grammar is too complex: it takes .* ms a token", str(error))


def test_nothing_is_left_of_a_compiler(tmp_path):
    writer = Writer(byte_tokenizer(tmp_path))
    writer.write(SOME[0])
    gone = [weakref.ref(writer.tokenizer), weakref.ref(writer.compiler)]
    del writer
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


# --- whatever the schema is ---------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "이름", "x y", 'q"', FAMILY])
LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-99, 99),
        st.integers(0, 999),
    ),
    st.builds(
        lambda low, size: {"type": "number", "minimum": low, "exclusiveMaximum": low + size},
        st.integers(-9, 9),
        st.integers(1, 9),
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 3),
        st.integers(0, 6),
    ),
    st.sampled_from(
        [
            {"type": "string", "pattern": "^[가-힣]{1,3}$"},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "uuid"},
        ]
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(
            st.one_of(
                st.sampled_from(VALUES), st.integers(-5, 5), st.none(), st.lists(st.booleans(), max_size=2)
            ),
            min_size=1,
            max_size=5,
        ),
    ),
    st.just({"$ref": "#/$defs/node"}),
)


def _object(properties, required):
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, wanted in zip(properties, required, strict=False) if wanted],
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            _object,
            st.dictionaries(NAMES, inner, max_size=4),
            st.lists(st.booleans(), min_size=4, max_size=4),
        ),
        st.builds(
            lambda items, low, more: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + more,
            },
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.builds(
            lambda items: {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)},
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)
NODE = {
    "type": "object",
    "properties": {"v": {"enum": [1, "둘"]}, "next": {"$ref": "#/$defs/node"}},
    "required": ["v"],
    "additionalProperties": False,
}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=SCHEMAS, seed=st.integers(0, 1000))
def test_texts_fit_their_schemas(words, schema, seed):
    schema = {**schema, "$defs": {"node": NODE}}
    run = words.write(Grammar.json_schema(schema), 1500, seed=seed, prompt=seed % 250)
    if run.finish_reason == "end":
        jsonschema.validate(json.loads(run.output), schema, jsonschema.Draft202012Validator)
    else:
        # (Some chains have no end.)
        assert run.finish_reason == "length" and len(run.tokens) == 1500
    # It does not go on with space, of which there may be a line and a half.
    assert not re.search(r"\s{83}", run.output)
