# SPDX-License-Identifier: Apache-2.0
"""``lumen chat``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.grammar_options import grammar_of, grammar_options
from lumen_mlir.cli.repl.display import AnswerWriter
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.table import columns
from lumen_mlir.cli.text import read_text, text_of, unescaped
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.generate.llm import LLM


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
    """
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
    opener = _Opener(reporter, template, options)
    llm = opener.first(model)
    if message is not None and not message.strip():
        raise LumenError("there is no message: pass -p TEXT or -f FILE, or pipe a text in")
    if grammar is not None:
        llm.compile_grammar(grammar)  # a wrong one is refused before anything is asked
    reporter.sampling(llm, sampling)
    if message is None:
        settings = {
            **sampling,
            "max_tokens": max(max_tokens, -1),
            "think": enable_thinking,
            "special": special,
        }
        _converse(llm, opener, settings, system, fixed, single_turn)
        return
    opening = [] if system is None else [{"role": "system", "content": system}]
    messages = [*opening, {"role": "user", "content": message}]
    generation = llm.chat(messages, shared.token_limit(max_tokens), **fixed, **asked, **sampling)
    writer = AnswerWriter(llm, generation)
    for piece in generation:
        writer.write(piece)
    writer.close()
    if generation.finish_reason == "context":
        reporter.say("warning: the context is full (-c makes it longer)")
    reporter.summary(llm, generation)


@dataclass(frozen=True)
class _Opener:
    """Opens models with the options of the command line; ``template`` is what ``--chat-template`` gave."""

    reporter: Reporter
    template: str | None
    options: dict[str, Any]

    def first(self, model: str | None) -> LLM:
        """The model that the command line names. Raises ``LumenError`` where it has no chat template."""
        llm = self.reporter.open(model, chat_template=self.template, **self.options)
        if self.template is None and not _has_template(llm):
            raise _no_template(llm, model)
        _ = llm.chat_template  # one that is broken is refused before anything is asked
        return llm

    def another(self, path: str) -> LLM:
        """One that is opened during a conversation. Its own template goes first."""
        # A draft is for one model, and what a folder is quantized to means nothing for a file.
        options = {**self.options, "draft": None}
        if not os.path.isdir(path):
            options["format"] = None
        llm = self.reporter.open(path, **options)
        try:
            if not _has_template(llm):
                if self.template is None:
                    raise _no_template(llm, path)
                from lumen_mlir.text.chat import ChatTemplate

                llm.chat_template = ChatTemplate.given(self.template, llm.tokenizer)
            _ = llm.chat_template
        except BaseException:
            llm.close()
            raise
        return llm


def _has_template(llm: LLM) -> bool:
    from lumen_mlir.text.chat import KEY

    return KEY in llm.model.file.metadata


def _no_template(llm: LLM, model: str | None) -> LumenError:
    """Why a model cannot chat, and what to do instead."""
    from lumen_mlir.text.chat import ChatError

    commands = []
    if model is None:
        name = ""
        error = ChatError(
            "the model that comes with Lumen continues film reviews; it has not learned to talk"
        )
        commands.append(("lumen chat MODEL.gguf", "talk with a model of yours"))
    else:
        name = f" {model}"
        error = ChatError(
            f"{llm.model.file.path}: the model has no chat template; it may only continue texts"
        )
    commands += [
        (f"lumen generate{name} -p TEXT", "continue a text"),
        (f"lumen chat{name} --chat-template plain", "try it all the same (or chatml, llama3, gemma, …)"),
    ]
    error.hints = tuple(columns(commands).splitlines())
    return error


def _converse(
    llm: LLM,
    opener: _Opener,
    settings: dict[str, Any],
    system: str | None,
    fixed: dict[str, Any],
    single_turn: bool,
) -> None:
    from lumen_mlir.cli.repl.session import converse, open_reader
    from lumen_mlir.cli.repl.settings import Settings
    from lumen_mlir.cli.repl.talk import Chat

    chat = Chat(
        llm,
        opener.reporter,
        open_reader(lambda: chat.settings.get("history")),
        opener.another,
        system=system,
        settings=Settings(settings),
        fixed=fixed,
    )
    converse(chat, single_turn)
    if chat.last is not None:
        opener.reporter.summary(chat.llm, chat.last)


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
