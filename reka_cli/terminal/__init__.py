"""The person's side: where the answer goes, and what is said beside it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from reka_cli.errors import DeadlineExceeded, IncompleteAnswer, RekaError, UsageError
from reka_cli.escapes import Cleaner, clean, json_line
from reka_cli.files import write_error
from reka_cli.limits.deadline import Deadline
from reka_cli.terminal.spinner import Spinner, make_spinner

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_SMALL_WRITE = 4096  # bytes that a pipe takes at once where it takes any: PIPE_BUF
_NOWHERE = "standard output is closed: there is nowhere to put the answer"


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
        self._shows_reasoning = (
            shows_reasoning and not quiet and sys.stderr is not None and sys.stderr.isatty()
        )
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
    def redirect_answer(self, descriptor: int) -> Iterator[None]:
        """Write the answer to a file instead of stdout."""
        self._descriptor = descriptor
        try:
            yield
        finally:
            self._descriptor = None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Show, until the first word of the answer, what is being waited for; nothing of it stays."""
        self._spinner = None if self._quiet else make_spinner(sys.stderr, _put)
        self.show_activity("waiting")
        try:
            yield
        finally:
            self._settle()

    def show_activity(self, what: str) -> None:
        """Say what is being waited for now, such as "uploading cat.jpeg 45 %"."""
        if self._spinner:
            self._spinner.show(" ".join(clean(what).split()))

    def show_upload(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        """Say how much of an image is on its way."""
        part = 100 * sent_bytes // max(total_bytes, 1)
        self.show_activity(f"uploading {name} {part} %" if part < 100 else "waiting")

    def keep(self, deadline: Deadline) -> None:
        """Wait no longer than until `deadline` for whoever reads stdout and stderr."""
        _limit.deadline = deadline

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
            raise write_error("the answer", error, IncompleteAnswer) from error

    def notice(self, text: str) -> None:
        if not self._quiet:
            self.end_reasoning()
            self._aside(
                json_line({"notice": text}) if self._speaks_json else _line(f"notice: {text}")
            )

    def detail(self, text: str) -> None:
        if self._verbose:
            self._aside(json_line({"detail": text}) if self._speaks_json else _line(text))

    def debug(self, text: str) -> None:
        self._aside(_line(text))

    def write_reasoning(self, text: str) -> None:
        """Show a part of the reasoning, dim where color is wanted."""
        if not self._shows_reasoning:
            self.show_activity("thinking")
            return
        self._settle()
        if self._thinking is None:
            self._thinking = Cleaner()
            _put(f"{_DIM if _wants_color() else ''}thinking: ")
        _put(self._thinking.feed(text))

    def end_reasoning(self) -> None:
        """Leave the reasoning, so that what follows stands on a line of its own."""
        if self._thinking is not None:
            _put(self._thinking.flush().rstrip("\n") + (_PLAIN if _wants_color() else "") + "\n")
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


class _Limit:
    """Until when to wait for somebody who reads our output: one for the process, as its streams are."""

    deadline: Deadline | None = None

    def is_writable(self, descriptor: int) -> bool:
        """Wait until a small write does not block. Returns False at the deadline.

        Without a deadline, and on Windows, the write itself waits.
        """
        if self.deadline is None or sys.platform == "win32":
            return True
        import select

        left_s = max(0.0, self.deadline.ends_at - time.monotonic())
        return bool(select.select([], [descriptor], [], left_s)[1])


_limit = _Limit()


def _write(descriptor: int, data: memoryview) -> int:
    if not _limit.is_writable(descriptor):
        assert _limit.deadline is not None
        message = f"nobody read the answer within {_limit.deadline.total_s:g} s"
        raise DeadlineExceeded(message)
    try:
        return os.write(descriptor, data[:_SMALL_WRITE])
    except BlockingIOError:  # a pipe that another program made so
        import select

        select.select([], [descriptor], [])
        return 0


def print_to_stderr(line: str) -> None:
    """Write one line to stderr; a closed or full stderr is nobody's error."""
    _put(_line(line))


def _line(text: str) -> str:
    return " ".join(clean(text).split("\n")) + "\n"


def _put(text: str) -> None:
    """Write to stderr. What nobody reads by the deadline is not written."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            for at in range(0, len(text), _SMALL_WRITE // 4):  # 4 bytes a character at most
                if _limit.is_writable(sys.stderr.fileno()):
                    sys.stderr.write(text[at : at + _SMALL_WRITE // 4])
                    sys.stderr.flush()


def _wants_color() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def report(error: RekaError, *, as_json: bool = False) -> None:
    """Print on stderr what happened and, where there is a cure, what to type; for programs one line of JSON."""
    if as_json:
        _put(json_line({"error": error.as_dict()}))
        return
    print_to_stderr(f"error: {error.message}")
    if error.hint:
        print_to_stderr(f"hint: {error.hint}")
