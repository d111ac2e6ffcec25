# SPDX-License-Identifier: Apache-2.0
"""``lumen serve``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.config_file import config_option
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.streams import tell
from lumen_mlir.errors import LumenError, about_missing
from lumen_mlir.serve.settings import ModelName, Settings

if TYPE_CHECKING:
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.serve.server import Server


@click.command(cls=shared.Command, short_help="Answer requests over HTTP.")
@click.argument(
    "models",
    nargs=-1,
    metavar="[[NAME=]MODEL]...",
    shell_complete=shared.complete_files,
    callback=shared.several_models,
)
@shared.model_option
@config_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen (0.0.0.0: for other machines)."
)
@click.option("--port", type=int, default=8080, show_default=True, help="The port (0: any that is free).")
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    metavar="KEY",
    envvar="LUMEN_API_KEY",
    help="A key that clients must send (may be repeated).  [default: LUMEN_API_KEY, or none]",
)
@click.option(
    "--api-key-file",
    metavar="FILE",
    shell_complete=shared.complete_files,
    help="A file of keys, one in a line.",
)
@click.option(
    "-np",
    "--parallel",
    "sequences",
    type=int,
    default=8,
    show_default=True,
    help="Most texts computed at a time; more wait.",
)
@shared.kv_pool_option
@click.option(
    "--cors",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin ask, such as https://example.org, or * (may be repeated).  "
    "[default: none]",
)
@click.option(
    "--max-requests",
    type=int,
    default=256,
    show_default=True,
    help="Requests that are answered or wait; more get 429.",
)
@click.option(
    "--max-connections", type=int, default=1024, show_default=True, help="Connections; more get 503."
)
@click.option("--max-body", metavar="SIZE", default="64M", show_default=True, help="Largest request.")
@click.option(
    "--read-timeout",
    type=float,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="In which a request must have come.",
)
@click.option(
    "--request-timeout",
    type=float,
    metavar="SECONDS",
    help="In which an answer must be done.  [default: any time]",
)
@click.option(
    "--grace",
    type=float,
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="That answers may take when the server is told to stop.",
)
@click.option(
    "--idle",
    type=float,
    metavar="SECONDS",
    help="Unload a model that nobody asks for so long.  [default: never]",
)
@click.option(
    "--max-models",
    type=int,
    metavar="N",
    help="Models loaded at a time.  [default: as many as there is memory for]",
)
@click.option("--any-model-name", "any_name", is_flag=True, help="Take any name for that of the first model.")
@click.option(
    "--session-folder",
    metavar="FOLDER",
    help="Where /sessions saves what was computed.  [default: nowhere]",
)
@click.option(
    "--tls-cert",
    "tls_certificate",
    metavar="FILE",
    shell_complete=shared.complete_files,
    help="A certificate (PEM): speak HTTPS.",
)
@click.option(
    "--tls-key",
    metavar="FILE",
    shell_complete=shared.complete_files,
    help="Its key, where it is not in the same file.",
)
@click.option("--log-format", default="text", show_default=True, help="text, or json (one object in a line).")
@click.option("--traces", is_flag=True, help="Send OpenTelemetry traces, to OTEL_EXPORTER_OTLP_ENDPOINT.")
@click.option("--log-prompts", is_flag=True, help="Write what is asked and answered to the log.")
@click.option("--chat-template", metavar="NAME|TEXT", help="In place of the models' own chat template.")
@shared.engine_options
@shared.verbosity_options
def command(models: tuple[str, ...], dry_run: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Answer requests over HTTP, with one MODEL or several.

    It speaks the APIs of OpenAI, Anthropic, ollama and llama-server, and has a page to chat at its address.
    The first model is loaded at the start, the others when they are asked for, by their NAMEs.

    \b
      lumen serve model.gguf
      lumen serve small=a.gguf large=hf:USER/REPO:q4_k_m --idle 600
      curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "안녕하세요?"}]}'
    """
    log_format, keys_file = options.pop("log_format"), options.pop("api_key_file")
    given = _settings(options, keys_file)
    template, traces = options.pop("chat_template"), options.pop("traces")
    named = ModelName.parse_all(models)
    _check(named)
    if dry_run:
        for each in named:
            report(each.source, Reporter(quiet, verbose), options)
        return
    try:
        from lumen_mlir.serve import logs, process
        from lumen_mlir.serve.catalog import Catalog
        from lumen_mlir.serve.server import Server
        from lumen_mlir.serve.traces import NoTraces, Traces
    except ImportError as error:
        raise about_missing(error, "lumen serve", "serve") from None
    settings = Settings(**given)
    if log_format not in logs.FORMATS:
        raise LumenError(f"--log-format is '{log_format}'; {' or '.join(logs.FORMATS)} was expected")

    def open_model(source: str | None) -> LLM:
        from lumen_mlir.generate.llm import LLM

        return LLM(source, chat_template=template, **options)

    catalog = Catalog(
        named, open_model, idle=settings.idle, most=settings.max_models, any_name=settings.any_name
    )
    server = Server(settings, catalog, traces=Traces() if traces else NoTraces())
    process.check_tls(settings)
    listening = process.bind(settings.host, settings.port)
    logs.configure(log_format, "debug" if verbose else "warning" if quiet else "info")
    host, port = listening.getsockname()[:2]
    _welcome(server, f"[{host}]" if ":" in host else host, port, quiet)
    process.serve(server, listening)


def _settings(options: dict[str, Any], keys_file: str | None) -> dict[str, Any]:
    """Takes what is not for ``LLM`` out of ``options``: what ``Settings`` is made of. Checks it."""
    from lumen_mlir.run.memory import parse_budget

    names = (
        "host", "port", "api_keys", "origins", "max_requests", "max_connections", "max_body", "read_timeout",
        "request_timeout", "grace", "idle", "max_models", "any_name", "session_folder", "tls_certificate",
        "tls_key", "log_prompts",
    )  # fmt: skip
    given = {name: options.pop(name) for name in names}
    for name, least in (("max_requests", 1), ("max_connections", 1), ("max_models", 1)):
        if given[name] is not None and given[name] < least:
            raise LumenError(f"--{name.replace('_', '-')} is {given[name]}; at least {least} was expected")
    for name in ("read_timeout", "request_timeout", "grace", "idle"):
        value = given[name]
        if value is not None and not (0 if name == "grace" else 1e-3) <= value < 1e9:
            raise LumenError(f"--{name.replace('_', '-')} is {value:g}; a number of seconds was expected")
    if not 0 <= given["port"] < 65536:
        raise LumenError(f"--port is {given['port']}; 0 to 65535 was expected")
    given["max_body"] = parse_budget(given["max_body"])
    given["api_keys"] = (*given["api_keys"], *_keys(keys_file))
    if any(not key for key in given["api_keys"]):
        raise LumenError("an API key is empty")
    return given


def _keys(path: str | None) -> list[str]:
    if path is None:
        return []
    with open(path, encoding="utf-8") as file:
        keys = [line.strip() for line in file if line.strip()]
    if not keys:
        raise LumenError(f"{path}: there are no keys")
    return keys


def _check(models: Any) -> None:
    """Raises ``LumenError`` for a file that is not there: better now than at the first request."""
    for each in models:
        looks_local = each.source is not None and not each.source.startswith("hf:")
        if looks_local and not os.path.exists(each.source):
            raise LumenError(f"{each.source}: no such file or folder")


def _welcome(server: Server, host: str, port: int, quiet: bool) -> None:
    if quiet:
        return
    names = ", ".join(server.catalog.entries)
    scheme = "http" if server.settings.tls_certificate is None else "https"
    tell(f"lumen: {names} at {scheme}://{host}:{port} (Ctrl-C ends it)")
    if host not in ("127.0.0.1", "localhost", "[::1]") and not server.settings.api_keys:
        tell("lumen: warning: other machines can ask without a key; --api-key sets one")
