# SPDX-License-Identifier: Apache-2.0
"""``--server`` and what goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from lumen_mlir.cli import options as shared
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.cli.remote.client import Client


def server_options(function: Callable) -> Callable:
    """Adds ``--server`` and ``--api-key`` to a subcommand."""
    function = click.option(
        "--api-key",
        metavar="KEY",
        envvar="LUMEN_API_KEY",
        help="The key that the server asks for.  [default: LUMEN_API_KEY, or none]",
    )(function)
    return click.option(
        "--server",
        metavar="URL",
        help="Ask a running server, such as http://127.0.0.1:8080; MODEL is a name there.  "
        "[default: run the model here]",
    )(function)


def _names(options: Callable[[Callable], Callable]) -> list[str]:
    """The parameters that a group of options gives a command."""

    def bare() -> None: ...

    return [str(option.name) for option in getattr(options(bare), "__click_params__", [])]


# How a model is run is the server's choice.
_LOCAL = (*_names(shared.engine_options), "speculate")


def client_of(server: str | None, key: str | None, also: Iterable[str] = ()) -> Client | None:
    """What asks the ``server``; None where there is none.

    Raises ``click.UsageError`` where an option was given that says how to run a model, or one of the
    parameters ``also``, and where there is a key for no server.
    """
    context = click.get_current_context()
    if server is None:
        if context.get_parameter_source("api_key") == ParameterSource.COMMANDLINE:
            raise click.UsageError("--api-key is for --server", context)
        return None
    local = {*_LOCAL, *also}
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in local and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{_long(parameter)} is for models that run here; a server decides that itself",
                context,
            )
    if not server.strip():
        raise LumenError("--server is empty; http://HOST:PORT was expected")
    # Imported here because a model that runs here needs no HTTP.
    from lumen_mlir.cli.remote.address import Address
    from lumen_mlir.cli.remote.client import Client

    return Client(Address.parse(server), key or None)


def _long(parameter: click.Parameter) -> str:
    return next(name for name in parameter.opts if name.startswith("--"))
