# SPDX-License-Identifier: Apache-2.0
"""The group of subcommands, and how errors leave the program."""

from __future__ import annotations

import os
from importlib import import_module

import click

from lumen_mlir.cli import streams
from lumen_mlir.cli.help_text import HelpContext
from lumen_mlir.errors import LumenError, about_extension, one_line

# Each is the attribute ``command`` of a module beside this one: of that name, or as ``_MODULES`` says.
COMMANDS = (
    "generate", "chat", "serve", "batch", "pull", "list", "rm", "tokenize", "detokenize", "inspect",
    "convert", "quantize", "perplexity", "compile", "bench", "tune", "devices", "formats", "cache",
)  # fmt: skip

# In the package, a module ``list`` would stand in the way of Python's own.
_MODULES = {"list": "list_models"}

# Set by the shell to ask for completions, as ``click`` has it.
_COMPLETE = "_LUMEN_COMPLETE"


class Commands(click.Group):
    """Subcommands whose modules are imported only when they are needed."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # ``bench`` takes a model, or this one word (a file of that name is ./kernels).
        if arguments[:2] == ["bench", "kernels"]:
            from lumen_mlir.cli.bench_kernels import command

            return "bench kernels", _with_plugins(command), arguments[2:]
        return super().resolve_command(context, arguments)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return _with_plugins(import_module(f"lumen_mlir.cli.{_MODULES.get(name, name)}").command)


def _load_plugins(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    if names and not context.resilient_parsing:
        from lumen_mlir.formats import plugins

        for name in names:
            plugins.load(name)


_plugin_option = click.option(
    "--plugin",
    metavar="MODULE|FILE.py",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_load_plugins,
    help="Python that defines formats of your own (may be repeated).",
)


def _with_plugins(command: click.Command) -> click.Command:
    """``command`` and its subcommands with ``--plugin``: what is a format does not depend on the command."""
    command.context_class = HelpContext
    if not any(parameter.name == "plugin" for parameter in command.params):
        _plugin_option(command)
        for inner in getattr(command, "commands", {}).values():
            _with_plugins(inner)
    return command


def _version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from lumen_mlir.version import __version__

        click.echo(f"lumen {__version__}")
        context.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Environment: LUMEN_THREADS, LUMEN_CACHE_DIR, LUMEN_CACHE_LIMIT, LUMEN_PLUGINS, LUMEN_RUNNER.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
@_plugin_option
def app() -> None:
    """Run quantized language models, compiled for this machine through MLIR.

    \b
      lumen generate -p "오늘 본 영화는"          the model that comes with Lumen
      lumen generate model.gguf -p "Once upon"  a GGUF file of yours
      lumen generate FOLDER -p "Once upon"      a folder as Hugging Face has it
      lumen chat hf:USER/REPO:q4_k_m            a model of the Hugging Face Hub
      lumen compile model.gguf --emit fused     what the compiler makes of it
    """


app.context_class = HelpContext


def run(arguments: list[str]) -> int:
    """Parses and runs; the exit code. ``BrokenPipeError`` is left to the caller."""
    streams.prepare()
    asked = os.environ.get(_COMPLETE)
    try:
        if asked:
            from click.shell_completion import shell_complete

            return shell_complete(app, {}, "lumen", _COMPLETE, asked)
        with app.make_context("lumen", arguments or ["--help"]) as context:
            app.invoke(context)
    except click.exceptions.Exit as exit:
        return exit.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "lumen"
        return _fail(f"{error.format_message().rstrip('.')} (see '{path} --help')", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        raise
    except LumenError as error:
        code = _fail(str(error), 1)
        for hint in error.hints:
            streams.tell(f"lumen:   {hint}")
        return code
    except MemoryError as error:
        return _fail(f"out of memory{': ' if str(error) else ''}{error}", 1)
    except ImportError as error:
        if (better := about_extension(error)) is None:
            raise
        return _fail(str(better), 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    return 0


def _fail(message: str, code: int) -> int:
    streams.tell(f"lumen: error: {one_line(message)}")
    return code
