# SPDX-License-Identifier: Apache-2.0
"""What each subcommand prints, and where."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from lumen_mlir import __version__, formats
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.measure import tune
from lumen_mlir.storage.cache import PAGES, Cache
from lumen_mlir.testing.families import write_family
from lumen_mlir.testing.scripted import write_scripted

GREEDY = ("--temp", "0")


def test_version_and_help(lumen, process):
    assert process("--version").stdout == lumen("--version").stdout == f"lumen {__version__}\n"
    help = lumen("--help").stdout
    commands = help.split("Commands:")[1]
    for command in (
        "generate",
        "chat",
        "inspect",
        "quantize",
        "perplexity",
        "compile",
        "bench",
        "formats",
        "cache",
    ):
        assert f"\n  {command} " in commands
        done = lumen(command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"Usage: lumen {command} ")
    bare = lumen()
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, help, "")


def test_generate(lumen):
    done = lumen("generate", "-p", "배우들의", "-n", "32", *GREEDY)
    assert (done.returncode, done.stdout) == (0, " 연기가 정말 일품이었어요.\n")
    (summary,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"lumen: \d+ tokens at [\d,.]+/s, prompt \d+ at [\d,.]+/s, loaded in \d+\.\d\d s, \d+ MB", summary
    )
    assert len(summary) <= 80


def test_prompt_sources(lumen, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("배우들의\n", encoding="utf-8")
    text = " 연기가 정말 일품이었어요.\n"
    assert lumen("generate", "-f", path, *GREEDY).stdout == text
    assert lumen("generate", *GREEDY, input="배우들의").stdout == text
    assert lumen("generate", "-f", "-", *GREEDY, input="배우들의\r\n").stdout == text
    assert lumen("generate", "-p", "배우들의", "--echo", *GREEDY).stdout == "배우들의" + text
    # Nothing at all begins a text.
    assert lumen("generate", *GREEDY, "-n", "8", input="").stdout.strip()


def test_quiet_and_verbose(lumen):
    done = lumen("generate", "-p", "배우들의", "-n", "2", "-q")
    assert done.returncode == 0 and done.stderr == ""
    done = lumen("generate", "-p", "배우들의", "-n", "2", "-v")
    assert "qwen2, 6 layers of width 256, vocabulary 8192, context 2048 of 2048" in done.stderr
    assert re.search(r"lumen: read [\d.]+ s, compile [\d.]+ s.*, pack [\d.]+ s", done.stderr)
    assert "lumen: prompt of 2 tokens, 0 of them kept" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("lumen: kernels ")


def test_sampling_options(lumen):
    def text(*arguments):
        return lumen("generate", "-p", "이 영화", "-n", "12", *arguments).stdout

    assert text("--seed", "3") == text("--seed", "3") != text("--seed", "4")
    assert text("--top-k", "1") == text(*GREEDY)
    assert text(*GREEDY, "--stop", "재밌게") == text(*GREEDY).split("재밌게")[0] + "\n"
    assert len(text(*GREEDY, "--ignore-eos")) > len(text(*GREEDY))
    assert text(*GREEDY, "-n", "0") == "\n"


def test_logprobs(lumen, refused):
    plain = lumen("generate", "-p", "배우들의", "-n", "8", *GREEDY).stdout
    done = lumen("generate", "-p", "배우들의", "-n", "8", "--logprobs", "2", *GREEDY)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert "".join(record["text"] for record in records) == plain.rstrip("\n")
    for record in records:
        assert record["logprob"] <= 0 and bytes(record["bytes"]).decode() == record["text"]
        assert len(record["top"]) == 2 and record["top"][0]["token"] == record["token"]
        assert record["top"][0]["logprob"] >= record["top"][1]["logprob"]
    none = lumen("generate", "-p", "배우들의", "-n", "3", "--logprobs", "0", "--stop", plain[:4], *GREEDY)
    assert [json.loads(line)["top"] for line in none.stdout.splitlines()][0] == []
    assert lumen("generate", "-p", "a", "-n", "0", "--logprobs", "1").stdout == ""
    assert "logprobs is -1" in refused("generate", "-p", "a", "--logprobs", "-1")
    message = refused("generate", "-p", "a", "--logprobs", "1", "--echo", code=2)
    assert message.startswith("--echo cannot be used with --logprobs")


def test_full_context(lumen, tiny):
    done = lumen("generate", tiny, "-p", "a b", "-n", "-1", "--ignore-eos", *GREEDY)
    assert done.returncode == 0
    assert "warning: the context of 64 tokens is full" in done.stderr


def test_chat(lumen, tiny):
    done = lumen("chat", tiny, "-n", "4", *GREEDY, input="hello\n\n/clear\nhello\n")
    assert done.returncode == 0 and done.stdout.endswith("\n")
    assert "prompt" in done.stderr


def test_progress_on_a_terminal(environment, tiny, tmp_path):
    """Bars while a model is compiled and packed, none where the caches have everything."""
    shown = []
    for _ in range(2):
        main, side = pty.openpty()
        run = subprocess.Popen(
            [sys.executable, "-m", "lumen_mlir", "generate", tiny, "-p", "a", "-n", "1"],
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            stderr=side,
            env={**environment, "LUMEN_CACHE_DIR": str(tmp_path), "TERM": "xterm"},
        )
        os.close(side)
        text = b""
        # The terminal is gone (EIO) when the last process that has it ends.
        with contextlib.suppress(OSError):
            while piece := os.read(main, 4096):
                text += piece
        os.close(main)
        assert run.wait(timeout=60) == 0
        shown.append(text.decode("utf-8", "replace"))
    assert "compiling" in shown[0] and "packing weights" in shown[0] and "loaded in" in shown[0]
    assert "compiling" not in shown[1] and "loaded in" in shown[1]


def test_chat_without_template(lumen, tmp_path):
    """The error says why, and what to do instead."""
    done = lumen("chat", input="안녕\n")
    assert (done.returncode, done.stdout) == (1, "")
    error, *hints = done.stderr.splitlines()
    assert error == (
        "lumen: error: the model that comes with Lumen continues film reviews; it has not learned to talk"
    )
    assert [hint.split("  ")[1] for hint in hints] == [
        " lumen chat MODEL.gguf",
        " lumen generate -p TEXT",
        " lumen chat --chat-template plain",
    ]
    path = tmp_path / "base.gguf"
    write_scripted(path, ["Assistant", ":", " yes", "\n", "User", ":"])
    done = lumen("chat", path, "-p", "a")
    error, *hints = done.stderr.splitlines()
    assert error == f"lumen: error: {path}: the model has no chat template; it may only continue texts"
    assert len(hints) == 2 and f"lumen chat {path} --chat-template plain" in hints[1]


def test_chat_template_in_place_of_the_file_s_own(lumen, refused, tmp_path):
    base, file = tmp_path / "base.gguf", tmp_path / "own.jinja"
    write_scripted(
        base, [[":", " yes", "\n", "User", ":"], ["[A]", "no"]], control=["</s>", "[A]"], eos="</s>"
    )
    chat = ("chat", base, "-q", "--engine", "reference", "-p", "a", *GREEDY)
    assert lumen(*chat, "--chat-template", "plain").stdout == " yes\n"
    file.write_text("{{ messages[0].content }}[A]")
    assert lumen(*chat, "--chat-template", file, "-n", "1").stdout == "no\n"
    assert refused(*chat, "--chat-template", "plian").startswith(
        "there is no chat template 'plian', nor a file of that name; did you mean 'plain'?"
    )
    file.write_text("{% for")
    assert refused(*chat, "--chat-template", file).startswith("the given chat template: line 1: ")


def test_inspect(lumen, tiny):
    out = lumen("inspect", tiny).stdout
    assert re.search(r"^architecture +qwen2$", out, re.M)
    assert re.search(r"^type +Q8_0$", out, re.M)
    assert re.search(r"^runs +yes$", out, re.M)
    assert "blk.0" not in out
    out = lumen("inspect", tiny, "--tensors", "--metadata").stdout
    assert re.search(r"^blk\.1\.attn_k\.weight +32 x 64 +q8_0 +2,176 ", out, re.M)
    assert re.search(r"^qwen2\.block_count +uint32 +2$", out, re.M)
    assert re.search(r"^tokenizer\.ggml\.tokens +array of string +301 elements$", out, re.M)
    assert "6.82M in 74 tensors" in lumen("inspect").stdout


def test_inspect_windows_and_experts(lumen, tmp_path):
    write_family(tmp_path / "model.gguf", "exaone-moe")
    out = lumen("inspect", tmp_path / "model.gguf").stdout
    assert re.search(r"^sliding window +8 tokens in 3 of 4 layers$", out, re.M)
    assert re.search(r"^experts +2 of 8 of width 64 by sigmoid, one of width 64 for all$", out, re.M)
    assert re.search(r"^KV cache +256 bytes per token \(f16\), 196.61 kB for sliding windows$", out, re.M)


MODULE = """
lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  %sign = arith.constant dense<-128> : vector<32xi8>
  %codes = arith.xori %qs, %sign : vector<32xi8>
  lumen.decoded codes(%codes : vector<32xi8>) scale(%d : f16)
}
func.func @head(%x: tensor<?x64xf32>, %w: tensor<48x64x!lumen.q<@q8_0>>) -> tensor<?x48xf32> {
  %f = lumen.dequantize %w : tensor<48x64x!lumen.q<@q8_0>> -> tensor<48x64xf32>
  %y = lumen.linear %x, %f : tensor<?x64xf32>, tensor<48x64xf32> -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
"""


@pytest.mark.parametrize(
    "stage, expected",
    [
        ("lumen", "lumen.linear"),
        ("fused", "lumen.qlinear"),
        ("loops", "linalg.generic"),
        ("vector", "lumen.dot4"),
        ("llvm", "llvm.func @lumen_entry_step"),
        ("asm", "lumen_entry_step:"),
    ],
)
def test_compile(lumen, tiny, tmp_path, stage, expected):
    done = lumen("compile", tiny, "--emit", stage, "--target", "x86-64-v3")
    assert done.returncode == 0 and expected in done.stdout and done.stderr == ""
    path = tmp_path / "out"
    assert lumen("compile", tiny, "--emit", stage, "--target", "x86-64-v3", "-o", path).stdout == ""
    assert path.read_text() == done.stdout


def test_compile_to_an_unknown_form(lumen, tiny):
    done = lumen("compile", tiny, "--emit", "linalg")
    assert done.returncode == 2 and "'linalg' is not one of 'lumen', 'fused', 'loops'" in done.stderr


def test_compile_for_another_machine(lumen, refused, tiny, tmp_path):
    """A target of another architecture compiles, to code in which nothing is of this one, and is not run."""
    here = codegen.architecture("")
    name, machine = ("armv8-a", 183) if here != "aarch64" else ("x86-64-v3", 62)
    assert lumen("compile", tiny, "--target", name, "--emit", "obj", "-o", tmp_path / "o").returncode == 0
    code = (tmp_path / "o").read_bytes()
    assert code[:4] == b"\x7fELF" and int.from_bytes(code[18:20], "little") == machine
    llvm = lumen("compile", tiny, "--target", name, "--emit", "llvm").stdout
    assert "llvm.func @lumen_entry_step" in llvm
    if name == "armv8-a":
        module = llvm.split("lumen.target = #lumen.target<", 1)[1].split("\n", 1)[1]
        assert not re.search(r"x86|no_caller_saved_registers|prefer-vector-width|stackrealign", module)
    there = codegen.architecture(targets.get(name).triple)
    said = f"this machine ({here}) cannot run code for target {name} ({there})"
    for command in (("generate", tiny, "-p", "a"), ("bench",), ("bench", "kernels")):
        assert refused(*command, "--target", name).startswith(said)


def test_compile_names_the_targets(lumen):
    # (Lines may end at a hyphen of a name.)
    told = "".join(lumen("compile", "--help").stdout.split())
    for name in targets.names():
        assert name in told


def test_compile_functions(lumen, refused, tiny):
    out = lumen("compile", tiny, "--emit", "vector", "--function", "qlinear_*_add").stdout
    names = re.findall(r"^func\.func private @(\w+)", out, re.M)
    assert names and all(name.startswith("qlinear_") and name.endswith("_add") for name in names)
    arguments = ("--emit", "asm", "--function", names[0], "--target", "x86-64-v2")
    out = lumen("compile", tiny, *arguments).stdout
    assert out.startswith(f"{names[0]}:") and "pmaddubsw" in out
    # The loops that it has in common with others stand behind it.
    shown, *loops = re.findall(r"^(\w+):", out, re.M)
    assert shown == names[0] and loops and all(re.fullmatch(r"loop_[0-9a-f]{16}", loop) for loop in loops)
    said = refused("compile", tiny, "--emit", "fused", "--function", "softmax")
    assert said.startswith("no function 'softmax'; there are step, layer_0")
    said = refused("compile", tiny, "--emit", "asm", "--function", "softmax")
    assert said.startswith("no function 'softmax'; there are ") and "lumen_entry_step" in said


def test_compile_modules(lumen, refused, tmp_path):
    path = tmp_path / "head.mlir"
    path.write_text(MODULE)
    assert "lumen.qlinear" in lumen("compile", path, "--emit", "fused").stdout
    assert "@lumen_entry_head" in lumen("compile", path, "--emit", "llvm").stdout
    done = lumen("compile", path, "--emit", "obj", "-o", tmp_path / "head.o")
    assert done.returncode == 0 and (tmp_path / "head.o").read_bytes()[:4] == b"\x7fELF"
    path.write_text("func.func @f() { lumen.nothing }")
    said = refused("compile", path)
    assert f'"{path}":1:18: error' in said and "lumen.nothing" in said
    assert refused("compile", tmp_path / "none.mlir").endswith(
        "none.mlir: cannot be opened: No such file or directory"
    )
    path.write_text(MODULE)
    assert refused("compile", path, "-o", "/nonexistent/out").startswith(
        "/nonexistent/out: cannot be written"
    )
    assert refused("compile", path, "--target", "z80").startswith("unknown target 'z80'; there are ")


def test_second_start_uses_the_caches(lumen, tmp_path):
    own = {"LUMEN_CACHE_DIR": str(tmp_path)}
    first, second = (lumen("generate", "-p", "이", "-n", "4", "-v", *GREEDY, env=own) for _ in range(2))
    assert "cached" not in first.stderr and first.stdout == second.stdout
    assert re.search(r"compile [\d.]+ s \(cached\), pack [\d.]+ s \(cached\)", second.stderr)
    out = lumen("cache", "list", "--entries", env=own).stdout
    kinds = [line.split()[0] for line in out.splitlines()[3:]]
    others = [kind for kind in kinds if kind != "kernels"]
    assert len(others) < len(kinds) and sorted(others) == ["objects", "objects", "packed", "tokenizers"]
    (model,) = lumen("cache", env=own).stdout.splitlines()[3:]
    assert f"{len(kinds) - len(others)} kernels" in model.split("  ")[-1].split(", ")


def test_formats(lumen, refused):
    out = lumen("formats").stdout
    assert [line.split()[0] for line in out.splitlines()[1 : 1 + len(formats.names())]] == formats.names()
    scale = r"f16/256 \* i8/32"
    row = rf"^q4_k +12 +4\.5 +[\d.]+ +256 +144 +32  4 bits +{scale}  {scale}  all$"
    assert re.search(row, out, re.M), out
    table = json.loads(lumen("formats", "--json").stdout)
    assert table == json.loads(lumen("formats", "list", "--json").stdout)
    assert [entry["name"] for entry in table] == formats.names()
    (q4_k,) = (entry for entry in table if entry["name"] == "q4_k")
    assert q4_k["scale"] == {"per_block": "f16", "per_group": "i8"} and q4_k["bits_per_weight"] == 4.5


def test_descriptions_are_short():
    from lumen_mlir.cli.formats import source_of

    for name in formats.names():
        if not formats.get(name).is_float:
            lines = [line for line in source_of(formats.get(name))[0].splitlines() if line.strip()]
            assert 5 <= len(lines) <= 40, name


def test_formats_show(lumen, refused):
    out = lumen("formats", "show", "q4_k", "--target", "x86-64-v3").stdout
    for part in ("def scales_and_minima", "class Q4_K:", "lumen.format @q4_k", "Packed for x86-64-v3"):
        assert part in out
    assert re.search(r"^  16  qs\[0\] +│ +w32 +│ +w0 +│$", out, re.M)
    assert re.search(r"^   4  scales\[0\] +│ +s4\[5:4\] +│ +s0 +│$", out, re.M)
    # Bytes that are alike are left out, so that a block fits on a page.
    assert len(out.splitlines()) < 180
    shown = json.loads(lumen("formats", "show", "q4_k", "--json").stdout)
    assert shown["ir"].startswith("lumen.format @q4_k") and "class Q4_K" in shown["source"]
    assert shown["fields"][3] == {
        "name": "qs", "type": "u8[128]", "offset": 16, "bytes": 128, "per": "block",
    }  # fmt: skip
    assert [cell["holds"] for cell in shown["bits"][16]] == ["w32", "w0"]
    out = lumen("formats", "show", "iq2_s").stdout
    assert "… 1024 numbers]>" in out and max(map(len, out.splitlines())) < 2500
    assert "plain element type" in lumen("formats", "show", "bf16").stdout
    assert refused("formats", "show", "q4_k", "--target", "z80").startswith("unknown target 'z80'")
    assert refused("formats", "show", "q4_kk") == (
        "unknown quantization format 'q4_kk'; did you mean 'q4_k'?"
    )


def test_keys_and_values_on_disk(process, refused, tmp_path):
    """What waits to be written is written before the process ends; another one finds it."""
    own = {"LUMEN_CACHE_DIR": str(tmp_path)}

    def generated(*more: str) -> str:
        done = process("generate", "-p", "배우들의 연기가 정말 " * 20, "-n", "8", *GREEDY, *more, env=own)
        assert done.returncode == 0
        return done.stdout

    def pages() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pages").iterdir()}

    plain = generated()
    assert generated("--kv-disk", "1G") == plain
    written = pages()
    assert written and generated("--kv-disk", "1G") == plain
    assert pages() == written
    assert refused("generate", "--kv-disk", "much", "-p", "이", env=own) == (
        "kv_disk is 'much'; a size such as 500M or 4G was expected"
    )


def test_cache_of_pages(lumen, tmp_path):
    own = {"LUMEN_CACHE_DIR": str(tmp_path)}
    cache = Cache(tmp_path, limit=10**9).labelled("a model")
    for number in range(2):
        cache.store(PAGES, f"{number}", bytes(1000))
    first = lumen("cache", env=own).stdout.splitlines()[0]
    assert first.endswith("0 entries, 0 bytes of 20.00 GB, and 2 pages of keys and values, 10.19 kB")
    assert "2 pages of keys and values" in lumen("cache", env=own).stdout.splitlines()[3]
    assert lumen("cache", "clear", env=own).stdout == f"{tmp_path}: removed 2 entries, 10.19 kB\n"


def test_cache(lumen, tmp_path):
    own = {"LUMEN_CACHE_DIR": str(tmp_path)}
    assert lumen("cache", env=own).stdout.startswith(f"{tmp_path}: 0 entries, 0 bytes of 20.00 GB")
    lumen("generate", "-p", "이", "-n", "1", env=own)
    out = lumen("cache", "list", env=own).stdout
    named = r"lumen-ko-comments-7m-q8_0\.gguf \(qwen2 6\.82M Q8_0\)"
    (model,) = out.splitlines()[3:]
    # In this order: the last that was used comes first.
    assert re.match(rf"{named} +\d+\.\d\d MB  \d{{4}}-\d\d-\d\d \d\d:\d\d  ", model)
    assert {"packed weights", "tokenizer"} <= set(model.split("  ")[-1].split(", "))
    entries = lumen("cache", "list", "--entries", env=own).stdout
    assert re.search(rf"^tokenizers +\d\S* kB  .{{16}}  {named}  \S+$", entries, re.M)
    # What was kept before entries had names, and for no model.
    Cache(tmp_path).store("tunings", "of-nothing", b"x")
    assert re.search(r"^\(of no model\) .*  tuning$", lumen("cache", env=own).stdout, re.M)
    out = lumen("cache", "clear", env=own).stdout
    assert re.match(re.escape(f"{tmp_path}: removed ") + r"\d+ entr(y|ies), ", out)
    assert list(tmp_path.rglob("*.lumen")) == []


def test_bench(lumen, refused, tiny):
    arguments = ("bench", tiny, "-p", "4,5", "-n", "2", "-d", "0,3", "-r", "2")
    out = lumen(*arguments).stdout
    header, rule, *rows = out.splitlines()
    assert header.split("|")[1].strip() == "model" and set(rule) <= set("|-: ")
    tests = [row.split("|")[6].strip() for row in rows]
    assert tests == ["pp4", "pp5", "tg2", "pp4 @ d3", "pp5 @ d3", "tg2 @ d3"]
    results = json.loads(lumen(*arguments, "-o", "json", "-q").stdout)
    assert len(results) == 6
    for result in results:
        assert result["model_filename"] == str(tiny) and result["model_type"].startswith("qwen2 ")
        assert result["model_n_params"] > 0 and result["type_k"] == "f16" and result["n_batch"] == 512
        assert len(result["samples_ts"]) == 2 and result["avg_ts"] > 0 and result["stddev_ts"] >= 0
        assert result["kernels"]
        rates = [(result["n_prompt"] + result["n_gen"]) * 1e9 / ns for ns in result["samples_ns"]]
        assert result["samples_ts"] == pytest.approx(rates)
    table = list(csv.DictReader(io.StringIO(lumen(*arguments, "-o", "csv", "-q").stdout)))
    assert [row["n_depth"] for row in table] == ["0", "0", "0", "3", "3", "3"]
    assert refused("bench", tiny, "-p", "x") == (
        "-p is 'x'; whole numbers of at least 0, with commas, were expected"
    )
    assert refused("bench", tiny, "-p", "0", "-n", "0").startswith("there is nothing to measure")
    assert refused("bench", tiny, "-r", "0").startswith("--repetitions is 0")
    assert refused("bench", tiny, "-p", "65", "-n", "0") == (
        "a context of 65 tokens is longer than the model's own of 64 tokens"
    )


def test_profile(lumen, refused, tiny, tmp_path):
    picture = tmp_path / "profile.svg"
    arguments = ("bench", tiny, "-p", "4", "-n", "2", "-r", "2", "-t", "1,2", "--profile")
    done = lumen(*arguments, "--profile-svg", picture)
    titles = [line for line in done.stdout.splitlines() if line and not line.startswith("|")]
    assert [title.split(";")[0] for title in titles] == [
        "pp4, 1 thread",
        "tg2, 1 thread",
        "pp4, 2 threads",
        "tg2, 2 threads",
    ]
    assert picture.read_text().startswith("<?xml") and os.listdir(tmp_path) == ["profile.svg"]
    one = ("bench", tiny, "-p", "4", "-n", "0", "-r", "1", "-t", "1", "--profile")
    rows = json.loads(lumen(*one, "-o", "json", "-q").stdout)
    assert [row["kernel"] for row in rows][-1] == "outside of kernels"
    assert refused("bench", tiny, "--profile-svg", picture) == "--profile-svg needs --profile"
    assert "no kernels" in refused(*one, "--engine", "reference")
    missing = tmp_path / "no" / "profile.svg"
    assert refused(*one, "--profile-svg", missing) == f"{missing}: there is no such folder"


@pytest.mark.parametrize("command", ["generate", "bench"])
def test_without_packed_weights_on_disk(lumen, tiny, tmp_path, command):
    environment = {"LUMEN_CACHE_DIR": str(tmp_path)}
    arguments = ("-p", "a", "-n", "1") if command == "generate" else ("-p", "4", "-n", "0", "-r", "1")
    done = lumen(command, tiny, *arguments, "--no-pack-cache", env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["kernels", "objects", "tokenizers"]
    assert lumen(command, tiny, *arguments, env=environment).returncode == 0
    assert len(os.listdir(tmp_path / "packed")) == 1


def test_tune(lumen, refused, tiny, monkeypatch):
    monkeypatch.setattr(tune, "_TILE_TOKENS", (2,))
    monkeypatch.setattr(tune, "_BLOCK_BYTES", (1 << 20,))
    done = lumen("tune", tiny, "--rounds", "1", "--chunk", "32")
    assert done.returncode == 0, done.stderr
    header, _, *rows = done.stdout.splitlines()
    assert header.split("|")[1].strip() == "products in" and len(rows) == 3
    best = rows[0].split("|")[1].strip()
    assert done.stderr == f"lumen: from now on: {best}\n"
    assert refused("tune", tiny, "--rounds", "0").startswith("--rounds is 0")
