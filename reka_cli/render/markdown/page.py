"""An answer on its way to a terminal: text in, one write a frame."""

from __future__ import annotations

from dataclasses import dataclass

from reka_cli.render.markdown.draft import Draft
from reka_cli.render.markdown.screen import Screen
from reka_cli.render.markdown.style import Palette

_TALLEST_APPENDED = (
    200  # lines that are kept back for the sake of a table's columns where nothing can be repainted
)
_PATIENCE = (
    16_384  # characters of a block that is kept back until its end, unless it is taller than that
)


@dataclass(frozen=True)
class TerminalInfo:
    """What the other end is: its size, and what it can do.

    It `repaints` if the cursor can be moved, it `reflows` if it breaks lines anew when it gets narrower.
    """

    columns: int
    rows: int
    repaints: bool = True
    reflows: bool = True


class Page:
    """Lays an answer out and keeps it on the screen; gives what is to be written."""

    def __init__(self, palette: Palette, look: TerminalInfo) -> None:
        self._look = look
        self.screen = Screen(look.columns, look.rows)
        self.draft = Draft(palette, look.columns, self._tallest)
        self._patience = _PATIENCE

    @property
    def _tallest(self) -> int:
        return self.screen.reach if self._look.repaints else _TALLEST_APPENDED

    def feed(self, text: str) -> None:
        """Take new text, without control characters."""
        self.draft.feed(text)

    def frame(self, look: TerminalInfo | None = None) -> str:
        """Give what brings the screen up to date."""
        out = self._resize(look) if look else ""
        finished = self.draft.take_finished()
        return out + self.screen.paint(finished, self._open(finished))

    def lift(self) -> str:
        """Give what takes the open lines off the screen until the next frame, so that something else can be said."""
        return self.screen.lift()

    def end(self) -> str:
        """Give the rest of the answer and the end of its last line."""
        return self.screen.paint(self.draft.end(), []) + self.screen.end()

    def _open(self, finished: list[str]) -> list[str]:
        if self._look.repaints:
            return self.draft.open(finished)
        if len(self.draft.text) > self._patience:
            self.draft.open(finished)  # for what it finishes
            self._patience = max(_PATIENCE, 2 * len(self.draft.text))
        return []

    def _resize(self, look: TerminalInfo) -> str:
        if (look.columns, look.rows) == (self._look.columns, self._look.rows):
            return ""
        self._look = look
        out = (
            self.screen.resize(look.columns, look.rows, reflows=look.reflows)
            if look.repaints
            else ""
        )
        self.draft.resize(look.columns, self._tallest)
        return out
