"""A terminal of the tests: what is left on its screen and above it."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyte
from rich.console import Console

from reka_cli.render.markdown.page import Page, TerminalInfo
from reka_cli.render.markdown.style import Palette


class Emulator:
    """A terminal with a scrollback that forgets nothing."""

    def __init__(self, columns: int, rows: int) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=1_000_000)
        self._stream = pyte.Stream(self._screen)

    def feed(self, text: str) -> None:
        self._stream.feed(
            text.replace("\r\n", "\n").replace("\n", "\r\n")
        )  # as the line discipline does

    @property
    def screen(self) -> list[str]:
        # `display` of pyte visits every cell: seconds for the tall screens that are mostly empty
        written = self._screen.buffer
        return [
            self._text(written[row]) if row in written else "" for row in range(self._screen.lines)
        ]

    @property
    def everything(self) -> list[str]:
        """Scrollback and screen, without the empty lines at the end."""
        lines = [*map(self._text, self._screen.history.top), *self.screen]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _text(self, line: Mapping[int, pyte.screens.Char]) -> str:
        end = min(self._screen.columns, max(line, default=-1) + 1)
        return "".join(line[column].data for column in range(end)).rstrip()

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)


def palette(colors: str | None = "truecolor") -> Palette:
    """The styles of a terminal with so many colors; None is a pipe."""
    if colors is None:
        return Palette(Console(file=io.StringIO(), color_system=None))
    return Palette(Console(file=io.StringIO(), force_terminal=True, color_system="truecolor"))


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def at_once(text: str, columns: int) -> list[str]:
    """The lines of an answer that came whole."""
    page, emulator = Page(palette(), TerminalInfo(columns, 1000)), Emulator(columns, 1000)
    page.feed(text)
    emulator.feed(page.end())
    return emulator.everything


def streamed(text: str, columns: int, rows: int, size: int = 1) -> list[str]:
    """The lines that are left of an answer that came in pieces, a frame each."""
    page, emulator = Page(palette(), TerminalInfo(columns, rows)), Emulator(columns, rows)
    for piece in pieces(text, size):
        page.feed(piece)
        emulator.feed(page.frame())
    emulator.feed(page.end())
    return emulator.everything
