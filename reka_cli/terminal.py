"""The person's side: standard streams, and what is said beside the answer."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import TextIO

from reka_cli.deadline import Deadline
from reka_cli.errors import BadInput, IncompleteAnswer, RekaError, UsageError
from reka_cli.escapes import clean

_SILENT_S = 2.0  # how long standard input may say nothing before that is said
_LARGEST_STDIN = 10 << 20  # bytes of a question


class OutputClosed(BaseException):
    """Whoever read our standard output went away: the end, and no error to report."""


@dataclass(frozen=True)
class Terminal:
    """What goes to stdout and stderr; `quiet` keeps notices back, `verbose` adds to them."""

    quiet: bool = False
    verbose: bool = False

    def write(self, text: str) -> None:
        """Write a part of the answer to stdout, at once; raise IncompleteAnswer if it cannot be written."""
        if sys.stdout is None:
            raise UsageError("standard output is closed: there is nowhere to put the answer")
        data = memoryview(text.encode("utf-8", "replace"))  # a lone surrogate is no character
        try:
            sys.stdout.flush()
            while data:
                data = data[os.write(sys.stdout.fileno(), data) :]
        except BrokenPipeError as error:
            raise OutputClosed from error
        except OSError as error:
            raise IncompleteAnswer(f"cannot write the answer: {(error.strerror or 'failed').lower()}") from error

    def notice(self, text: str) -> None:
        if not self.quiet:
            say(f"notice: {text}")

    def detail(self, text: str) -> None:
        if self.verbose:
            say(text)


def say(line: str) -> None:
    """Write one line to stderr; a closed or full stderr is nobody's error."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        print(" ".join(clean(line).split("\n")), file=sys.stderr, flush=True)  # noqa: T201


def report(error: RekaError) -> None:
    """Say what happened and, where there is a cure, what to type."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def piped_text(terminal: Terminal, deadline: Deadline) -> str:
    """Read standard input to its end; "" if it is a terminal or closed.

    Raises DeadlineExceeded if the end does not come, BadInput if it is no text or too much.
    """
    if not _is_piped(sys.stdin):
        return ""
    blocks: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
    threading.Thread(target=_read_blocks, args=(blocks,), daemon=True).start()
    read = bytearray()
    waiting_s = min(_SILENT_S, deadline.remaining_s())
    while True:
        try:
            block = blocks.get(timeout=waiting_s)
        except queue.Empty:
            if deadline.passed:
                error = deadline.error()
                error.message = f"standard input did not end within {deadline.total_s:g} s"
                error.hint = "-n does not read it"
                raise error from None
            terminal.notice("waiting for standard input, which is part of the question (-n does not read it)")
        else:
            if isinstance(block, OSError):
                raise BadInput(f"cannot read standard input: {(block.strerror or 'failed').lower()}") from block
            if not block:
                return _text(bytes(read))
            read += block
            if len(read) > _LARGEST_STDIN:
                raise BadInput(f"standard input is longer than {_LARGEST_STDIN >> 20} MB")
        waiting_s = max(0.0, deadline.ends_at - time.monotonic())


def _is_piped(stdin: TextIO | None) -> bool:
    try:
        return stdin is not None and not stdin.isatty()
    except ValueError:
        return False


def _read_blocks(blocks: queue.SimpleQueue[bytes | OSError]) -> None:
    try:
        while block := os.read(0, 65_536):  # not sys.stdin: its lock would be held when the interpreter ends
            blocks.put(block)
        blocks.put(b"")
    except OSError as error:
        blocks.put(error)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadInput("standard input is not UTF-8 text", hint="a picture goes in as a file: -i FILE") from error
