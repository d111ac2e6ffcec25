# SPDX-License-Identifier: Apache-2.0
"""``lumen batch``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.generate import write
from lumen_mlir.cli.remote.options import client_of, server_options
from lumen_mlir.cli.report import Reporter, counted
from lumen_mlir.cli.text import read_text
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.generate.batch_request import BatchRequest
    from lumen_mlir.storage.line_log import LineLog


@click.command(cls=shared.Command, short_help="Answer a file of requests.")
@click.argument("paths", nargs=-1, metavar="[MODEL] FILE")
@shared.model_option
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    help="Where answers go. What is there already is not computed again.  [default: stdout]",
)
@click.option(
    "-n",
    "--max-tokens",
    type=int,
    default=256,
    show_default=True,
    help="Most tokens of an answer (-1: any), where a request does not say.",
)
@click.option(
    "-np",
    "--parallel",
    "sequences",
    type=int,
    default=16,
    show_default=True,
    help="Most requests computed at a time.",
)
@server_options
@shared.kv_pool_option
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    paths: tuple[str, ...],
    output: str,
    max_tokens: int,
    server: str | None,
    api_key: str | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Answer the requests in FILE ("-": stdin), a line of JSON each, with MODEL.

    A line has a "prompt" or "messages", and parameters such as "max_tokens" and "temperature"; or it has the
    form of OpenAI's batches. Each becomes a line of the output as soon as it is done. The options of sampling
    are for requests that do not say. Run again, the same command goes on where it was stopped.
    """
    client = client_of(server, api_key, also=("kv_pool",))
    model, path = _model_and_file(paths)
    sampling = {name: value for name, value in shared.sampling_of(options).items() if value not in (None, ())}
    sampling["max_tokens"] = shared.token_limit(max_tokens)
    reporter = Reporter(quiet, verbose)
    if dry_run:
        report(model, reporter, options)
        return
    from lumen_mlir.generate.batch_request import BatchRequest

    text = read_text(path)
    # (Other ends of lines can stand in texts.)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    requests = [BatchRequest.parse(line, index) for index, line in enumerate(lines) if line.strip()]
    if not requests:
        raise LumenError(f"{path}: there are no requests")
    _check_names(requests, path)
    log = _open(output)
    try:
        left = _left(requests, log, path, output)
        if len(left) < len(requests):
            reporter.say(f"{output} has {len(requests) - len(left):,} of {len(requests):,} answers already")
        if left and client is None:
            from lumen_mlir.generate.batch_answers import BatchAnswers

            with reporter.open(model, **options) as llm:
                _write(BatchAnswers(llm, left, sampling), left, len(requests), log, output, reporter)
        elif left and client is not None:
            from lumen_mlir.cli.remote.batch import RemoteAnswers

            answers = RemoteAnswers(client, model, left, sampling, options["sequences"], reporter.detail)
            _write(answers, left, len(requests), log, output, reporter)
    finally:
        log.close()


class Answers(Protocol):
    """What answers requests: see ``BatchAnswers``."""

    prompt_tokens: int
    tokens: int
    failed: int

    def lines(self) -> Iterator[str]: ...

    def close(self) -> None: ...


def _write(
    answers: Answers,
    requests: list[BatchRequest],
    total: int,
    log: LineLog | _Stdout,
    output: str,
    reporter: Reporter,
) -> None:
    """Writes answers as they come, and says at the end what they took."""
    start, done = time.perf_counter(), total - len(requests)
    # Answers would be written amid the bar.
    bar = (lambda *what: None) if output == "-" and sys.stdout.isatty() else reporter.progress
    bar("batch", done, total)
    try:
        for line in answers.lines():
            log.append(line.encode())
            done += 1
            rate = answers.tokens / (time.perf_counter() - start)
            bar("batch", done, total, f"{rate:,.0f} tokens/s")
    except (KeyboardInterrupt, LumenError):
        reporter.close()
        more = "" if output == "-" else "; the same command goes on from there"
        reporter.say(f"stopped: {done:,} of {counted(total, 'request')} are answered{more}")
        raise
    finally:
        reporter.close()
        answers.close()
    seconds = time.perf_counter() - start
    said = f"{counted(answers.tokens, 'token')} at {answers.tokens / seconds:,.0f}/s"
    read = f"prompts of {answers.prompt_tokens:,}"
    reporter.say(f"{counted(len(requests), 'request')}, {said}, {read}, {seconds:.1f} s")
    if answers.failed:
        reporter.say(f"warning: {counted(answers.failed, 'request')} failed; the answers say why")


def _model_and_file(paths: tuple[str, ...]) -> tuple[str | None, str]:
    """The model (None: the one that comes with Lumen) and the file of requests."""
    if not paths:
        raise click.UsageError("a file of requests is missing: lumen batch [MODEL] FILE")
    if len(paths) > 2:
        raise click.UsageError(f"a model and a file of requests were expected, not {len(paths)} files")
    *models, path = paths
    return shared.one_model(click.get_current_context(), next(iter(models), None)), path


def _check_names(requests: Iterable[BatchRequest], path: str) -> None:
    """Raises ``LumenError`` where answers could not be told apart."""
    lines: dict[str, int] = {}
    for request in requests:
        if request.url is not None:
            before = lines.setdefault(str(request.custom_id), request.index)
            if before != request.index:
                raise LumenError(
                    f"{path}: lines {before + 1} and {request.index + 1} have the same custom_id, "
                    f"'{request.custom_id}'"
                )


class _Stdout:
    """Stdout as a ``LineLog`` that has no lines yet."""

    torn = b""

    def lines(self) -> Iterator[bytes]:
        return iter(())

    def cut(self) -> None:
        pass

    def append(self, line: bytes) -> None:
        write(line.decode() + "\n")

    def close(self) -> None:
        pass


def _open(output: str) -> LineLog | _Stdout:
    from lumen_mlir.storage.line_log import LineLog

    try:
        return _Stdout() if output == "-" else LineLog(output)
    except BlockingIOError:
        raise LumenError(f"{output}: another process is writing answers to it") from None
    except OSError as error:
        raise LumenError(f"{output}: cannot be written: {error.strerror or error}") from None


def _left(requests: list[BatchRequest], log: LineLog | _Stdout, path: str, output: str) -> list[BatchRequest]:
    """Those that have no answer in ``log`` yet. Raises ``LumenError`` where it has others' answers."""
    from lumen_mlir.generate.batch_request import BEGINNINGS, key_of_answer

    asked, answered = {request.key for request in requests}, set()
    for number, line in enumerate(log.lines(), 1):
        key = key_of_answer(line)
        if key is None:
            raise LumenError(f"{output}: line {number} is no answer; nothing was written to this file")
        if key not in asked:
            raise LumenError(f"{output}: line {number} answers a request that {path} does not have")
        answered.add(key)
    if log.torn and not any(log.torn.startswith(begin[: len(log.torn)]) for begin in BEGINNINGS):
        raise LumenError(f"{output}: its last line is no answer; nothing was written to this file")
    log.cut()
    return [request for request in requests if request.key not in answered]
