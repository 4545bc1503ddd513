"""Lines to what a terminal is sent: only what changed, and never above what it can still reach."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from reka_cli.render.markdown.lines import cells
from reka_cli.render.markdown.style import RESET

ScreenLines = Sequence[str]

_ERASE = "\r\x1b[J"  # from the begin of this line to the end of the screen
_BEGIN_FRAME, _END_FRAME = (
    "\x1b[?2026h",
    "\x1b[?2026l",
)  # a terminal that knows them shows all between at once
_SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """Knows what is on the screen of the lines that may still change; the cursor is at the end of the last one.

    Lines above `reach` from the bottom are never addressed: they may have left the screen. Where one of them turns out
    to be another, it is shown once more rather than lost. What stands above the first line is never touched.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.reach = max(1, rows - 1)  # lines
        self._shown: ScreenLines = []
        self._gone = 0  # of these lines, so many are out of reach
        self._is_fresh = True  # the cursor is at the begin of an empty line
        self.erased = 0  # lines, for those who count

    def paint(self, finished: ScreenLines, open_: ScreenLines) -> str:
        """Give what makes the screen show finished lines, which are forgotten then, and open ones below."""
        wanted, shown = [*finished, *open_], self._shown
        same = min(self._gone, len(wanted))
        while same < len(shown) and same < len(wanted) and shown[same] == wanted[same]:
            same += 1
        if (changed := self._changed_out_of_reach(finished)) is not None:
            out = (
                _BEGIN_FRAME
                + self._erase(len(shown) - self._gone)
                + self._below(wanted[changed:])
                + _END_FRAME
            )
            self._gone = 0
        elif same == len(shown):
            out = self._below(wanted[same:])
        elif same == len(shown) - 1 < len(wanted) and _body(wanted[same]).startswith(
            _body(shown[same])
        ):
            out = _more(shown[same], wanted[same]) + self._below(wanted[same + 1 :])
        else:
            out = (
                _BEGIN_FRAME
                + self._erase(len(shown) - max(same, self._gone))
                + self._below(wanted[same:])
                + _END_FRAME
            )
        there = [*shown[: self._gone], *wanted[self._gone :]]
        self._gone = max(max(self._gone, len(wanted) - self.reach) - len(finished), 0)
        self._shown = there[len(finished) :]
        return out

    def lift(self) -> str:
        """Give what takes the open lines off the screen, so that something else can be said in their place."""
        lines = len(self._shown) - self._gone
        out = self._erase(lines) if lines else "" if self._is_fresh else "\n"
        self._shown, self._gone, self._is_fresh = [], 0, True
        return out

    def resize(self, columns: int, rows: int, *, reflows: bool) -> str:
        """Give what takes the open lines off a screen that has another size now.

        A terminal that `reflows` has broken lines that are now too long for it.
        """
        if (columns, max(1, rows - 1)) == (self.columns, self.reach):
            return ""
        width = columns if reflows else self.columns
        lines = self._shown[self._gone :]
        high = sum(max(1, math.ceil(cells(_text(line)) / width)) for line in lines)
        self.columns, self.reach = columns, max(1, rows - 1)
        out = self._erase(min(high, self.reach)) if lines else ""
        self._shown, self._gone = [], 0
        return out

    def end(self) -> str:
        """Give what leaves the cursor at the begin of a new line."""
        out = "" if self._is_fresh else "\n"
        self._is_fresh = True
        return out

    def _changed_out_of_reach(self, finished: ScreenLines) -> int | None:
        """Give the first line that is final and not what stands where it should: it has to be shown again."""
        lines = zip(range(self._gone), finished, self._shown, strict=False)
        return next((index for index, line, shown in lines if _text(line) != _text(shown)), None)

    def _erase(self, lines: int) -> str:
        self.erased += lines
        self._is_fresh = True
        return (f"\x1b[{lines - 1}A" if lines > 1 else "") + _ERASE

    def _below(self, lines: ScreenLines) -> str:
        if not lines:
            return ""
        before = "" if self._is_fresh else "\n"
        self._is_fresh = False
        return before + "\n".join(lines)


def _text(line: str) -> str:
    return _SEQUENCE.sub("", line)


def _body(line: str) -> str:
    return line.removesuffix(RESET)


def _more(shown: str, wanted: str) -> str:
    """Give what makes a longer line of a line, at its end."""
    more = _body(wanted)[len(_body(shown)) :]
    if not more:
        return ""
    styles = _SEQUENCE.findall(shown) if shown.endswith(RESET) else []
    return (styles[-2] if styles else "") + wanted[len(_body(shown)) :]
