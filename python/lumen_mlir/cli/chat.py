# SPDX-License-Identifier: Apache-2.0
"""``lumen chat``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.grammar_options import grammar_of, grammar_options
from lumen_mlir.cli.remote.options import client_of, server_options
from lumen_mlir.cli.repl.display import AnswerWriter
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import read_text, text_of, unescaped
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.cli.remote.client import Client
    from lumen_mlir.cli.repl.model import Model, Opener


@click.command(cls=shared.Command, short_help="Talk with a model.")
@shared.model_argument
@shared.prompt_option
@shared.file_option
@shared.escape_option
@click.option("-sys", "--system", metavar="TEXT", help="How the model should behave.")
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
    "--chat-template",
    metavar="NAME|FILE",
    help="Instead of the file's own: chatml, llama3, gemma, plain, …, or a file with one.",
)
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
@click.option("-st", "--single-turn", is_flag=True, help="On a terminal: end after one answer.")
@server_options
@grammar_options
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    escape: bool,
    system: str | None,
    max_tokens: int,
    enable_thinking: bool | None,
    tools: str | None,
    chat_template: str | None,
    variables: tuple[str, ...],
    special: bool,
    single_turn: bool,
    server: str | None,
    api_key: str | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Talk with MODEL, a GGUF file or a Hugging Face folder.

    On a terminal it is a conversation; /help lists its commands. A text that is piped in, or given by -p
    or -f, is one message, and its answer goes to stdout. llama.cpp's names of options are taken, too.

    \b
      lumen chat model.gguf                            Ctrl-C stops an answer, /bye ends the chat
      lumen chat model.gguf -p "안녕하세요"              one question, one answer
      lumen chat qwen3.gguf --no-think                 answer at once
      lumen chat base.gguf --chat-template plain       a file without a chat template
      lumen chat model.gguf --tools functions.json     calls are printed as the model writes them
      lumen chat --server http://127.0.0.1:8080        a model that 'lumen serve' runs
    """
    client = client_of(server, api_key, also=("chat_template",))
    fixed = {
        "tools": None if tools is None else _read_tools(tools),
        "variables": dict(map(_variable, variables)),
    }
    asked = {"enable_thinking": enable_thinking, "special": special}
    sampling, grammar = shared.sampling_of(options), grammar_of(options)
    fixed |= {name: sampling.pop(name) for name in ("logit_bias", "speculate")}
    if grammar is not None:
        fixed["grammar"] = grammar
    template = None if chat_template is None else _template(chat_template)
    reporter = Reporter(quiet, verbose)
    if dry_run:
        report(model, reporter, options)
        return
    interactive = prompt is None and prompt_file is None and sys.stdin is not None and sys.stdin.isatty()
    message = None if interactive else text_of(prompt, prompt_file)
    if message is not None and escape:
        message = unescaped(message)
    opener = _opener(client, reporter, template, options)
    opened = opener.first(model)
    if message is not None and not message.strip():
        raise LumenError("there is no message: pass -p TEXT or -f FILE, or pipe a text in")
    opened.prepare(reporter, sampling, fixed)  # what is wrong is refused before anything is asked
    if message is None:
        settings = {
            **sampling,
            "max_tokens": max(max_tokens, -1),
            "think": enable_thinking,
            "special": special,
        }
        _converse(opened, opener, reporter, settings, system, fixed, single_turn)
        return
    opening = [] if system is None else [{"role": "system", "content": system}]
    messages = [*opening, {"role": "user", "content": message}]
    limit = shared.token_limit(max_tokens)
    _answer(opened, messages, {"max_tokens": limit, **fixed, **asked, **sampling}, reporter)


def _opener(
    client: Client | None, reporter: Reporter, template: str | None, options: dict[str, Any]
) -> Opener:
    # Imported here because each needs what the other does not.
    if client is None:
        from lumen_mlir.cli.chat_models import LocalOpener

        return LocalOpener(reporter, template, options)
    from lumen_mlir.cli.remote.model import RemoteOpener

    return RemoteOpener(client)


def _answer(
    model: Model, messages: list[dict[str, Any]], parameters: dict[str, Any], reporter: Reporter
) -> None:
    """Writes the answer to a single message."""
    answer = model.chat(messages, **parameters)
    writer = AnswerWriter(answer)
    try:
        for piece in answer:
            writer.write(piece)
    except LumenError:
        writer.close()  # what came stays, in lines of its own
        raise
    finally:
        answer.close()
    writer.close()
    if answer.finish_reason == "context":
        reporter.say(f"warning: the context is full ({model.longer})")
    model.summarize(reporter, answer)


def _converse(
    model: Model,
    opener: Opener,
    reporter: Reporter,
    settings: dict[str, Any],
    system: str | None,
    fixed: dict[str, Any],
    single_turn: bool,
) -> None:
    from lumen_mlir.cli.repl.session import converse, open_reader
    from lumen_mlir.cli.repl.settings import Settings
    from lumen_mlir.cli.repl.talk import Chat

    chat = Chat(
        model,
        reporter,
        open_reader(lambda: chat.settings.get("history")),
        opener.another,
        system=system,
        settings=Settings(settings),
        fixed=fixed,
    )
    converse(chat, single_turn)
    if chat.last is not None:
        chat.model.summarize(reporter, chat.last)


def _template(name: str) -> str:
    """The text of a file, or the name of a template that comes with Lumen."""
    return read_text(name) if os.path.isfile(name) else name


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
