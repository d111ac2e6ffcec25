# SPDX-License-Identifier: Apache-2.0
"""``lumen batch``: requests in, answers out, and what is left when it is stopped."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time

import pytest

from lumen_mlir.testing.scripted import write_scripted

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}[A]"


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A model that says "Yes" as an answer, and counts behind "1"."""
    path = tmp_path_factory.mktemp("models") / "talker.gguf"
    write_scripted(
        path,
        [["[A]", "Yes", "</s>"], ["1", "2", "3", "4", "5", "</s>"]],
        control=["<s>", "</s>", "[A]"],
        bos="<s>",
        eos="</s>",
        template=TEMPLATE,
    )
    return path


def _lines(*requests: object) -> str:
    return "".join(each if isinstance(each, str) else json.dumps(each) + "\n" for each in requests)


def _by_index(text: str) -> dict[int, dict]:
    return {line["index"]: line for line in map(json.loads, text.splitlines())}


def test_answers(lumen, talker):
    requests = _lines(
        {"prompt": "1", "custom_id": "일"},
        {"prompt": "1", "max_tokens": 2},
        {"messages": [{"role": "user", "content": "?"}], "temperature": 0},
        "\n",
        {"prompt": "1", "stop": "4", "max_tokens": None},
        {"prompt": "1", "logprobs": 1, "max_tokens": 1},
    )
    done = lumen("batch", talker, "-", "--temp", "0", input=requests)
    answers = _by_index(done.stdout)
    assert {i: (a["text"], a["finish_reason"]) for i, a in answers.items()} == {
        0: ("2345", "end"),
        1: ("23", "length"),
        2: ("Yes", "end"),
        4: ("23", "stop"),
        5: ("2", "length"),
    }
    assert answers[0]["custom_id"] == "일" and "custom_id" not in answers[1]
    usage = answers[0]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1, 4, 5)
    (record,) = answers[5]["logprobs"]
    assert record["text"] == "2" and record["logprob"] == record["top"][0]["logprob"] > -1
    assert done.stderr.startswith("lumen: 5 requests, 11 tokens at ") and done.returncode == 0


def test_form_of_openai(lumen, talker):
    def request(name: str, url: str, **body) -> dict:
        return {"custom_id": name, "method": "POST", "url": url, "body": {"model": "any", **body}}

    hello = [{"role": "user", "content": "?"}]
    requests = _lines(
        request("a", "/v1/chat/completions", messages=hello, logprobs=True, top_logprobs=2),
        request("b", "/v1/completions", prompt=["1"], max_tokens=2, n=1, stream=False, logprobs=1),
        request("c", "/v1/chat/completions", messages=hello, n=2),
        request("d", "/v1/embeddings", input="x"),
    )
    done = lumen("batch", talker, "-", "--temp", "0", input=requests)
    answers = {line["custom_id"]: line for line in map(json.loads, done.stdout.splitlines())}
    body = answers["a"]["response"]["body"]
    assert (body["object"], body["model"]) == ("chat.completion", "any")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Yes"} and choice["finish_reason"] == "stop"
    assert [len(each["top_logprobs"]) for each in choice["logprobs"]["content"]] == [2]
    body = answers["b"]["response"]["body"]
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("23", "length")
    assert choice["logprobs"]["tokens"] == ["2", "3"] and choice["logprobs"]["text_offset"] == [0, 1]
    assert body["usage"]["total_tokens"] == 3 and answers["b"]["error"] is None
    assert answers["c"]["response"] is None and "n is 2; only 1 is known" in answers["c"]["error"]["message"]
    assert "/v1/embeddings" in answers["d"]["error"]["message"]
    assert "warning: 2 requests failed" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing\n", "no JSON: "),
        ("[" * 100_000 + "\n", "no JSON: "),
        ('{"prompt": "1", "temperature": NaN}\n', "NaN is no number of JSON"),
        ("[1]\n", "a JSON object was expected"),
        ({"prompt": "1", "temprature": 1}, "unknown field 'temprature'; did you mean 'temperature'?"),
        ({"max_tokens": 1}, "a prompt or messages were expected"),
        ({"prompt": "1", "messages": []}, "one of the two"),
        ({"prompt": "1", "tools": []}, "tools is for messages"),
        ({"prompt": ["1", "2"]}, "a line has one prompt"),
        ({"prompt": [99999]}, "99999"),
        ({"prompt": {"a": 1}}, "token ids are"),
        ({"prompt": 5}, "token ids are 5"),
        ({"prompt": "1" * 600}, "the context is 512 tokens"),
        ({"prompt": "1", "temperature": "hot"}, "temperature"),
        ({"prompt": "1", "max_tokens": -1}, "max_tokens is -1"),
        ({"prompt": "1", "logit_bias": {"x": 1}}, "ids of tokens were expected"),
        ({"prompt": "1", "custom_id": [1]}, "custom_id is [1]"),
        ({"prompt": "\ud800"}, "not valid Unicode"),
        ({"messages": 5}, "messages"),
        ({"messages": [{"role": 1}]}, "role"),
        ({"url": "/v1/completions", "body": {"prompt": "1"}}, "a custom_id is missing"),
        ({"custom_id": "a", "url": "/v1/completions"}, "body is None"),
        ({"custom_id": "a", "url": "/v1/completions", "body": {}}, "a prompt is missing"),
        ({"custom_id": "a", "url": ["x"], "body": {}}, "url is ['x']"),
    ],
)
def test_a_wrong_line_harms_no_other(lumen, talker, line, message):
    right = {"prompt": "1", "max_tokens": 2}
    done = lumen("batch", talker, "-", "--temp", "0", input=_lines(right, line, right))
    wrong, *others = sorted(map(json.loads, done.stdout.splitlines()), key=lambda each: "text" in each)
    error = wrong["error"]
    assert message in (error if isinstance(error, str) else error["message"]), wrong
    assert [each["text"] for each in others] == ["23", "23"] and done.returncode == 0


def test_it_goes_on(lumen, talker, tmp_path):
    requests, answers = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_text(_lines(*({"prompt": "1", "max_tokens": n} for n in range(1, 5))))
    run = ("batch", talker, requests, "-o", answers, "--temp", "0")
    assert lumen(*run).stderr.startswith("lumen: 4 requests, 10 tokens")
    whole = answers.read_bytes()
    # Two answers, and the beginning of a third.
    first, second, third, _ = whole.splitlines(keepends=True)
    answers.write_bytes(first + second + third[:9])
    done = lumen(*run)
    assert f"{answers} has 2 of 4 answers already" in done.stderr and "lumen: 2 requests" in done.stderr
    assert answers.read_bytes().startswith(first + second)
    assert sorted(answers.read_bytes().splitlines()) == sorted(whole.splitlines())
    # There is nothing left, for which no model is opened.
    assert lumen("batch", tmp_path / "none.gguf", *run[2:]).returncode == 0
    # Requests may be added.
    with requests.open("a") as file:
        file.write(_lines({"prompt": "1"}))
    assert "has 4 of 5 answers already" in lumen(*run).stderr
    assert len(answers.read_bytes().splitlines()) == 5


def test_files_of_others_stay_as_they_are(refused, talker, tmp_path):
    requests, answers = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_text(_lines({"prompt": "1"}))
    for content in ("a letter", "a letter\n", '{"index": 0, "text": "2"}\n', '{"prompt": "1"}\n'):
        answers.write_text(content)
        assert "is no answer; nothing was written" in refused("batch", talker, requests, "-o", answers)
        assert answers.read_text() == content
    answers.write_text('{"index": 0, "text": "2", "request": "0123456789abcdef"}\n')
    message = refused("batch", talker, requests, "-o", answers)
    assert f"line 1 answers a request that {requests} does not have" in message
    with answers.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process is writing" in refused("batch", talker, requests, "-o", answers)
    assert "is no answer" in refused("batch", talker, requests, "-o", requests)


def test_wrong_usage(refused, talker, tmp_path):
    assert "a file of requests is missing" in refused("batch", code=2)
    assert "not 3 files" in refused("batch", "a", "b", "c", code=2)
    assert "there are no requests" in refused("batch", talker, "-", input="\n\n")
    assert "cannot be written: " in refused("batch", talker, "-", "-o", tmp_path, input='{"prompt": "1"}')
    twice = {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "1"}}
    message = refused("batch", talker, "-", input=_lines(twice, twice))
    assert message == "-: lines 1 and 2 have the same custom_id, 'a'"


def test_seeds(lumen, tmp_path):
    """Equal prompts get texts of their own, which do not depend on what is computed beside them."""
    requests = _lines(*[{"prompt": "이 영화", "max_tokens": 8}] * 3)
    first = lumen("batch", "-", "-s", "5", input=requests)
    texts = [answer["text"] for _, answer in sorted(_by_index(first.stdout).items())]
    assert len(set(texts)) == 3
    alone = lumen("batch", "-", "-s", "5", "-np", "1", input=requests)
    assert [answer["text"] for _, answer in sorted(_by_index(alone.stdout).items())] == texts
    one = lumen("generate", "-p", "이 영화", "-n", "8", "-s", "6", "-q").stdout
    assert one == texts[1] + "\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle(environment, tmp_path, number):
    model, requests, answers = (tmp_path / name for name in ("model.gguf", "in.jsonl", "out.jsonl"))
    write_scripted(model, ["1", "2", "3", "1"])
    requests.write_text(_lines(*({"prompt": str(1 + n % 3), "max_tokens": 400} for n in range(40))))
    command = [sys.executable, "-m", "lumen_mlir", "batch", model, requests, "-o", answers, "-np", "2"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (answers.exists() and answers.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    before = answers.read_bytes()
    assert 2 <= before.count(b"\n") < 40
    if number == signal.SIGINT:
        assert process.returncode == 130 and before.endswith(b"\n")
        count = before.count(b"\n")
        told = f"stopped: {count} of 40 requests are answered; the same command goes on from there"
        assert told in said.decode()
    again = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert again.returncode == 0, again.stderr
    kept = before[: before.rindex(b"\n") + 1]
    assert answers.read_bytes().startswith(kept)
    assert sorted(_by_index(answers.read_text())) == list(range(40))


def test_a_full_disk(talker, tmp_path, lumen):
    path = tmp_path / "requests.jsonl"
    path.write_text(_lines({"prompt": "1"}))
    done = lumen("batch", talker, path, "-o", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "lumen: error: /dev/full: No space left on device"
