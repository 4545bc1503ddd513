"""Markdown on a terminal while it streams: CPU against the length of an answer, and against Rich alone."""

from __future__ import annotations

import io
import re
import statistics
import time
from collections.abc import Callable, Iterator

import pyte
from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from benchmarks import Row, Section
from benchmarks.markdown import answer
from reka_cli.render.markdown.page import Page, TerminalInfo
from reka_cli.render.markdown.style import Palette

_LOOK = TerminalInfo(80, 24)
_DELTA = 4  # characters: a token
_FRAME = 28  # characters: what a fast model says in a fifteenth of a second
_NAIVE_EVERY = 40


def measure(*, quick: bool) -> Section:
    """Give the promises about live Markdown."""
    rounds = 1 if quick else 5
    small, large = answer(10_000), answer(50_000)
    ours = [_cpu_s(lambda: list(_frames(small))) for _ in range(rounds)]
    ours_large = [_cpu_s(lambda: list(_frames(large))) for _ in range(rounds)]
    once = [_cpu_s(lambda: _console().print(Markdown(small))) for _ in range(rounds)]
    naive_s = _NAIVE_EVERY * _cpu_s(lambda: _naive(small))
    cpu_s = statistics.median(ours)
    missing, stale, hidden = _left(small)
    return Section(
        [
            Row(
                "CPU for 50 KB of Markdown, of that for 10 KB",
                statistics.median(ours_large) / cpu_s,
                6,
                "x",
            ),
            Row(
                "CPU for 10 KB, of that of rendering it once with Rich",
                cpu_s / statistics.median(once),
                10,
                "x",
            ),
            Row(
                "CPU for 10 KB, of that of Rich's Live for each delta", cpu_s / naive_s, 1 / 50, "x"
            ),
            Row(
                "bytes to the terminal, of those of the answer",
                sum(map(len, _frames(small))) / len(small),
                30,
                "x",
            ),
            Row("lines missing at the end", missing, 0, "lines"),
            Row("lines stale or doubled at the end", stale, 0, "lines"),
            Row("frames in which the newest word is out of sight", hidden, 0, "frames"),
        ],
        [
            f"CPU per KB of Markdown at 15 frames a second: {cpu_s * 100:.1f} ms (10 KB, 80 columns)."
        ],
    )


def _frames(text: str) -> Iterator[str]:
    page = Page(Palette(_console()), _LOOK)
    for at in range(0, len(text), _FRAME):
        page.feed(text[at : at + _FRAME])
        yield page.frame()
    yield page.end()


def _naive(text: str) -> None:
    """Render the text so far for one of `_NAIVE_EVERY` deltas: all of them take a minute."""
    with Live(console=_console(), auto_refresh=False) as live:
        for at in range(_DELTA, len(text) + _DELTA, _DELTA * _NAIVE_EVERY):
            live.update(Markdown(text[:at]), refresh=True)


def _left(text: str) -> tuple[int, int, int]:
    """Count lines that are missing and that are too many in the end, and frames without their newest word."""
    screen = pyte.HistoryScreen(_LOOK.columns, _LOOK.rows, history=1_000_000)
    stream = pyte.Stream(screen)
    hidden = 0
    for number, out in enumerate(_frames(text), 1):
        stream.feed(out.replace("\n", "\r\n"))
        words = re.findall(r"[a-z]{3,}(?=[ \n])", text[: number * _FRAME].rpartition("\n")[2])
        hidden += bool(words) and words[-1] not in " ".join(screen.display)
    came = _lines(screen)
    whole = pyte.HistoryScreen(_LOOK.columns, 10_000, history=1)
    page = Page(Palette(_console()), TerminalInfo(_LOOK.columns, 10_000))
    page.feed(text)
    pyte.Stream(whole).feed(page.end().replace("\n", "\r\n"))
    wanted = _lines(whole)
    missing = sum(line not in came for line in wanted)
    return missing, max(0, len(came) - len(wanted)), hidden


def _lines(screen: pyte.HistoryScreen) -> list[str]:
    above = [
        "".join(line[x].data for x in range(screen.columns)).rstrip() for line in screen.history.top
    ]
    lines = [*above, *(line.rstrip() for line in screen.display)]
    return [line for line in lines if line]


def _console() -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=_LOOK.columns, color_system="truecolor"
    )


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
