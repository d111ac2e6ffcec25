# SPDX-License-Identifier: Apache-2.0
"""``lumen chat``."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.generate import write
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import read_text, text_of
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation

_HELP = "/clear forgets the conversation, /exit ends it; Ctrl-C stops an answer"


@click.command(short_help="Talk with a model.")
@shared.model_argument
@shared.prompt_option
@shared.file_option
@click.option("-s", "--system", metavar="TEXT", help="How the model should behave.")
@click.option(
    "-n", "--max-tokens", type=int, default=-1, show_default=True, help="Most tokens of an answer (-1: any)."
)
@click.option(
    "--think/--no-think",
    "enable_thinking",
    default=None,
    help="Let the model think before it answers, or not.  [default: as its template has it]",
)
@click.option("--tools", metavar="FILE", help="A JSON list of the functions that the model may call.")
@click.option(
    "--template-var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Anything else that the model's template understands, such as reasoning_effort=low.",
)
@click.option(
    "--special/--no-special",
    default=True,
    show_default=True,
    help="Print control tokens in answers, which mark reasoning and calls.",
)
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    system: str | None,
    max_tokens: int,
    enable_thinking: bool | None,
    tools: str | None,
    variables: tuple[str, ...],
    special: bool,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Talk with MODEL, a GGUF file or a Hugging Face folder, which has to have a chat template.

    On a terminal each line is a message; /clear forgets the conversation, /exit ends it. A text that is
    piped in, or given by -p or -f, is one message.

    \b
      lumen chat model.gguf -p "안녕하세요"              one question, one answer
      lumen chat qwen3.gguf --no-think                 answer at once
      lumen chat model.gguf --tools functions.json     calls are printed as the model writes them
    """
    asked = {
        "enable_thinking": enable_thinking,
        "tools": None if tools is None else _read_tools(tools),
        "variables": dict(map(_variable, variables)),
        "special": special,
    }
    sampling = shared.sampling_of(options)
    reporter = Reporter(quiet, verbose)
    if dry_run:
        report(model, reporter, options)
        return
    interactive = prompt is None and prompt_file is None and sys.stdin is not None and sys.stdin.isatty()
    message = None if interactive else text_of(prompt, prompt_file)
    llm = reporter.open(model, **options)
    _ = llm.chat_template  # a file without one is refused before anything is asked
    if message is not None and not message.strip():
        raise LumenError("there is no message: pass -p TEXT or -f FILE, or pipe a text in")
    reporter.sampling(llm, sampling)
    opening = [] if system is None else [{"role": "system", "content": system}]
    ask = partial(llm.chat, max_tokens=shared.token_limit(max_tokens), **asked, **sampling)
    if message is None:
        generation = _converse(ask, reporter, opening)
    else:
        generation = ask([*opening, {"role": "user", "content": message}])
        for piece in generation:
            write(piece)
        write("\n")
        _warn(generation, reporter)
    if generation is not None:
        reporter.summary(llm, generation)


def _converse(
    ask: Callable[..., Generation], reporter: Reporter, opening: list[dict[str, str]]
) -> Generation | None:
    """Answers line by line; the last answer."""
    reporter.say(_HELP)
    messages, generation = list(opening), None
    while (line := _read()) is not None:
        if not line.strip():
            continue
        if line.strip() in ("/exit", "/quit"):
            break
        if line.strip() == "/clear":
            messages = list(opening)
            continue
        question = {"role": "user", "content": line}
        try:
            generation = ask([*messages, question])
        except LumenError as error:
            reporter.say(f"error: {error} (/clear forgets the conversation)")
            continue
        messages += [question, {"role": "assistant", "content": _answer(generation)}]
        _warn(generation, reporter)
    return generation


def _warn(generation: Generation, reporter: Reporter) -> None:
    if generation.finish_reason == "context":
        reporter.say("warning: the context is full (-c makes it longer, /clear forgets the conversation)")


def _read_tools(path: str) -> list[dict[str, Any]]:
    try:
        tools = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise LumenError(f"{path}: is not JSON: line {error.lineno}: {error.msg}") from None
    if not isinstance(tools, list) or not tools:
        raise LumenError(f"{path}: a JSON list with at least one tool was expected")
    return tools


def _variable(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``: true, false, numbers, lists and objects as in JSON; anything else is text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise LumenError(f"--template-var is '{text}'; NAME=VALUE was expected")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _answer(generation: Generation) -> str:
    """Writes the answer as it comes; its text. Ctrl-C ends it."""
    pieces = []
    with contextlib.suppress(KeyboardInterrupt):
        for piece in generation:
            pieces.append(write(piece))
    write("\n")
    return "".join(pieces)


def _read() -> str | None:
    """The next line that is typed, None at the end."""
    import readline  # noqa: F401 - gives input() its line editing

    if not sys.stdout.isatty():
        click.echo("> ", err=True, nl=False)
    try:
        return input("> " if sys.stdout.isatty() else "")
    except EOFError:
        write("\n")
        return None
    except UnicodeDecodeError as error:
        raise LumenError(f"standard input: byte {error.start} of a line is not valid UTF-8") from None
