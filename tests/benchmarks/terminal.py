"""A terminal on which an answer in Markdown streams in: what keeps up with it, and at what cost."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import Row, Section
from benchmarks.commands import Commands
from benchmarks.environments import clean
from benchmarks.processes import Command, reap, row, serving

_RATE = 100  # events a second, of four characters
_SIZE = (24, 80)


@dataclass(frozen=True)
class _Shown:
    """Of one process: seconds until its end, seconds of CPU, and what it wrote."""

    wall_s: float
    cpu_s: float
    written: int


def measure(*, quick: bool) -> Section:
    """Run our command and the peers in turns, each on a terminal of its own."""
    events, rounds = (100, 1) if quick else (1_000, 3)
    course = f"n={events},rate={_RATE},text=markdown"
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        commands = Commands(server, Path(folder))
        wanted = {
            "reka-cli ask": commands.api(course),
            "reka-cli ask -f text": commands.api(course, "-f", "text"),
            "llm": commands.llm(course),
            "sgpt": commands.sgpt(course),
        }
        shown: dict[str, list[_Shown]] = {name: [] for name in wanted}
        for _ in range(rounds):
            for name, command in wanted.items():
                shown[name].append(_show(command))
    return Section(_rows(shown, events), [_table(shown, events)])


def _rows(shown: dict[str, list[_Shown]], events: int) -> list[Row]:
    ours = shown["reka-cli ask"]

    def beside(peer: str) -> Sequence[float]:
        return [one.cpu_s / other.cpu_s for one, other in zip(ours, shown[peer], strict=True)]

    behind_s = [one.wall_s - events / _RATE for one in ours]
    return [
        row(
            "`ask`: how much longer than the stream it takes, its own start included",
            0.5,
            "s",
            behind_s,
        ),
        row(
            "`ask`, Markdown painted as it comes: CPU / llm, which writes plain text",
            0.6,
            "x",
            beside("llm"),
        ),
        row(
            "`ask`, Markdown painted as it comes: CPU / sgpt, which paints it too",
            0.2,
            "x",
            beside("sgpt"),
        ),
    ]


def _table(shown: dict[str, list[_Shown]], events: int) -> str:
    lines = [
        f"| {events * 4 // 1000} KB of Markdown in {events / _RATE:.0f} s, 80 x 24 | time, s | CPU, s | KB written |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, of in shown.items():
        middle = sorted(of, key=lambda one: one.cpu_s)[len(of) // 2]
        lines.append(
            f"| {name} | {middle.wall_s:.1f} | {middle.cpu_s:.2f} | {middle.written / 1e3:.0f} |"
        )
    return "\n".join(lines)


def _show(command: Command) -> _Shown:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    env = {**clean(), "TERM": "xterm-256color", **command.env}
    started = time.monotonic()
    process = subprocess.Popen(
        command.words, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    written = 0
    while block := _read(ours):
        written += len(block)
    os.close(ours)
    used = reap(process)
    return _Shown(time.monotonic() - started, used.ru_utime + used.ru_stime, written)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""
