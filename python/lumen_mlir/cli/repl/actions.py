# SPDX-License-Identifier: Apache-2.0
"""The commands of a chat: what begins with a slash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lumen_mlir.cli.repl.marks import rendered
from lumen_mlir.cli.repl.settings import NAMES, SETTINGS, value_text
from lumen_mlir.cli.repl.settings import split as split_setting
from lumen_mlir.cli.table import columns
from lumen_mlir.errors import LumenError, did_you_mean, shown

if TYPE_CHECKING:
    from lumen_mlir.cli.repl.talk import Chat

_TOPICS = ("info", "parameters", "system", "template", "messages")


@dataclass(frozen=True)
class Action:
    """A command.

    Attributes:
      arguments: what stands behind its name, for people.
      help: what it does, in a few words.
      run: does it with what stands behind its name. Raises ``LumenError``.
      words: what may stand there.
      takes_path: whether it is the path of a file.
    """

    name: str
    arguments: str
    help: str
    run: Callable[[Chat, str], None]
    words: Callable[[], Iterable[str]] = tuple
    takes_path: bool = False

    @property
    def usage(self) -> str:
        """The name and its arguments."""
        return f"{self.name} {self.arguments}".rstrip()


ACTIONS: dict[str, Action] = {}

# Other names, and what stands behind them.
_ALIASES = {
    "/?": "/help",
    "/commands": "/help",
    "/exit": "/bye",
    "/quit": "/bye",
    "/q": "/bye",
    "/regenerate": "/regen",
    "/retry": "/regen",
    "/reset": "/clear",
    "/nothink": "/think off",
    "/no_think": "/think off",
}


def _action(
    name: str,
    arguments: str,
    help: str,
    words: Callable[[], Iterable[str]] = tuple,
    takes_path: bool = False,
) -> Callable[[Callable[[Chat, str], None]], Callable[[Chat, str], None]]:
    def register(run: Callable[[Chat, str], None]) -> Callable[[Chat, str], None]:
        ACTIONS[name] = Action(name, arguments, help, run, words, takes_path)
        return run

    return register


def find_name(name: str) -> str:
    """The name of a command that has several."""
    return _ALIASES.get(name, name).partition(" ")[0]


def perform(chat: Chat, line: str) -> None:
    """Does what a line that begins with a slash says. Raises ``LumenError``."""
    word, _, argument = line.strip().partition(" ")
    word, _, given = _ALIASES.get(word.lower(), word.lower()).partition(" ")
    if word not in ACTIONS:
        known = [*ACTIONS, *_ALIASES]
        raise LumenError(
            f"there is no command {shown(word)}{did_you_mean(word, known)} "
            "(/help lists them; a message that begins with a slash is written with two)"
        )
    ACTIONS[word].run(chat, given or argument.strip())


@_action("/help", "", "list the commands")
def _help(chat: Chat, argument: str) -> None:
    chat.show(columns([(action.usage, action.help) for action in ACTIONS.values()]))
    chat.show(
        '\nAlt-Enter, or \\ at the end of a line, begins another; """ begins and ends many.\n'
        "Ctrl-C stops an answer, Ctrl-D ends the chat, and // sends what begins with /."
    )


@_action("/bye", "", "end the chat (also /exit, /quit, Ctrl-D)")
def _bye(chat: Chat, argument: str) -> None:
    chat.ended = True


@_action("/clear", "", "forget the conversation; the system text stays")
def _clear(chat: Chat, argument: str) -> None:
    chat.conversation.clear()
    chat.attached.clear()
    chat.last = None
    chat.note("the conversation begins anew")


@_action("/regen", "", "get another answer to the last question")
def _regen(chat: Chat, argument: str) -> None:
    temperature = chat.settings.get("temperature")
    if temperature is None and chat.model.sampling is not None:
        temperature = chat.model.sampling.temperature
    if temperature == 0:
        chat.note("the temperature is 0: the answer is the same unless a setting changed")
    chat.ask_again()


@_action("/edit", "", "change the last question and ask it again")
def _edit(chat: Chat, argument: str) -> None:
    question = chat.conversation.question
    if question is None:
        raise LumenError("nothing was asked yet")
    changed = chat.reader.edit(question)
    if changed is None or not changed.strip():
        chat.note("the question stays as it is")
        return
    chat.ask_instead(changed)


@_action("/undo", "[N]", "take the last turn back, or the last N")
def _undo(chat: Chat, argument: str) -> None:
    count = int(argument) if argument.isdecimal() and len(argument) < 10 else 0 if argument else 1
    if count < 1:
        raise LumenError(f"/undo takes a whole number of at least 1, not {shown(argument)}")
    done = chat.conversation.undo(count)
    if not done:
        raise LumenError("there is nothing to take back")
    left = chat.conversation.turns
    chat.note(f"took {_turns(done)} back; {_turns(left) if left else 'none'} left")


@_action("/system", "[TEXT]", 'show how the model should behave, or say it ("": nothing)')
def _system(chat: Chat, argument: str) -> None:
    if not argument:
        chat.show(chat.conversation.system or "there is no system text")
        return
    chat.conversation.system = None if argument in ('""', "''") else argument
    chat.note("the system text holds from the next answer on")


def _names_of_settings() -> list[str]:
    return [*NAMES, "system"]


@_action("/set", "[NAME [VALUE]]", "show or change a setting (VALUE default: undo that)", _names_of_settings)
def _set(chat: Chat, argument: str) -> None:
    name, value = split_setting(argument)
    if not name:
        _show_parameters(chat)
        chat.show("\n" + columns([(setting.name, setting.help) for setting in SETTINGS]))
    elif name == "system":
        _system(chat, value)
    else:
        if name in ("think", "nothink", "enable_thinking"):
            _check_thinking(chat)
        chat.show(chat.settings.change(argument))


@_action(
    "/think", "[on|off]", "let the model think before it answers, or not", lambda: ("on", "off", "default")
)
def _think(chat: Chat, argument: str) -> None:
    _check_thinking(chat)
    chat.show(chat.settings.change(f"think {argument}"))


def _check_thinking(chat: Chat) -> None:
    if chat.model.can_switch_thinking is False:
        raise LumenError("the chat template of this model has no switch for thinking")


@_action("/show", "[WHAT]", f"show {', '.join(_TOPICS)}", lambda: _TOPICS)
def _show(chat: Chat, argument: str) -> None:
    topic = argument.lower() or "info"
    shows = {
        "info": _show_info,
        "parameters": _show_parameters,
        "system": lambda chat: _system(chat, ""),
        "template": lambda chat: chat.show(chat.model.template),
        "messages": _show_messages,
    }
    if topic not in shows:
        hint = did_you_mean(topic, _TOPICS) or f"; there are {', '.join(_TOPICS)}"
        raise LumenError(f"/show knows no {shown(argument)}{hint}")
    shows[topic](chat)


def _show_info(chat: Chat) -> None:
    chat.show(columns(chat.model.info()))


def _show_parameters(chat: Chat) -> None:
    sampling = chat.model.sampling
    chat.show(columns([(name, chat.settings.shown(name, sampling)) for name in NAMES]))


def _show_messages(chat: Chat) -> None:
    messages = chat.conversation.request()
    chat.show("\n".join(f"{each['role']}: {rendered(each)}" for each in messages) or "nothing was said")


@_action("/stats", "", "show how fast answers are, and what is left of the context")
def _stats(chat: Chat, argument: str) -> None:
    chat.show(chat.rates())
    memory = chat.model.memory()
    taken = "" if memory is None else f", peak memory {memory / 1e6:,.0f} MB"
    chat.show(f"{_turns(chat.conversation.turns)}{taken}")


@_action("/save", "FILE", "write the conversation and the settings", takes_path=True)
def _save(chat: Chat, argument: str) -> None:
    from lumen_mlir.cli.repl.saved import Saved, save

    path = _path("/save", argument)
    save(path, Saved(chat.conversation, chat.settings, chat.model.name))
    chat.note(f"wrote {_turns(chat.conversation.turns)} to {path}")


@_action("/load", "FILE", "go on with a conversation that was saved", takes_path=True)
def _load(chat: Chat, argument: str) -> None:
    from lumen_mlir.cli.repl.saved import load

    path = _path("/load", argument)
    saved = load(path)
    chat.conversation, chat.settings = saved.conversation, saved.settings
    chat.attached.clear()
    chat.last = None
    chat.note(f"read {_turns(chat.conversation.turns)} from {path}")
    if saved.model is not None and saved.model != chat.model.name:
        chat.note(f"they were held with {saved.model} (/model MODEL goes on with another model)")


@_action("/read", "FILE", "add a text file to the next message", takes_path=True)
def _read(chat: Chat, argument: str) -> None:
    from lumen_mlir.cli.text import read_text

    path = _path("/read", argument)
    text = read_text(path).strip()
    if not text:
        raise LumenError(f"{path}: has no text")
    chat.attach(path, text)


@_action("/model", "[MODEL]", "show the model, or go on with another one", takes_path=True)
def _model(chat: Chat, argument: str) -> None:
    names = chat.model.names
    if not argument:
        chat.show(chat.model.name)
        others = [name for name in names if name != chat.model.name]
        if others:
            chat.show(f"there are also {', '.join(others)}")
        return
    # (A server's models are no files.)
    chat.change_model(argument if names else _path("/model", argument))
    chat.note(f"the model is {chat.model.name} now")


def _path(name: str, argument: str) -> str:
    """A path as people write it: in quotes where they like, with ``~``. Never stdin, which is typed at."""
    if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "'\"":
        argument = argument[1:-1]
    if not argument or argument == "-" or "\0" in argument:
        raise LumenError(f"{name} needs the path of a file: {ACTIONS[name].usage}")
    return os.path.expanduser(argument)


def _turns(count: int) -> str:
    return f"{value_text(count)} turn{'' if count == 1 else 's'}"
