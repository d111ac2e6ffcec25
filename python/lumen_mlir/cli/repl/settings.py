# SPDX-License-Identifier: Apache-2.0
"""What ``/set`` changes: how answers are drawn and shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lumen_mlir.cli.text import unescaped
from lumen_mlir.errors import LumenError, did_you_mean, shown
from lumen_mlir.generate.generation import stop_strings
from lumen_mlir.generate.sampling import Sampler, Sampling
from lumen_mlir.support.arguments import flag, whole_number

_ON = ("on", "true", "yes", "1")
_OFF = ("off", "false", "no", "0")


@dataclass(frozen=True)
class Setting:
    """One setting.

    ``parse`` makes a value of text, ``check`` returns a value as it is kept; both raise ``LumenError``.
    ``request`` says whether ``LLM.chat`` takes it, by ``argument`` where that is another name.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    check: Callable[[Any], Any]
    default: Any = None
    argument: str | None = None
    request: bool = True

    @property
    def is_flag(self) -> bool:
        """Whether it is on or off."""
        return self.parse is _parse_flag


def _parse_number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text  # the check says what was expected


def _parse_flag(text: str) -> Any:
    word = text.lower()
    if word not in (*_ON, *_OFF):
        raise LumenError(f"on or off was expected, not {shown(text)}")
    return word in _ON


def _parse_stops(text: str) -> list[str]:
    try:
        return [unescaped(part) for part in shlex.split(text)]
    except ValueError as error:
        raise LumenError(f"{text}: {str(error).lower()}") from None


def _sampled(name: str) -> Callable[[Any], Any]:
    """The check of a parameter of ``Sampler``."""

    def check(value: Any) -> Any:
        return getattr(Sampler(**{name: value}), name)

    return check


def _seed(value: Any) -> int:
    return -1 if (seed := Sampler(seed=value).seed) is None else seed


def _flag(name: str) -> Callable[[Any], bool]:
    return lambda value: flag(name, value)


def _number(name: str, help: str) -> Setting:
    return Setting(name, help, _parse_number, _sampled(name))


SETTINGS = (
    _number("temperature", "0: always the likeliest token"),
    _number("top_k", "draw from the K likeliest tokens (0: all)"),
    _number("top_p", "… from the likeliest that have this share of the probability"),
    _number("min_p", "… from those at least this likely, relative to the likeliest"),
    _number("repeat_penalty", "makes the last 64 tokens less likely (1: does not)"),
    _number("typical_p", "draw from tokens about as likely as is expected of one (1: all)"),
    _number("presence_penalty", "makes tokens of the answer less likely (-2 to 2; 0: does not)"),
    _number("frequency_penalty", "… for each time that they are in the answer"),
    Setting("seed", "the same seed draws the same text (-1: any)", _parse_number, _seed),
    Setting(
        "max_tokens",
        "most tokens of an answer (-1: any)",
        _parse_number,
        lambda value: whole_number("max_tokens", value, least=-1),
        -1,
    ),
    Setting("stop", "texts that end an answer, in quotes where they have spaces", _parse_stops, stop_strings),
    Setting("ignore_eos", "go on where the model would end", _parse_flag, _flag("ignore_eos"), False),
    Setting("think", "let the model think first", _parse_flag, _flag("think"), argument="enable_thinking"),
    Setting("special", "show control tokens in answers", _parse_flag, _flag("special"), True),
    Setting("verbose", "show /stats after every answer", _parse_flag, _flag("verbose"), False, request=False),
    Setting("history", "keep what is typed", _parse_flag, _flag("history"), True, request=False),
)
NAMES = {setting.name: setting for setting in SETTINGS}

# As other programs call them.
_ALIASES = {
    "temp": "temperature",
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "predict": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "enable_thinking": "think",
}

# Words of ollama that are a setting and its value.
_WORDS = {
    "nothink": ("think", "off"),
    "quiet": ("verbose", "off"),
    "nohistory": ("history", "off"),
}

# What other programs can set, and why it is not a setting here.
_ELSEWHERE = {
    "num_ctx": "the context is fixed when a model is opened: lumen chat MODEL -c N",
    "ctx_size": "the context is fixed when a model is opened: lumen chat MODEL -c N",
    "num_thread": "threads are chosen when a model is opened: lumen chat MODEL -t N",
    "repeat_last_n": "the penalty always looks at the last 64 tokens",
    "wordwrap": "lines break where the terminal ends",
    "nowordwrap": "lines break where the terminal ends",
    "format": "answers have no forced form",
}


class Settings:
    """The values that were chosen; what is not among them is as the model or Lumen has it.

    Attributes:
      values: by the names of ``SETTINGS``.
    """

    def __init__(self, values: Mapping[str, Any] | None = None):
        self.values: dict[str, Any] = {
            name: NAMES[name].check(value)
            for name, value in (values or {}).items()
            if value != () and value != NAMES[name].default
        }

    def copy(self) -> Settings:
        """Others with the same values."""
        return Settings(self.values)

    def get(self, name: str) -> Any:
        """The value, or the default."""
        return self.values.get(name, NAMES[name].default)

    def change(self, text: str) -> str:
        """Does what stands behind ``/set``, such as ``temperature 0.5``; what holds now, in a line.

        Without a value, a flag is turned on and anything else only shown. Raises ``LumenError``.
        """
        name, value = split(text)
        setting = find(name)
        if name in _WORDS and not value:
            value = _WORDS[name][1]
        elif not value and setting.is_flag:
            value = "on"
        if value == "default":
            self.values.pop(setting.name, None)
        elif value:
            try:
                self.values[setting.name] = setting.check(setting.parse(value))
            except LumenError as error:
                message = str(error)
                prefix = "" if message.startswith(setting.name) else f"{setting.name}: "
                raise LumenError(prefix + message) from None
            if setting.name == "stop" and not self.values["stop"]:
                del self.values["stop"]
        return f"{setting.name} {self.shown(setting.name)}"

    def shown(self, name: str, sampling: Sampling | None = None) -> str:
        """The value in words; ``sampling`` has what holds for a model where nothing was set."""
        if name in self.values:
            return value_text(self.values[name])
        if sampling is not None and hasattr(sampling, name):
            whose = "the model's own" if name in sampling.from_model else "default"
            return f"{value_text(getattr(sampling, name))} ({whose})"
        default = NAMES[name].default
        return "default" if default is None else f"{value_text(default)} (default)"

    def request(self) -> dict[str, Any]:
        """The arguments of ``LLM.chat`` that were set."""
        given = {
            NAMES[name].argument or name: value for name, value in self.values.items() if NAMES[name].request
        }
        if "max_tokens" in given:
            given["max_tokens"] = None if given["max_tokens"] < 0 else given["max_tokens"]
        return given


def split(text: str) -> tuple[str, str]:
    """The name and the value of a line such as ``parameter top-k 40`` (the first word is ollama's)."""
    name, _, value = text.strip().partition(" ")
    if name in ("parameter", "parameters"):
        name, _, value = value.strip().partition(" ")
    return name.lower().replace("-", "_"), value.strip()


def find(name: str) -> Setting:
    """The setting of that name, or of another program's name for it. Raises ``LumenError``."""
    known = _WORDS[name][0] if name in _WORDS else _ALIASES.get(name, name)
    if known in NAMES:
        return NAMES[known]
    if name in _ELSEWHERE:
        raise LumenError(f"{name} cannot be set: {_ELSEWHERE[name]}")
    hint = did_you_mean(name, [*NAMES, *_ALIASES]) or f"; there are {', '.join(NAMES)}"
    raise LumenError(f"there is no setting {shown(name)}{hint}")


def value_text(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return " ".join(repr(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
