# SPDX-License-Identifier: Apache-2.0
"""The server, asked by programs that people use: lm-eval, LangChain, schemathesis."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lumen_mlir import LLM
from lumen_mlir.testing.scripted import write_scripted

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
from server_fixture import serving  # noqa: E402

REQUESTS = 10_000
ITEMS = [
    ("이 영화는", ["정말 재미있어요", "자동차 엔진의 부품"], 0),
    ("배우의 연기가", ["훌륭했다", "곱하기 나누기"], 0),
    ("결말이", ["세탁기", "아쉬웠다"], 1),
    ("오늘 본 영화는", ["최고였다", "최저임금위원회"], 0),
    ("감독의", ["연출이 좋다", "분수대 앞 삼각형"], 0),
]


@pytest.fixture(scope="module")
def server():
    with serving(options={"context": 1024}) as running:
        yield running


def test_lm_eval_gives_the_score_of_the_library(server, tmp_path):
    """An evaluation over HTTP: the same choices, by the same sums of log probabilities."""
    questions = [{"question": text, "choices": choices, "answer": answer} for text, choices, answer in ITEMS]
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in questions))
    (tmp_path / "tiny.yaml").write_text(
        "task: tiny\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {data}\n"
        "test_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: answer\n'
        'target_delimiter: " "\nmetric_list:\n  - metric: acc\n'
    )
    arguments = f"model=x,base_url={server.url}/v1/completions,num_concurrent=2,tokenizer_backend=remote"
    server.server.catalog._any_name = True
    run = subprocess.run(
        [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments,
         "--tasks", "tiny", "--include_path", str(tmp_path), "--output_path", str(tmp_path / "out"),
         "--log_samples"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    (samples,) = (tmp_path / "out").rglob("samples_tiny_*.jsonl")
    scored = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda each: each["doc_id"])
    right = 0
    with LLM(context=1024) as llm:
        for sample, (question, choices, answer) in zip(scored, ITEMS, strict=True):
            sums = []
            for choice in choices:
                context = llm.tokenize(question, add_bos=False)
                whole = llm.tokenize(f"{question} {choice}", add_bos=False)
                run_ = llm.generate(whole, 0, logprobs=0, prompt_logprobs=True)
                run_.text()
                sums.append(sum(record.logprob for record in run_.prompt_logprobs[len(context) - 1 :]))
            said = [float(response[0][0]) for response in sample["resps"]]
            assert said == pytest.approx(sums, abs=1e-5)
            right += max(range(len(sums)), key=sums.__getitem__) == answer
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["tiny"]["acc,none"] == pytest.approx(right / len(ITEMS))


def test_langchain(tmp_path):
    from langchain_openai import ChatOpenAI

    path = tmp_path / "parrot.gguf"
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
    control = ["<|user|>", "<|system|>", "<|assistant|>", "</s>"]
    script = ["<|assistant|>", "안녕", "하세요", "</s>"]
    write_scripted(path, script, control=control, eos="</s>", template=template)
    with serving(str(path), options={"engine": "reference"}) as running:
        model = ChatOpenAI(model="parrot", base_url=f"{running.url}/v1", api_key="none", temperature=0)
        answer = model.invoke([("system", "친절하게"), ("human", "안녕?")])
        assert answer.content == "안녕하세요"
        assert answer.usage_metadata["output_tokens"] == 3
        assert "".join(piece.content for piece in model.stream("안녕?")) == "안녕하세요"


DOCS = Path(__file__).resolve().parents[2] / "docs"
PROGRAMS = [
    (page, number, program)
    for page in ("server.md", "server-apis.md")
    for number, program in enumerate(
        re.findall(
            r"^<!-- not run: asks a server -->\n```python\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S
        )
    )
]


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """Answers every model's name with a greeting."""
    path = tmp_path_factory.mktemp("models") / "parrot.gguf"
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
    control = ["<|user|>", "<|system|>", "<|assistant|>", "</s>"]
    script = ["<|assistant|>", "안녕", "하세요", "</s>"]
    write_scripted(path, script, control=control, eos="</s>", template=template)
    with serving(str(path), options={"engine": "reference"}, any_name=True) as running:
        yield running


@pytest.mark.parametrize(("page", "number", "program"), PROGRAMS)
def test_programs_of_pages(parrot, page, number, program, capsys):
    assert len(PROGRAMS) >= 4
    exec(compile(program.replace("http://127.0.0.1:8080", parrot.url), f"{page} {number}", "exec"), {})
    assert capsys.readouterr().out.strip() == "안녕하세요"


def test_made_up_requests(tmp_path):
    """So many requests made from the OpenAPI document: none of them is the server's fault."""
    path = tmp_path / "model.gguf"
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<|assistant|>"
    write_scripted(
        path,
        ["<|assistant|>", "네", "</s>"],
        control=["<|assistant|>", "</s>"],
        eos="</s>",
        template=template,
    )
    with serving(
        str(path), options={"engine": "reference"}, session_folder=str(tmp_path / "s"), any_name=True
    ) as running:
        operations = sum(len(each) for each in running.get("/openapi.json").json()["paths"].values())
        examples = -(-REQUESTS // operations)
        program = Path(sys.executable).parent / "schemathesis"
        run = subprocess.run(
            [program, "run", f"{running.url}/openapi.json", "--checks", "not_a_server_error", "--no-color",
             "--max-examples", str(examples), "--phases", "coverage,fuzzing", "--seed", "1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-4000:]
        assert "failed" not in run.stdout.rpartition("Test cases:")[2]
        # It is still there.
        assert running.text("x", max_tokens=1) is not None
