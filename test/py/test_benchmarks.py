# SPDX-License-Identifier: Apache-2.0
"""The benchmark scripts with an engine that only pretends: what they print; going on where they stopped."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = FOLDER / "vs_llama_cpp.py"

# Prints what llama-bench prints, with a line of its own before as ik_llama.cpp does; fails when told to.
FAKE = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
value = lambda name: int(arguments[arguments.index(name) + 1]) if name in arguments else 0
with open({log!r}, "a") as log:
    print(*arguments, file=log)
if os.environ.get("FAKE") == "fails":
    sys.exit("cannot load model")
if os.environ.get("FAKE") == "garbage":
    print("hello")
    sys.exit()
print("======= fake")
result = dict(build_commit="abc", build_number=7, cpu_info="a CPU", n_prompt=value("-p"), n_gen=value("-n"))
print(json.dumps([result | dict(n_threads=value("-t"), avg_ns=10**9)]))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What all tests compile."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache):
    (tmp_path / "cache").symlink_to(cache)
    binary, log = tmp_path / "llama-bench", tmp_path / "log"
    binary.write_text(FAKE.format(python=sys.executable, log=str(log)))
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)

    def run(*arguments: object, fake: str = "") -> subprocess.CompletedProcess:
        command = [sys.executable, SCRIPT, "--llama-bench", binary, "--folder", tmp_path, *arguments]
        environment = {**os.environ, "FAKE": fake}
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment, timeout=120
        )
        done.calls = log.read_text().splitlines() if log.exists() else []
        return done

    return run


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rounds_are_measured_once(run, tmp_path):
    arguments = ("--synthetic", "tiny:q4_0", "-p", "16", "-n", "4", "-t", "1", "--peer-options", "-fa 0")
    first = run(*arguments, "--rounds", "1")
    assert first.returncode == 0, first.stderr
    assert "2 rows, 2 of them to measure" in first.stderr
    model = tmp_path / "tiny-q4_0.gguf"
    assert first.calls == [
        f"-m {model} -p 16 -n 0 -t 1 -r 1 -o json -fa 0",
        f"-m {model} -p 0 -n 4 -t 1 -r 1 -o json -fa 0",
    ]
    assert not model.exists()
    header, _, *lines = (line for line in first.stdout.splitlines() if line.startswith("|"))
    assert cells(header)[:5] == ["file", "test", "threads", "Lumen", "peer"]
    assert [cells(line)[:3] for line in lines] == [["tiny-q4_0", "pp16", "1"], ["tiny-q4_0", "tg4", "1"]]
    assert [cells(line)[4] for line in lines] == ["16.0", "4.0"]
    assert "llama-bench: abc (7), a CPU" in first.stdout and "Limits on 1 thread:" in first.stdout

    # A second run adds the rounds that are missing, also one that was cut off while it was written down.
    results = tmp_path / "llama-bench-native.jsonl"
    text = results.read_text()
    before = [json.loads(line) for line in text.splitlines()]
    assert len(before) == 4 and all(min(r["read_before"], r["int8_before"]) > 1e8 for r in before)
    results.write_text(text[:-30])
    # No machine reads that much; patience ends, and the round is measured all the same.
    second = run(*arguments, "--rounds", "2", "--quiet", "1e6", "--patience", "0.5")
    assert second.returncode == 0 and "a line is not JSON" in second.stderr
    assert len(second.calls) - len(first.calls) == 3
    assert [cells(line)[-1] for line in second.stdout.splitlines() if line.startswith("| tiny")] == ["2", "2"]
    third = run(*arguments, "--rounds", "2")
    assert "0 of them to measure" in third.stderr and third.calls == second.calls

    report = run(*arguments, "--report", "--only", "tg4")
    assert report.stdout.count("\n| tiny") == 1 and report.calls == second.calls
    picture = ElementTree.parse(tmp_path / "llama-bench-native.svg")
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "tiny-q4_0, tg4, 1 thr." in texts
    assert (tmp_path / "llama-bench-native.md").read_text().startswith("| file")


def test_what_cannot_be_measured(run, tmp_path):
    arguments = ("--synthetic", "tiny:q4_0", "-p", "16", "-n", "0", "-t", "1", "--rounds", "1")
    failed = run(*arguments, fake="fails")
    assert failed.returncode == 1 and failed.stderr.rstrip().endswith("cannot load model")
    garbage = run(*arguments, fake="garbage")
    assert garbage.returncode == 1 and "this is not what llama-bench -o json prints" in garbage.stderr
    # llama-bench runs one sequence, so there is nothing to compare several rows with.
    batch = run("--synthetic", "tiny:q4_0", "-p", "0", "-n", "2", "-b", "4", "-t", "1", "--rounds", "1")
    assert batch.returncode == 1 and "no row has a round of both engines" in batch.stderr
    assert list(tmp_path.glob("*.gguf")) == []
    assert run("--table", "formats", "--only", "nothing").stderr == "there is nothing to measure\n"
    assert "give one of MODEL" in run().stderr


def test_tables(run, monkeypatch):
    listed = run("--table", "all", "--list")
    names = listed.stdout.splitlines()
    assert len(names) == len(set(names)) and listed.calls == []
    assert names[0] == "qwen2.5-0.5b-q8_0 pp512 1t" and "qwen2.5-1.5b-14l-q4_k_m tg32 2t" in names
    monkeypatch.syspath_prepend(FOLDER)
    import rows

    assert names == [row.key for table in rows.TABLES.values() for row in table()]
    assert len(rows.formats()) == 8 * 2 * 2


def test_summaries(monkeypatch):
    """Ratios are taken within a round, and of several peers the fastest counts."""
    monkeypatch.syspath_prepend(FOLDER)
    import report
    import rows

    row = rows.Row("qwen2.5-0.5b", "q8_0", rows.Test(generate=10), 2)
    times = {"Lumen": (1, 2, 4), "slow": (4, 4, 4), "fast": (2, 6, 3)}
    results = [
        {"row": row.key, "engine": engine, "round": number, "ns": ns * 10**9, "threads": 2, "least_ns": 10**9}
        for engine, list in times.items()
        for number, ns in enumerate(list)
    ]
    (summary,) = report.summarize([row], results[:-1])
    assert summary.peer == "fast" and summary.ratios == [2, 3] and summary.of_limit == [1, 0.5]
    (summary,) = report.summarize([row], results)
    assert summary.ratio == 2 and "2.00 (0.75 to 3.00)" in report.table([summary])
    assert json.dumps(report.summarize([row], results[:2])) == "[]"


def test_pages_show_what_was_measured(monkeypatch):
    """The tables and the chart are what the script makes of its results."""
    monkeypatch.syspath_prepend(FOLDER)
    import pages

    results = json.loads(pages.RESULTS.read_text())
    assert {"speed", "start", "kernels"} <= set(results) <= set(pages.PARTS)
    for page, text in pages.pages(results).items():
        assert page.read_text() == text, f"run: python benchmarks/pages.py --write ({page.name})"
    for result in results.values():
        assert set(result) == {"commit", "date", "machine", "commands", "outputs"}
        assert len(result["commands"]) == len(result["outputs"])


def test_a_page_is_written_between_its_markers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    import pages

    rows = [
        {"file": "new-q8_0", "test": test, "threads": 2, "lumen": 200.0, "peer": 100.0, "ratio": ratio,
         "ratios": [1.0, ratio, 9.0]}
        for test, ratio in (("pp512", 2.5), ("tg64", 1.5))
    ]  # fmt: skip
    limits = {"2": {"read": 40e9, "int8": 300e9, "float32": 1e9}}
    speed = {"commit": "abc", "date": "2026-01-01", "machine": "a CPU", "commands": ["python x.py"]}
    speed["outputs"] = [{"rows": rows, "limits": limits}]
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- measured: speed -->\nold\n<!-- end: speed -->\nafter\n")
    written = pages.pages({"speed": speed})
    text = written[page]
    assert text.startswith("before\n<!--") and text.endswith("-->\nafter\n") and "old" not in text
    assert "$ python x.py" in text and "a CPU; commit abc, 2026-01-01." in text
    assert "Lumen reads prompts 2.5 times as fast and writes 1.5 times as fast." in text
    assert "reads 40 GB/s and does 300 GOP/s" in text
    line = next(line for line in text.splitlines() if line.startswith("| new-q8_0"))
    assert cells(line)[1:] == [
        "random",
        "200",
        "100",
        "2.50 (1.00 to 9.00)",
        "200",
        "100",
        "1.50 (1.00 to 9.00)",
    ]
    texts = [
        t.text for t in ElementTree.fromstring(written[pages.CHART]).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"2.5x, 200 tokens/s", "1.5x, 200 tokens/s", "a CPU, commit abc"} <= set(texts)
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="measured: speed"):
        pages.pages({"speed": speed})


def test_a_part_that_fails_is_left_out(monkeypatch, tmp_path, capsys):
    """The others are measured and written all the same."""
    monkeypatch.syspath_prepend(FOLDER)
    import page_parts
    import pages

    parts = {
        name: page_parts.Part("page.md", (command,), 1, lambda outputs: outputs[0], text=True)
        for name, command in {"bad": "python nothing.py", "good": "python good.py"}.items()
    }
    (tmp_path / "good.py").write_text("print('a table')")
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("".join(f"<!-- measured: {name} -->\n<!-- end: {name} -->\n" for name in parts))
    monkeypatch.setattr(pages, "PARTS", parts)
    for name, path in {"ROOT": tmp_path, "FOLDER": tmp_path, "DOCS": page.parent}.items():
        monkeypatch.setattr(pages, name, path)
    monkeypatch.setattr(pages, "RESULTS", tmp_path / "results" / "pages.json")
    monkeypatch.setattr(pages, "_commit", lambda: "abc")
    with pytest.raises(SystemExit, match="nothing new is known of bad"):
        pages.main(["--only", "bad,good"])
    assert "bad: Command" in capsys.readouterr().err
    assert list(json.loads(pages.RESULTS.read_text())) == ["good"]
    assert "$ python good.py" in page.read_text() and "a table" in page.read_text()


def test_parts_of_pages_have_limits(monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    import pages

    assert pages._limited([sys.executable, "-c", "print(1)"], 60) == "1\n"
    assert pages._limited([sys.executable, "-c", "import time; time.sleep(60)"], 0.3) is None
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        pages._limited([sys.executable, "-c", "raise SystemExit(3)"], 60)
    pages.main(["--list", "--only", "start"])
    assert capsys.readouterr().out.startswith("start\n  python benchmarks/start.py")
    with pytest.raises(SystemExit):
        pages.main(["--only", "nothing"])
    assert "there is no part nothing; there are speed" in capsys.readouterr().err
