# SPDX-License-Identifier: Apache-2.0
"""The process of a runner: starting it, exchanging bytes with it, and saying what ended it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from lumen_mlir.errors import LumenError, one_line, shown

# As the runner has them: what begins its first answer, and the version of what follows.
_GREETING = b"LumenRun"
PROTOCOL_VERSION = 1
# Seconds in which a runner greets; an emulator on a busy machine takes its time.
_GREETING_SECONDS = 60
# Seconds in which it ends when there is nothing to read any more.
_END_SECONDS = 5
# Bytes that are sent together.
_BATCH = 1 << 16


class RunnerProcess:
    """A runner that was started and has greeted. Its methods raise ``LumenError`` from when it has failed on.

    Attributes:
      greeting: the architecture that it runs, and the features of the CPU.
    """

    def __init__(self, command: Sequence[str]):
        self._owner = os.getpid()
        self._failure = ""
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        # A file takes all that an emulator says; a pipe would have to be read.
        self._errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        try:
            # A group of its own: Ctrl-C is for this process, which then ends the other.
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._errors.close()
            reason = getattr(error, "strerror", None) or error
            raise LumenError(f"the runner {shown(command[0])} cannot be started: {reason}") from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        self.greeting = self._read_greeting()

    def send(self, *parts: bytes | memoryview) -> None:
        """Sends bytes, at the latest before the next answer is received."""
        self._check()
        for part in parts:
            if len(part) >= _BATCH:
                with self._exchange():
                    self._flush()
                    self._write(part)
            else:
                # What a view shows may change before it is sent.
                self._pending.append(bytes(part))
                self._pending_bytes += len(part)
        if self._pending_bytes >= _BATCH:
            with self._exchange():
                self._flush()

    def receive(self) -> None:
        """Receives the answer to a request. Raises ``LumenError`` with what the runner says instead."""
        self.receive_into(memoryview(bytearray()))

    def receive_into(self, memory: memoryview) -> None:
        """Receives an answer of as many bytes as there is memory."""
        self._check()
        with self._exchange():
            self._flush()
            size = self._read_word()
            message = self._read(size)
            if not message:
                self._read_into(memory)
        if message:
            # What follows in other answers makes no sense without this one.
            self._fail(f"the runner says: {one_line(message.decode(errors='replace'))}")

    def stop(self) -> None:
        """Ends the process, which need not have failed; nothing happens in a forked process."""
        if self._process.returncode is not None or self._owner != os.getpid():
            return
        self._failure = self._failure or "the runner has ended"
        self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def abandon(self, reason: str) -> None:
        """Never touches the process again: every use raises an error with ``reason``."""
        self._failure = reason

    # --- bytes ----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._failure:
            raise LumenError(self._failure)

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """Says what ended the runner; after anything else, nobody knows which answer is the next."""
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionError):
            self._fail(self._describe_end())
        except BaseException:
            self._failure = "the runner was stopped amid a call"
            self._process.kill()
            self.stop()
            raise

    def _fail(self, failure: str) -> None:
        self._failure = failure
        self._process.kill()
        self.stop()
        raise LumenError(failure)

    def _flush(self) -> None:
        pending, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
        self._write(pending)

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._input, rest) :]

    def _read_into(self, memory: memoryview) -> None:
        while memory:
            count = os.readv(self._output, [memory])
            if not count:
                raise EOFError
            memory = memory[count:]

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        self._read_into(memoryview(data))
        return bytes(data)

    def _read_word(self) -> int:
        return int.from_bytes(self._read(8), "little")

    def _read_greeting(self) -> str:
        with self._exchange():
            if not select.select([self._output], [], [], _GREETING_SECONDS)[0]:
                self._fail(f"the runner did not greet in {_GREETING_SECONDS} seconds")
            begin = self._read(len(_GREETING))
            version = self._read_word() if begin == _GREETING else 0
            text = self._read(min(self._read_word(), _BATCH)) if version == PROTOCOL_VERSION else b""
        if begin != _GREETING:
            self._fail(f"the runner began with {shown(begin.decode(errors='replace'))}: it is no runner")
        if version != PROTOCOL_VERSION:
            self._fail(
                f"the runner has version {version} of the protocol, and this Lumen version {PROTOCOL_VERSION}"
            )
        return text.decode(errors="replace")

    def _describe_end(self) -> str:
        """What ended the process, and the last line that it or an emulator has said."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "the runner has closed its output"
        how = f"ended with status {status}"
        if status < 0:
            try:
                how = f"was ended by {signal.Signals(-status).name}"
            except ValueError:
                how = f"was ended by signal {-status}"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the runner {how}" + (f": {one_line(said[-1])}" if said else "")
