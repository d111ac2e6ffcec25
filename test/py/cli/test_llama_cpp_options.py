# SPDX-License-Identifier: Apache-2.0
"""Command lines as people have them for llama.cpp."""

from __future__ import annotations

import re

import click
import pytest

from lumen_mlir.cli.llama_cpp_options import SPELLINGS
from lumen_mlir.cli.options import (
    Command,
    engine_options,
    model_argument,
    sampling_options,
    verbosity_options,
)


@click.command(cls=Command)
@model_argument
@click.option("-p", "--prompt")
@click.option("-n", "--max-tokens", type=int)
@click.option("-sys", "--system")
@click.option("--special", is_flag=True)
@click.option("--think/--no-think", default=None)
@click.option("--template-var", multiple=True)
@click.option("--chat-template")
@sampling_options
@engine_options
@verbosity_options
def command(**options):
    """Gives back what it was given."""
    return {name: value for name, value in options.items() if value not in (None, False, ())}


def given(*arguments: str) -> dict:
    """The options that a command line gives, but for those that always are."""
    usual = command.main([], "generate", standalone_mode=False)
    options = command.main(list(arguments), "generate", standalone_mode=False)
    return {name: value for name, value in options.items() if usual.get(name) != value}


@pytest.mark.parametrize(
    ("arguments", "meaning"),
    [
        ("-m a.gguf", {"model": "a.gguf"}),
        ("--model=a.gguf", {"model": "a.gguf"}),
        ("-hf user/repo:Q8_0", {"model": "hf:user/repo:Q8_0"}),
        ("a.gguf -s 42", {"model": "a.gguf", "seed": 42}),
        ("-s42", {"seed": 42}),
        ("--ctx-size 4096", {"context": 4096}),
        ("--ctx-size=4096", {"context": 4096}),
        ("--n-predict -1", {"max_tokens": -1}),
        ("--predict 5 -n 6", {"max_tokens": 6}),
        ("--temperature 0.5", {"temperature": 0.5}),
        ("-r User: -r Bot:", {"stop": ("User:", "Bot:")}),
        ("--reverse-prompt -ngl", {"stop": ("-ngl",)}),
        ("-p -ngl", {"prompt": "-ngl"}),
        ("--system-prompt hi", {"system": "hi"}),
        ("-sp", {"special": True}),
        ("-ctk q8_0 -ctv q8_0", {"kv_type": "q8_0"}),
        ("--cache-type-k f16", {}),
        ("-b 64", {"chunk": 64}),
        ("-b 2048 -ub 256", {"chunk": 256}),
        ("--ubatch-size 1024 --batch-size=128", {"chunk": 128}),
        ("--reasoning-budget 0", {}),
        ("--reasoning-budget -1", {}),
        ("--chat-template-file t.jinja", {"chat_template": "t.jinja"}),
        ("-no-cnv --jinja --no-display-prompt", {}),
        ("--mirostat 0 --repeat-last-n 64", {}),
        ("--typical 0.9 --presence-penalty 1", {"typical_p": 0.9, "presence_penalty": 1.0}),
        ("-l 15043+1 -l 7=-2.5 --logit-bias 8-100", {"logit_bias": {15043: 1.0, 7: -2.5, 8: -100.0}}),
        ("-dev CUDA1 -ngl 99", {"device": "cuda:1", "gpu_layers": "99"}),
        ("--n-gpu-layers=all --device cuda", {"device": "cuda", "gpu_layers": "all"}),
        ("--device none", {"device": "cpu"}),
        ("--device=Vulkan0", {"device": "vulkan:0"}),
        ("-- -ngl", {"model": "-ngl"}),
    ],
)
def test_meaning(arguments, meaning, capsys):
    assert given(*arguments.split()) == meaning
    assert capsys.readouterr().err == ""


def test_thinking_and_variables():
    context = command.make_context("generate", ["--reasoning-budget", "0"])
    assert context.params["think"] is False
    fields = '{"effort": "low", "n": 3, "deep": {"a": [1]}}'
    assert given("--chat-template-kwargs", fields) == {
        "template_var": ('effort="low"', "n=3", 'deep={"a": [1]}')
    }


def test_a_system_text_from_a_file(tmp_path):
    path = tmp_path / "system.txt"
    path.write_text("Be kind.\n\n")
    assert given("-sysf", str(path)) == {"system": "Be kind."}


@pytest.mark.parametrize(
    ("arguments", "model", "said"),
    [
        ("-sm none -mg=0 a", "a", "-sm, -mg (--device says what a model runs on, which is one"),
        ("-ncmoe 3 a.gguf", "a.gguf", "-ncmoe (--gpu-layers says how many layers are on a GPU)"),
        ("-fa a.gguf", "a.gguf", "-fa (attention is always fused)"),
        ("-fa on a.gguf", "a.gguf", "-fa (attention"),
        ("--flash-attn=auto a.gguf", "a.gguf", "--flash-attn (attention"),
        ("a.gguf -fa", "a.gguf", "-fa (attention"),
        ("--color a.gguf --no-mmap", "a.gguf", "--color (NO_COLOR turns colours off); --no-mmap (weights"),
        ("-tb 4 a", "a", "-tb (-t is the number of threads"),
    ],
)
def test_without_effect(arguments, model, said, capsys):
    assert given(*arguments.split()) == {"model": model}
    err = capsys.readouterr().err
    assert err.startswith("lumen: warning: no effect here: ") and said in err and err.count("\n") == 1
    given(*arguments.split(), "-q")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a -m b", "there are two models: a and -m b"),
        ("-ctk q8_0", "-ctk is 'q8_0' and -ctv 'f16'; keys and values have one type: --kv-type q8_0"),
        ("-ctk q8_0 -ctv f32", "-ctk is 'q8_0' and -ctv 'f32'; "),
        ("--mirostat 2", "--mirostat is llama.cpp's: it has no place among Lumen's ways to draw tokens"),
        ("-cnv", "-cnv is llama.cpp's: 'lumen chat' talks with a model"),
        ("--context-shift", "--context-shift is llama.cpp's: a full context ends the text"),
        ("--reasoning-budget 100", "--reasoning-budget is '100'; 0 (none) or -1 (any) was expected"),
        ("--chat-template-kwargs [1]", "--chat-template-kwargs is '[1]'; an object of JSON was expected"),
        ("-b x", "Invalid value for '--chunk': 'x' is not a valid integer."),
        ("-ncmoe", "option '-ncmoe' requires an argument"),
        ("-ngl", "Option '-ngl' requires an argument."),
        ("--n-predict", "option '--n-predict' requires an argument"),
        ("--no-such-option", "No such option"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(click.UsageError) as refusal:
        given(*arguments.split())
    assert message in refusal.value.format_message()


def test_on_the_command_line(lumen, refused):
    usual = lumen("generate", "-p", "배우들의", "-n", "8", "--temp", "0")
    done = lumen("generate", "-ngl", "99", "-p", "배우들의", "--n-predict=8", "--temp", "0", "-s", "1")
    assert done.stdout == usual.stdout
    assert done.stderr.startswith("lumen: warning: no effect here: --gpu-layers (the model runs on the")
    assert refused("chat", "-no-cnv", code=2) == (
        "-no-cnv is llama.cpp's: 'lumen generate' continues a text (see 'lumen chat --help')"
    )
    assert refused("bench", "-pg", "1,2", code=2).startswith("-pg is llama.cpp's: -p and -n with -d")


def test_escapes(lumen, tmp_path):
    echo = ("generate", "--echo", "-n", "0")
    assert lumen(*echo, "-e", "-p", r"a\nb\t\"\\c\d").stdout == 'a\nb\t"\\c\\d\n'
    assert lumen(*echo, "-p", r"a\nb").stdout == "a\\nb\n"


def test_perplexity_takes_the_files_by_options(lumen, refused, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("이 영화 정말 재미있어요. " * 40, encoding="utf-8")
    words = ("perplexity", "-c", "64", "--chunks", "1", "-q", "--json")
    positional, named = lumen(*words, text), lumen(*words, "-f", text, "-ngl", "0")
    assert positional.returncode == named.returncode == 0
    number = r'"(?:value|perplexity|mean)[^,]*'
    assert re.findall(number, positional.stdout) == re.findall(number, named.stdout) != []
    assert refused("perplexity", "a", "b", "-f", text, code=2).startswith("a model and a text were expected")
    assert refused("perplexity", "-m", "a", code=2).startswith("a text is missing")
    none = tmp_path / "none.gguf"
    assert refused("perplexity", "-m", none, "-f", text).startswith(f"{none}: cannot be opened")


def test_each_spelling_is_there_once():
    """… for each subcommand that it is for."""
    for name in ("generate", "chat", "bench"):
        names = [each for spelling in SPELLINGS if not spelling.commands or name in spelling.commands
                 for each in spelling.names]  # fmt: skip
        assert len(names) == len(set(names))
