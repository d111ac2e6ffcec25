# SPDX-License-Identifier: Apache-2.0
"""``lumen chat``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.generate import write
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import read_text
from lumen_mlir.errors import LumenError

_HELP = "/clear forgets the conversation, /exit ends it; Ctrl-C stops an answer"


@click.command(short_help="Talk with a model.")
@shared.model_argument
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
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    model: str | None,
    system: str | None,
    max_tokens: int,
    enable_thinking: bool | None,
    tools: str | None,
    variables: tuple[str, ...],
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Talk with MODEL, a GGUF file or a Hugging Face folder, which has to have a chat template.

    Each line of stdin is a message. /clear forgets the conversation, /exit ends it.

    \b
      lumen chat qwen3.gguf --no-think                 answer at once
      lumen chat model.gguf --tools functions.json     calls are printed as the model writes them
    """
    asked = {
        "enable_thinking": enable_thinking,
        "tools": None if tools is None else _read_tools(tools),
        "variables": dict(map(_variable, variables)),
    }
    sampling = shared.sampling_of(options)
    reporter = Reporter(quiet, verbose)
    if dry_run:
        report(model, reporter, options)
        return
    llm = reporter.open(model, **options)
    _ = llm.chat_template  # a file without one is refused before anything is asked
    interactive = sys.stdin.isatty()
    if interactive:
        reporter.say(_HELP)
    opening = [] if system is None else [{"role": "system", "content": system}]
    messages, generation = list(opening), None
    while (line := _read(interactive)) is not None:
        if not line.strip():
            continue
        if line.strip() in ("/exit", "/quit"):
            break
        if line.strip() == "/clear":
            messages = list(opening)
            continue
        question = {"role": "user", "content": line}
        try:
            generation = llm.chat([*messages, question], shared.token_limit(max_tokens), **asked, **sampling)
        except LumenError as error:
            if not interactive:
                raise
            reporter.say(f"error: {error} (/clear forgets the conversation)")
            continue
        answer = _answer(generation, interactive)
        messages += [question, {"role": "assistant", "content": answer}]
        if generation.finish_reason == "context":
            reporter.say(f"warning: the context of {llm.context} tokens is full (/clear empties it)")
    if generation is not None:
        reporter.summary(llm, generation)


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


def _answer(generation: Any, interactive: bool) -> str:
    """Writes the answer as it comes; its text."""
    pieces = []
    try:
        for piece in generation:
            pieces.append(write(piece))
    except KeyboardInterrupt:
        if not interactive:
            raise
    write("\n")
    return "".join(pieces)


def _read(interactive: bool) -> str | None:
    """The next line of stdin, None at its end."""
    if interactive:
        import readline  # noqa: F401 - gives input() its line editing

        if not sys.stdout.isatty():
            click.echo("> ", err=True, nl=False)
        try:
            return input("> " if sys.stdout.isatty() else "")
        except EOFError:
            write("\n")
            return None
    line = sys.stdin.buffer.readline()
    try:
        return line.decode("utf-8").rstrip("\r\n") if line else None
    except UnicodeDecodeError as error:
        raise LumenError(f"standard input: byte {error.start} of a line is not valid UTF-8") from None
