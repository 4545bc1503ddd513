"""The person's side: standard streams, and what is said beside the answer."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from reka_cli.deadline import Deadline
from reka_cli.errors import BadInput, IncompleteAnswer, RekaError, UsageError
from reka_cli.escapes import Cleaner, clean, json_line
from reka_cli.spinner import Spinner, spinner

FOR_PROGRAMS = ("json", "jsonl")  # formats that a program reads: stderr is JSON too
PIPED_PICTURE = 'reka-cli ask -i - "What can you see?" < picture.jpg'

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_SILENT_S = 2.0  # how long standard input may say nothing before that is said
_LARGEST_STDIN = 10 << 20  # bytes of a question
_NOWHERE = "standard output is closed: there is nowhere to put the answer"
_NOT_READ = "-n does not read it"


class OutputClosed(BaseException):
    """Whoever read our standard output went away: the end, and no error to report."""


class Terminal:
    """What goes to stdout and stderr; `quiet` keeps notices back, `verbose` adds to them.

    With `shows_reasoning`, what the model thinks is shown on stderr if that is a terminal. With `speaks_json`, a
    notice is a line of JSON: whoever reads the answer with a program reads stderr with one. `live` is whether what is
    written may be written anew, None for what the terminal can.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        shows_reasoning: bool = False,
        speaks_json: bool = False,
        live: bool | None = None,
    ) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._shows_reasoning = shows_reasoning and not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._speaks_json = speaks_json
        self._live = live
        self._thinking: Cleaner | None = None
        self._spinner: Spinner | None = None
        self._descriptor: int | None = None

    @property
    def is_screen(self) -> bool:
        """Whether the answer goes to a terminal."""
        return self._descriptor is None and sys.stdout is not None and sys.stdout.isatty()

    @property
    def repaints(self) -> bool:
        """Whether what was written may be written anew: on a terminal that can move its cursor."""
        can = os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
        return self.is_screen and (can if self._live is None else self._live)

    def size(self) -> tuple[int, int]:
        """Give columns and rows of where the answer goes; 80 columns where it is no terminal, or as COLUMNS says."""
        wanted = os.environ.get("COLUMNS", "")
        columns = int(wanted) if wanted.isdecimal() and len(wanted) < 5 else 0
        if not self.is_screen:
            return max(columns or 80, 20), 24
        size = os.terminal_size((0, 0))
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(_stdout())
        return size.columns or columns or 80, size.lines or 24

    @contextlib.contextmanager
    def answering_to(self, descriptor: int) -> Iterator[None]:
        """Write the answer to a file instead of stdout."""
        self._descriptor = descriptor
        try:
            yield
        finally:
            self._descriptor = None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Show, until the first word of the answer, what is being waited for; nothing of it stays."""
        self._spinner = None if self._quiet else spinner(sys.stderr, _put)
        self.doing("waiting")
        try:
            yield
        finally:
            self._settle()

    def doing(self, what: str) -> None:
        """Say what is being waited for now, such as "uploading cat.jpeg 45 %"."""
        if self._spinner:
            self._spinner.show(" ".join(clean(what).split()))

    def uploading(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        """Say how much of a picture is on its way."""
        part = 100 * sent_bytes // max(total_bytes, 1)
        self.doing(f"uploading {name} {part} %" if part < 100 else "waiting")

    def check_output(self) -> None:
        """Raise UsageError if there is nowhere to put an answer, before it is asked and paid for."""
        if sys.stdout is None:
            raise UsageError(_NOWHERE)

    def write(self, text: str) -> None:
        """Write a part of the answer at once; raise IncompleteAnswer if it cannot be written."""
        self._settle()
        data = memoryview(text.encode("utf-8", "replace"))  # a lone surrogate is no character
        try:
            descriptor = _stdout() if self._descriptor is None else self._descriptor
            while data:
                data = data[_write(descriptor, data) :]
        except BrokenPipeError as error:
            raise OutputClosed from error
        except OSError as error:
            raise IncompleteAnswer(f"cannot write the answer: {(error.strerror or 'failed').lower()}") from error

    def notice(self, text: str) -> None:
        if not self._quiet:
            self.end_thinking()
            self._aside(json_line({"notice": text}) if self._speaks_json else _line(f"notice: {text}"))

    def detail(self, text: str) -> None:
        if self._verbose:
            self._aside(json_line({"detail": text}) if self._speaks_json else _line(text))

    def debug(self, text: str) -> None:
        self._aside(_line(text))

    def think(self, text: str) -> None:
        """Show a part of the reasoning, dim where colour is wanted."""
        if not self._shows_reasoning:
            self.doing("thinking")
            return
        self._settle()
        if self._thinking is None:
            self._thinking = Cleaner()
            _put(f"{_DIM if _wants_colour() else ''}thinking: ")
        _put(self._thinking.feed(text))

    def end_thinking(self) -> None:
        """Leave the reasoning, so that what follows stands on a line of its own."""
        if self._thinking is not None:
            _put(self._thinking.flush().rstrip("\n") + (_PLAIN if _wants_colour() else "") + "\n")
            self._thinking = None

    def _aside(self, line: str) -> None:
        if self._spinner:
            self._spinner.aside(lambda: _put(line))
        else:
            _put(line)

    def _settle(self) -> None:
        if self._spinner:
            self._spinner.stop()
            self._spinner = None


def _stdout() -> int:
    if sys.stdout is None:
        raise UsageError(_NOWHERE)
    sys.stdout.flush()
    return sys.stdout.fileno()


def _write(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # a pipe that another program made so
        import select

        select.select([], [descriptor], [])
        return 0


def say(line: str) -> None:
    """Write one line to stderr; a closed or full stderr is nobody's error."""
    _put(_line(line))


def _line(text: str) -> str:
    return " ".join(clean(text).split("\n")) + "\n"


def _put(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _wants_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def report(error: RekaError, format_: str = "text") -> None:
    """Say what happened and, where there is a cure, what to type.

    In the formats of programs it is one line of JSON; "jsonl" ends stdout with it too.
    """
    if format_ not in FOR_PROGRAMS:
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        return
    told = {"error": error.as_dict()}
    _put(json_line(told))
    if format_ == "jsonl":
        with contextlib.suppress(RekaError):  # it may be stdout that failed
            Terminal().write(json_line({"type": "error", **told}))


def secret(what: str) -> str:
    """Ask for a secret at a hidden prompt, or take the first line of standard input; "" if there is none."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"{what}: ").strip()
    return sys.stdin.readline().strip()


def piped_text(terminal: Terminal, deadline: Deadline) -> str:
    """Read standard input to its end; "" if it is a terminal or closed.

    Raises DeadlineExceeded if the end does not come, BadInput if it is no text or too much.
    """
    if not _is_piped(sys.stdin):
        return ""
    waiting = f"waiting for standard input, which is part of the question ({_NOT_READ})"
    data = _piped(terminal, deadline, _LARGEST_STDIN, waiting, _NOT_READ)
    if len(data) > _LARGEST_STDIN:
        raise BadInput(f"standard input is longer than {_LARGEST_STDIN >> 20} MB")
    return _text(data)


def piped_picture(terminal: Terminal, deadline: Deadline, largest: int) -> bytes:
    """Read standard input to its end, or one byte more than `largest`.

    Raises UsageError if it is a terminal, BadInput if there is nothing, DeadlineExceeded if the end does not come.
    """
    if not _is_piped(sys.stdin):
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"- is standard input, which is {what}", hint=PIPED_PICTURE)
    waiting = "waiting for standard input, which is to be a picture"
    data = _piped(terminal, deadline, largest, waiting, "--timeout SECONDS allows more time")
    if not data:
        raise BadInput("there is no picture on standard input", hint=PIPED_PICTURE)
    return data


def _piped(terminal: Terminal, deadline: Deadline, largest: int, waiting: str, hint: str) -> bytes:
    """Read standard input to its end, or more than `largest` bytes; `waiting` is said if nothing comes."""
    blocks: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
    threading.Thread(target=_read_blocks, args=(blocks,), daemon=True).start()
    read = bytearray()
    waiting_s = min(_SILENT_S, deadline.remaining_s())
    while len(read) <= largest:
        try:
            block = blocks.get(timeout=waiting_s)
        except queue.Empty:
            if deadline.passed:
                error = deadline.error()
                error.message = f"standard input did not end within {deadline.total_s:g} s"
                error.hint = hint
                raise error from None
            terminal.notice(waiting)
        else:
            if isinstance(block, OSError):
                raise BadInput(f"cannot read standard input: {(block.strerror or 'failed').lower()}") from block
            if not block:
                break
            read += block
        waiting_s = max(0.0, deadline.ends_at - time.monotonic())
    return bytes(read[: largest + 1])


def _is_piped(stdin: TextIO | None) -> bool:
    try:
        return stdin is not None and not stdin.isatty()
    except ValueError:
        return False


def _read_blocks(blocks: queue.SimpleQueue[bytes | OSError]) -> None:
    try:
        while block := _read():
            blocks.put(block)
        blocks.put(b"")
    except OSError as error:
        blocks.put(b"" if error.errno == errno.EBADF else error)  # nohup leaves one that can only be written


def _read() -> bytes:
    while True:
        try:
            return os.read(0, 65_536)  # not sys.stdin: its lock would be held when the interpreter ends
        except BlockingIOError:  # a pipe that another program made so
            import select

            select.select([0], [], [])


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadInput("standard input is not UTF-8 text", hint=PIPED_PICTURE) from error
