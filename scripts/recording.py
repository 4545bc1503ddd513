"""Run a command in a terminal of its own and draw what it showed as an SVG that moves; see scripts/docs."""

from __future__ import annotations

import argparse
import os
import pty
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

_FRAME_S = 0.06  # what comes within is one frame
_LAST_S = 4.0  # how long the end stays before it begins again
_TYPING_S = 0.035  # a key
_CELL = (8.4, 18)  # pixels, at a font of 14
_PAD = 14
_INK, _PAPER = "#d0d0d0", "#16181d"
_COLORS = {
    "black": "#5c6370", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef",
    "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#dcdfe4", "default": _INK,
}  # fmt: skip


@dataclass(frozen=True)
class Frame:
    at_s: float
    rows: tuple[str, ...]  # each as SVG


def main() -> None:
    """Record the command after the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="SVG")
    parser.add_argument(
        "--shown", help="the command line as it is shown, if not the one that is run"
    )
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("command", nargs="+", help="after --")
    given = parser.parse_args()
    shown = given.shown or shlex.join(given.command)
    frames = list(recorded(given.command, shown, given.columns, given.rows))
    given.to.write_text(drawn(frames, given.columns, given.rows, shown))


def recorded(command: list[str], shown: str, columns: int, rows: int) -> Iterator[Frame]:
    """Give a frame for each change of the screen: the command line typed, then what the command shows."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    stream.feed(b"$ ")
    now_s = 0.0
    for key in shown:
        yield Frame(now_s, _rows(screen))
        stream.feed(key.encode())
        now_s += _TYPING_S
    stream.feed(b"\r\n")
    for at_s, came in _run(command, columns, rows):
        stream.feed(came)
        yield Frame(now_s + at_s, _rows(screen))
    stream.feed(b"$ ")
    yield Frame(now_s + at_s + 0.3, _rows(screen))


def _run(command: list[str], columns: int, rows: int) -> Iterator[tuple[float, bytes]]:
    """Give what a command writes to its terminal, what comes within a frame together, and when (seconds)."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = os.environ | {"TERM": "xterm-256color", "COLORTERM": ""}
    started = time.monotonic()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:  # noqa: S603
        os.close(theirs)
        came, began_s = b"", 0.0
        while True:
            ready, _, _ = select.select([ours], [], [], _FRAME_S)
            now_s = time.monotonic() - started
            if came and (not ready or now_s - began_s > _FRAME_S):
                yield began_s, came
                came = b""
            if ready:
                try:
                    chunk = os.read(ours, 65_536)
                except OSError:  # Linux says so when the last process has left the terminal
                    chunk = b""
                if not chunk:
                    break
                began_s = began_s if came else now_s
                came += chunk
        if came:
            yield began_s, came
    os.close(ours)
    if process.returncode:
        sys.exit(f"{shlex.join(command)} ended with {process.returncode}")


def _rows(screen: pyte.Screen) -> tuple[str, ...]:
    return tuple(_row(screen.buffer[y], screen.columns) for y in range(screen.lines))


def _row(cells: dict[int, pyte.screens.Char], columns: int) -> str:
    runs: list[tuple[int, str, str]] = []  # column, style, text
    for x in range(columns):
        cell = cells[x]
        style = _style(cell)
        if runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0], style, runs[-1][2] + cell.data)
        else:
            runs.append((x, style, cell.data))
    texts = [
        f'<tspan x="{x * _CELL[0]:g}"{style}>{escape(text.rstrip())}</tspan>'
        for x, style, text in runs
        if text.strip()
    ]
    return "".join(texts)


def _style(cell: pyte.screens.Char) -> str:
    color = _COLORS.get(cell.fg.removeprefix("bright"), f"#{cell.fg}")
    style = "" if color == _INK else f' fill="{color}"'
    style += ' font-weight="bold"' if cell.bold else ""
    style += ' font-style="italic"' if cell.italics else ""
    lines = [
        name
        for name, on in (("underline", cell.underscore), ("line-through", cell.strikethrough))
        if on
    ]
    return style + (f' text-decoration="{" ".join(lines)}"' if lines else "")


def drawn(frames: list[Frame], columns: int, rows: int, title: str) -> str:
    """Give one SVG: every different row once, every frame a strip of them, shown in turn."""
    changes = [
        frame
        for before, frame in zip([None, *frames], frames, strict=False)
        if not before or before.rows != frame.rows
    ]
    total_s = changes[-1].at_s + _LAST_S
    width, height = columns * _CELL[0], rows * _CELL[1]
    kinds = {
        row: f"r{number}"
        for number, row in enumerate(dict.fromkeys(r for f in changes for r in f.rows if r))
    }
    rows_once = "".join(
        f'<text id="{name}" xml:space="preserve">{row}</text>' for row, name in kinds.items()
    )
    strips = "".join(
        f'<g transform="translate(0 {number * height:g})">'
        + "".join(
            f'<use href="#{kinds[row]}" y="{(y + 0.8) * _CELL[1]:g}"/>'
            for y, row in enumerate(frame.rows)
            if row
        )
        + "</g>"
        for number, frame in enumerate(changes)
    )
    steps = "".join(
        f"{100 * frame.at_s / total_s:.3f}%{{transform:translateY({-number * height:g}px)}}"
        for number, frame in enumerate(changes)
    )
    last = -(len(changes) - 1) * height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 2 * _PAD:g} {height + 2 * _PAD:g}" '
        f'width="{width + 2 * _PAD:g}" height="{height + 2 * _PAD:g}" role="img">\n<title>{escape(title)}</title>\n'
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        f"fill:{_INK};white-space:pre}}"
        f"#film{{animation:film {total_s:.2f}s step-end infinite}}"
        f"@keyframes film{{{steps}100%{{transform:translateY({last:g}px)}}}}"
        f"@media (prefers-reduced-motion){{#film{{animation:none;transform:translateY({last:g}px)}}}}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{_PAPER}"/>\n<defs>{rows_once}</defs>\n'
        f'<svg x="{_PAD}" y="{_PAD}" width="{width:g}" height="{height:g}"><g id="film">{strips}</g></svg>\n</svg>\n'
    )


if __name__ == "__main__":
    main()
