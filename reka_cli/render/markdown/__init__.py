"""Markdown on a terminal while it streams; in a pipe, and where nothing can be repainted, block by block."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, assert_never

from reka_cli.answer import Answer
from reka_cli.errors import RekaError
from reka_cli.escapes import Cleaner, clean
from reka_cli.messages import Done, Notice, ReasoningDelta, Start, TextDelta, Usage
from reka_cli.terminal import Terminal, signals

if TYPE_CHECKING:
    from reka_cli.render.markdown.page import Page, TerminalInfo

_FRAME_S = 1 / 15
_REST = 10  # times what a frame took: how long the next one is away at least
_HEAD_START_S = 0.05  # the question goes out before what draws the answer is imported
_SWITCH_S = (
    0.0005  # how long a thread may keep the others waiting: who reads must not wait for who draws
)


def render(answer: Answer, terminal: Terminal) -> None:
    """Write the answer as it is to be read, notices to stderr; what came is there however it ends."""
    writer = _Painter(terminal) if terminal.repaints else _Printer(terminal)
    try:
        _write(answer, writer, terminal)
    except KeyboardInterrupt:
        writer.raise_failure()  # where SIGINT is not ours, it may be the painter that woke us
        raise


def _write(answer: Answer, writer: _Painter | _Printer, terminal: Terminal) -> None:
    try:
        for event in answer:
            match event:
                case Start():
                    writer.begin()
                case TextDelta(text):
                    terminal.end_reasoning()
                    writer.feed(text)
                case Notice(said):
                    writer.aside()
                    terminal.notice(said)
                case ReasoningDelta(thought):
                    writer.aside()
                    terminal.write_reasoning(thought)
                case Usage() | Done():
                    pass
                case _:
                    assert_never(event)
    finally:
        try:
            terminal.end_reasoning()
        finally:
            _end(writer, answer, terminal)


def _end(writer: _Painter | _Printer, answer: Answer, terminal: Terminal) -> None:
    try:
        writer.end()
    except RekaError:
        raise
    except Exception:  # a bug of ours must not cost what came
        terminal.write(f"\n{clean(answer.text)}\n")
        raise


class _Printer:
    """Finished blocks only, each once."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._cleaner = Cleaner()
        self._page: Page | None = None

    def begin(self) -> None:
        pass

    def feed(self, text: str) -> None:
        if self._page is None:
            self._page = _page(self._terminal)
        self._page.feed(self._cleaner.feed(text))
        self._put(self._page.frame())

    def aside(self) -> None:
        if self._page:
            self._put(self._page.lift())

    def raise_failure(self) -> None:
        pass

    def end(self) -> None:
        if self._page:
            self._page.feed(self._cleaner.flush())
            self._put(self._page.end())

    def _put(self, text: str) -> None:
        if text:
            self._terminal.write(text)


class _Painter:
    """The screen, painted by a thread of its own, so that a silence of the service shows all that came before it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._cleaner = Cleaner()
        self._came: list[str] = []
        self._page: Page | None = None
        self._changed = threading.Condition()
        self._is_over = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._is_main = threading.current_thread() is threading.main_thread()
        self._settings = contextlib.ExitStack()

    def begin(self) -> None:
        """Import what draws, while the service is waited for."""
        if self._thread is None:
            self._settings.enter_context(_switch_threads_often())
            if self._is_main:
                self._settings.enter_context(_handle_stop_signal(self._stop))
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._thread = thread

    def feed(self, text: str) -> None:
        self.raise_failure()
        with self._changed:
            self._came.append(text)
            self._changed.notify()

    def aside(self) -> None:
        """Make room for a line on stderr, which may be the same screen."""
        with self._changed:
            if self._page:
                self._terminal.write(self._page.lift())
                self._came.append("")  # to be painted again

    def raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def end(self) -> None:
        with self._settings:
            with self._changed:
                self._is_over = True
                self._changed.notify()
            if self._thread:
                self._thread.join()
        self.raise_failure()
        text = self._take_new_text() + self._cleaner.flush()
        if text or self._page:
            self._page = self._page or _page(self._terminal)
            self._page.feed(text)
            self._terminal.write(self._page.end())

    def _run(self) -> None:
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._came or self._is_over, _HEAD_START_S)
            page = _page(self._terminal)
            while not self._is_over:
                began = time.monotonic()
                self._paint(page)
                took_s = time.monotonic() - began
                rest_s = max(_FRAME_S, _REST * took_s) - took_s
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over, rest_s)
                    self._changed.wait_for(lambda: self._came or self._is_over)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is read
            self._failure = error
            if self._is_main and not self._is_over:
                signals.raise_in_main(error)  # who waits for the service would not hear of it

    def _paint(self, page: Page) -> None:
        with self._changed:
            if self._came:
                self._page = page
                page.feed(self._take_new_text())
                self._terminal.write(page.frame(_terminal_info(self._terminal)))

    def _stop(self, number: int, _: object) -> None:
        """At Ctrl-Z, leave the screen to the shell; what is open is painted below what it wrote."""
        with self._changed:
            self.aside()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)  # it is here that the process stops, until `fg`
            signal.signal(number, self._stop)
            self._changed.notify()

    def _take_new_text(self) -> str:
        text, self._came = "".join(self._came), []
        return self._cleaner.feed(text)


@contextlib.contextmanager
def _switch_threads_often() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextlib.contextmanager
def _handle_stop_signal(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Call `handler` at Ctrl-Z, in the main thread, unless somebody else handles it already."""
    number = getattr(signal, "SIGTSTP", None)  # Windows has none
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


def _page(terminal: Terminal) -> Page:
    from rich.console import Console

    from reka_cli.render.markdown.page import Page
    from reka_cli.render.markdown.style import Palette

    console = Console() if terminal.is_screen else Console(color_system=None, force_terminal=False)
    return Page(Palette(console), _terminal_info(terminal))


def _terminal_info(terminal: Terminal) -> TerminalInfo:
    from reka_cli.render.markdown.page import TerminalInfo

    columns, rows = terminal.size()
    return TerminalInfo(columns, rows, repaints=terminal.repaints, reflows=True)
