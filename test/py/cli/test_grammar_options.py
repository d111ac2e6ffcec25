# SPDX-License-Identifier: Apache-2.0
"""``--json-schema``, ``--grammar``, ``--regex`` and ``--json``, and the same in requests."""

from __future__ import annotations

import json
import re

import pytest

SCHEMA = {
    "type": "object",
    "properties": {"별점": {"enum": [1, 2, 3]}},
    "required": ["별점"],
    "additionalProperties": False,
}
GENERATE = ("generate", "-p", "영화", "-s", "1", "-q", "-n", "40")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of grammars, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    (tmp_path / "rules.gbnf").write_text('# 별\nroot ::= "별" [1-5] "개"\n', encoding="utf-8")
    (tmp_path / "rules.lark").write_text('start: "별" /[1-5]/ "개" | "::="\n', encoding="utf-8")
    (tmp_path / "rules.txt").write_text('start: "별" /[1-5]/ "개"\n', encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--json-schema", "schema.json"], '\\{[ \\n]*"별점" ?: ?[123][ \\n\\t]*\\}'),
        (["--json-schema", '{"enum": ["가", "나"]}'], '"[가나]"'),
        (["-j", '{"enum": ["가", "나"]}'], '"[가나]"'),
        (["-jf", "schema.json"], '\\{[ \\n]*"별점".*\\}'),
        (["--grammar", "rules.gbnf"], "별[1-5]개"),
        (["--grammar-file", "rules.gbnf"], "별[1-5]개"),
        (["--grammar", "rules.lark"], "별[1-5]개|::="),
        (["--grammar", "rules.txt"], "별[1-5]개"),
        (["--grammar", 'root ::= "별" [1-5]'], "별[1-5]"),
        (["--grammar", 'start: "별" X\nX: /[1-5]/\n'], "별[1-5]"),
        (["--regex", "별[1-5]개(입니다|예요)"], "별[1-5]개(입니다|예요)"),
        (["--json", "--temp", "0"], '\\{ "[^"]+" ?:.*'),
    ],
)
def test_what_is_written(lumen, files, options, expected):
    done = lumen(*GENERATE, *options)
    assert done.returncode == 0 and re.fullmatch(expected, done.stdout.strip(), re.S), (
        done.stdout,
        done.stderr,
    )


def test_several_texts_and_records(lumen):
    done = lumen(*GENERATE, "-p", "배우", "--regex", "[가-힣]{2}[.]")
    assert re.fullmatch("==> 영화 <==\n[가-힣]{2}[.]\n\n==> 배우 <==\n[가-힣]{2}[.]\n", done.stdout)
    done = lumen(*GENERATE, "--regex", "별[1-5]개", "--logprobs", "1")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert re.fullmatch("별[1-5]개", b"".join(bytes(record["bytes"]) for record in records).decode())


def test_chats(lumen, files):
    done = lumen("chat", "--chat-template", "plain", "-p", "영화는?", "-q", "--grammar", "rules.gbnf")
    assert re.fullmatch("별[1-5]개", done.stdout.strip())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--json", "--regex", "a"], 2, "--regex and --json exclude each other"),
        (["--json-schema", "{}", "--grammar", "x"], 2, "--json-schema and --grammar exclude each other"),
        (["--json-schema", "none.json"], 1, "--json-schema: none.json: cannot be opened: No such file"),
        (["--grammar", "none.gbnf"], 1, "--grammar: none.gbnf: cannot be opened: No such file"),
        (["--json-schema", "{"], 1, "the JSON schema is no JSON: "),
        (["--json-schema", '{"type": "x"}'], 1, "the JSON schema cannot be used: Invalid type: x"),
        (["--regex", "("], 1, "the regular expression cannot be used: unclosed group"),
        (["--grammar", "root ::= x"], 1, "the GBNF grammar cannot be used: line 1: there is no rule 'x'"),
    ],
)
@pytest.mark.parametrize("command", [GENERATE, ("chat", "--chat-template", "plain", "-p", "a")])
def test_what_is_wrong(refused, command, options, code, message):
    assert message in refused(*command, *options, code=code)


def test_requests(lumen):
    schema = {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}
    lines = [
        {"prompt": "영화", "regex": "[가-힣]{3}"},
        {"prompt": "영화", "grammar": 'root ::= "별" [1-5]'},
        {"prompt": "영화", **schema},
        {"prompt": "영화", "regex": "("},
        {"prompt": "영화", "regex": "a", "grammar": "b"},
        {"prompt": "영화", "structured_outputs": {"choice": ["가", "나"]}},
    ]
    done = lumen("batch", "-", "-s", "1", input="".join(json.dumps(line) + "\n" for line in lines))
    answers = {line["index"]: line for line in map(json.loads, done.stdout.splitlines())}
    patterns = {0: "[가-힣]{3}", 1: "별[1-5]", 2: '\\{[ \\n]*"별점".*\\}', 5: "[가나]"}
    for index, pattern in patterns.items():
        assert (
            re.fullmatch(pattern, answers[index]["text"], re.S) and answers[index]["finish_reason"] == "end"
        )
    assert "unclosed group" in answers[3]["error"] and "a text has one grammar" in answers[4]["error"]
    bodies = [
        {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "영화", **schema}},
        {
            "custom_id": "b",
            "url": "/v1/completions",
            "body": {"prompt": "영화", "response_format": {"type": "x"}},
        },
    ]
    done = lumen("batch", "-", "-s", "1", input="".join(json.dumps(line) + "\n" for line in bodies))
    answers = {line["custom_id"]: line for line in map(json.loads, done.stdout.splitlines())}
    (choice,) = answers["a"]["response"]["body"]["choices"]
    assert json.loads(choice["text"])["별점"] in (1, 2, 3) and choice["finish_reason"] == "stop"
    assert "response_format is" in answers["b"]["error"]["message"]
