# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's spellings of options: what each means here, in one table.

An option that only says where or how quickly to compute has no effect, and one line says so. One that would
change the text is refused.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import click

from lumen_mlir.errors import shown

# Where an option may stand alone or with one of these behind it.
_SWITCHES = ("on", "off", "auto", "0", "1", "true", "false", "enabled", "disabled")


class Kind(enum.Enum):
    """What becomes of a spelling."""

    TAKEN = "means"
    DEFAULT = "is so anyway"
    WITHOUT_EFFECT = "has no effect"
    REFUSED = "refused"


@dataclass(frozen=True)
class Spelling:
    """An option of llama.cpp's, or several of which the same is to be said.

    Attributes:
      names: how it is written.
      kind: what becomes of it.
      note: why, or what to do instead.
      option: the option that it means here; only subcommands that have it take the spelling.
      value: whether a value follows; None where a word such as ``on`` may.
      off: values that leave the text as it is, for what is refused otherwise.
      commands: the subcommands that it is for; all where empty.
      arguments: what is put in its place, given the value. Without it that is ``option``.
    """

    names: tuple[str, ...]
    kind: Kind
    note: str = ""
    option: str = ""
    value: bool | None = True
    off: tuple[float, ...] = ()
    commands: tuple[str, ...] = ()
    arguments: Callable[[str], list[str]] | None = None


def _same(option: str, *names: str, value: bool = True) -> Spelling:
    return Spelling(names, Kind.TAKEN, option=option, value=value)


def _means(option: str, note: str, arguments: Callable[[str], list[str]], *names: str) -> Spelling:
    return Spelling(names, Kind.TAKEN, note, option, arguments=arguments)


def _default(note: str, *names: str, commands: tuple[str, ...] = ()) -> Spelling:
    return Spelling(names, Kind.DEFAULT, note, value=False, commands=commands)


def _unused(note: str, *names: str, value: bool | None = True) -> Spelling:
    return Spelling(names, Kind.WITHOUT_EFFECT, note, value=value)


def _refused(
    note: str,
    *names: str,
    value: bool | None = True,
    off: tuple[float, ...] = (),
    commands: tuple[str, ...] = (),
) -> Spelling:
    return Spelling(names, Kind.REFUSED, note, value=value, off=off, commands=commands)


def _hub_model(value: str) -> list[str]:
    return ["--model", value if value.startswith("hf:") else f"hf:{value}"]


def _system_file(value: str) -> list[str]:
    from lumen_mlir.cli.text import read_text

    return ["--system", read_text(value).rstrip("\n")]


def _template_variables(value: str) -> list[str]:
    try:
        fields = json.loads(value)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise click.UsageError(f"--chat-template-kwargs is {shown(value)}; an object of JSON was expected")
    return [f"--template-var={name}={json.dumps(field)}" for name, field in fields.items()]


def _reasoning_budget(value: str) -> list[str]:
    if value not in ("0", "-1"):
        raise click.UsageError(f"--reasoning-budget is {shown(value)}; 0 (none) or -1 (any) was expected")
    return ["--no-think"] if value == "0" else []


# Of which several may be given, and one option follows from all.
_CACHE_TYPES = {"-ctk": "K", "--cache-type-k": "K", "-ctv": "V", "--cache-type-v": "V"}
_BATCHES = ("-b", "--batch-size", "-ub", "--ubatch-size")

_DEVICE = "--device says what a model runs on, which is one device"
_LAYERS = "--gpu-layers says how many layers are on a GPU"
_MAPPED = "weights are packed once and mapped"
_THREADS = "-t is the number of threads for all work"
_DRAWN = "it has no place among Lumen's ways to draw tokens"

SPELLINGS = (
    _same("--context", "--ctx-size"),
    _same("--max-tokens", "--predict", "--n-predict"),
    _same("--temp", "--temperature"),
    _same("--typical-p", "--typical"),
    _same("--logit-bias", "-l"),
    _same("--stop", "-r", "--reverse-prompt"),
    _same("--system", "--system-prompt"),
    _same("--chat-template", "--chat-template-file"),
    _same("--grammar", "--grammar-file"),
    _same("--json-schema", "-j", "-jf", "--json-schema-file"),
    _same("--special", "-sp", value=False),
    _same("--draft", "-md", "--model-draft"),
    _means("--chunk", "the smaller of -b and -ub", lambda value: [], *_BATCHES),
    _means("--kv-type", "one type for keys and values, so both must agree", lambda value: [], *_CACHE_TYPES),
    _means("--model", "MODEL as hf:USER/REPO", _hub_model, "-hf", "-hfr", "--hf-repo"),
    _means("--system", "the text of a file", _system_file, "-sysf", "--system-prompt-file"),
    _means("--template-var", "one for each field", _template_variables, "--chat-template-kwargs"),
    _means("--no-think", "for 0; -1 changes nothing", _reasoning_budget, "--reasoning-budget"),
    _default("templates are always Jinja's", "--jinja"),
    _default("lumen chat talks", "-cnv", "--conversation", "-i", "--interactive", commands=("chat",)),
    _default("lumen chat waits for a message", "-if", "--interactive-first", commands=("chat",)),
    _default("lumen generate continues a text", "-no-cnv", "--no-conversation", commands=("generate",)),
    _default("--echo prints the prompt", "--no-display-prompt"),
    _default("a full context ends the text", "--no-context-shift"),
    _default("there is none", "--no-warmup"),
    _default("-e turns it on", "--no-escape"),
    _unused(_DEVICE, "-sm", "--split-mode"),
    _unused(_DEVICE, "-ts", "--tensor-split"),
    _unused(_DEVICE, "-mg", "--main-gpu"),
    _unused(_LAYERS, "-ot", "--override-tensor"),
    _unused(_LAYERS, "-ncmoe", "--n-cpu-moe"),
    _unused(_LAYERS, "-cmoe", "--cpu-moe", value=False),
    _unused("keys and values lie where they are computed", "-nkvo", "--no-kv-offload", value=None),
    _unused("attention is always fused", "-fa", "--flash-attn", value=None),
    _unused(_MAPPED, "--mmap", "-mmp", value=None),
    _unused(_MAPPED, "--no-mmap", "--mlock", "-nr", "--no-repack", "--check-tensors", value=False),
    _unused(_THREADS, "-tb", "--threads-batch"),
    _unused(_THREADS, "--numa", "--prio", "--prio-batch", "--poll", "--poll-batch"),
    _unused(_THREADS, "-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict"),
    _unused("the cache keeps what its windows need", "--swa-full", value=False),
    _unused("a full context ends the text", "--keep", "-dt", "--defrag-thold"),
    _unused("the texts that are given are computed together", "-np", "--parallel"),
    _unused("the closing lines have the times", "--perf", "--no-perf", "--verbose-prompt", value=False),
    _unused("-q and -v say how much is told", "--log-file", "-lv", "--verbosity"),
    _unused(
        "-q and -v say how much is told", "--log-disable", "--log-prefix", "--log-timestamps", value=False
    ),
    _unused("NO_COLOR turns colours off", "-co", "--color", "--log-colors", value=None),
    _unused("terminals are recognized", "--simple-io", value=False),
    _unused('""" begins a text of several lines', "-mli", "--multiline-input", value=False),
    _unused("there is none", "--warmup", value=False),
    _unused("as much is guessed as is faster", "--draft-max", "--draft-min", "--draft-p-min"),
    _unused("a draft is run as the model is", "-cd", "--ctx-size-draft", "-td", "--threads-draft"),
    _unused("answers are printed as the model writes them", "--reasoning-format"),
    _refused(
        "'lumen chat' talks with a model",
        *(
            "-cnv",
            "--conversation",
            "-i",
            "--interactive",
            "-if",
            "--interactive-first",
            "-st",
            "--single-turn",
        ),
        value=False,
        commands=("generate",),
    ),
    _refused(
        "'lumen generate' continues a text",
        *("-no-cnv", "--no-conversation"),
        value=False,
        commands=("chat",),
    ),
    _refused("'lumen devices' lists them", "--list-devices", value=False),
    _refused("only templates of Jinja are read", "--no-jinja", value=False),
    _refused("a full context ends the text; -c makes it longer", "--context-shift", value=False),
    _refused("--chat-template says what stands around a message", "--in-prefix", "--in-suffix"),
    _refused("--chat-template says what stands around a message", "--in-prefix-bos", value=False),
    _refused("the penalty looks at the last 64 tokens", "--repeat-last-n", off=(64,)),
    _refused(_DRAWN, "--mirostat", "--dynatemp-range", "--xtc-probability", "--dry-multiplier", off=(0,)),
    _refused(_DRAWN, "--top-nsigma", "--top-n-sigma", off=(-1,)),
    _refused(
        "the order is penalties, top-k, typical, top-p, min-p, temperature", "--samplers", "--sampling-seq"
    ),
    _refused("positions are those of the file", "--rope-scaling", "--rope-scale"),
    _refused("positions are those of the file", "--rope-freq-base", "--rope-freq-scale"),
    _refused("weights are those of the file", "--lora", "--lora-scaled", "--control-vector"),
    _refused("metadata is that of the file", "--override-kv"),
    _refused("text is all that is read", "-mm", "--mmproj", "--image", "--audio"),
    _refused("-p and -n with -d measure that", "-pg", commands=("bench",)),
)


class Translation:
    """Of one command line.

    Args:
      command: the name of the subcommand.
      own: its options, by all their names.

    Attributes:
      unused: what has no effect: the reasons, and the options given.
    """

    def __init__(self, command: str, own: Mapping[str, click.Option]):
        self._own = own
        self._spellings = {
            option: spelling
            for spelling in SPELLINGS
            if not spelling.commands or command in spelling.commands
            if not spelling.option or spelling.option in self._own
            for option in spelling.names
            if option not in self._own
        }
        self.unused: dict[str, list[str]] = {}
        self._batches: list[str] = []
        self._cache_types: dict[str, str] = {}

    def translated(self, arguments: list[str]) -> list[str]:
        """The arguments in the subcommand's own words. Raises ``click.UsageError``, ``LumenError``."""
        waiting = arguments[::-1]
        kept: list[str] = []
        while waiting and waiting[-1] != "--":
            argument = waiting.pop()
            name, equals, value = argument.partition("=")
            spelling = self._spellings.get(name)
            if spelling is None:
                kept.append(argument)
                own = self._own.get(argument)
                if own is not None and not own.is_flag and not own.count and waiting:
                    kept.append(waiting.pop())
                continue
            if spelling.value and not equals:
                if not waiting:
                    raise click.UsageError(f"option '{name}' requires an argument")
                value = waiting.pop()
            elif spelling.value is None and not equals and waiting and waiting[-1].lower() in _SWITCHES:
                value = waiting.pop()
            kept += self._meaning(name, spelling, value)
        return [*kept, *self._joint(), *reversed(waiting)]

    def _meaning(self, name: str, spelling: Spelling, value: str) -> list[str]:
        """What is put in the place of an option."""
        if name in _BATCHES:
            self._batches.append(value)
        elif name in _CACHE_TYPES:
            self._cache_types[_CACHE_TYPES[name]] = value
        elif spelling.kind is Kind.TAKEN and spelling.arguments is None:
            return [spelling.option, value] if spelling.value else [spelling.option]
        elif spelling.arguments is not None:
            return spelling.arguments(value)
        elif spelling.kind is Kind.WITHOUT_EFFECT:
            self.unused.setdefault(spelling.note, []).append(name)
        elif spelling.kind is Kind.REFUSED and not _is_one_of(value, spelling.off):
            raise click.UsageError(f"{name} is llama.cpp's: {spelling.note}")
        return []

    def _joint(self) -> list[str]:
        """What follows from options that belong together."""
        found: list[str] = []
        if self._batches:
            whole = [int(each) for each in self._batches if each.isdecimal()]
            wrong = [each for each in self._batches if not each.isdecimal()]
            found += ["--chunk", wrong[0] if wrong else str(min(whole))]
        if self._cache_types:
            # As llama.cpp has it, what is not given is f16.
            keys, values = self._cache_types.get("K", "f16"), self._cache_types.get("V", "f16")
            if keys != values:
                raise click.UsageError(
                    f"-ctk is {shown(keys)} and -ctv {shown(values)}; keys and values have one type: "
                    f"--kv-type {self._cache_types.get('K', values)}"
                )
            found += ["--kv-type", keys]
        return found


def _is_one_of(text: str, numbers: tuple[float, ...]) -> bool:
    try:
        return float(text) in numbers
    except ValueError:
        return False
