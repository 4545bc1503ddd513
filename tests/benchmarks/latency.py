"""From the moment an event is sent until it stands in the pipe behind the command, beside what curl takes for it."""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import Row, Section
from benchmarks.commands import Commands
from benchmarks.processes import Command, row, serving, start

_RATE = 200  # events a second
_SENT_AT = re.compile(rb"(\d{10,19});")
_FIRST = 20  # events that are not counted: the command is still busy with its start
_PATHS = {"API": "v1/chat/completions", "web session": "api/chat"}


def measure(*, quick: bool) -> Section:
    """Run curl and our command in turns, on both protocols and in both framings."""
    seconds, rounds = (1, 2) if quick else (3, 5)
    found, lines = [], ["| | curl: p50, p99, ms | `ask`: p50, p99, ms |", "| --- | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        commands = Commands(server, Path(folder))
        for protocol, path in _PATHS.items():
            for framing in ("chunked", "close"):
                course = f"n={_RATE * seconds},rate={_RATE},te={framing},text=times"
                ask = commands.api(course) if protocol == "API" else commands.web(course)
                pairs = [
                    (_delays(commands.curl(course, path)), _delays(ask)) for _ in range(rounds)
                ]
                found += _rows(
                    f"{protocol}, {'chunks' if framing == 'chunked' else 'closing'}", pairs
                )
                shown = [
                    f"{_middle(side, 50):.2f}, {_middle(side, 99):.2f}"
                    for side in zip(*pairs, strict=True)
                ]
                lines.append(f"| {found[-1].goal.partition(':')[0]} | {' | '.join(shown)} |")
    return Section(found, ["\n".join(lines)])


def _rows(name: str, pairs: list[tuple[list[float], list[float]]]) -> list[Row]:
    def added(percentile: int) -> list[float]:
        return [_percentile(ask, percentile) - _percentile(curl, percentile) for curl, ask in pairs]

    return [
        row(f"{name}: p50 of the delay over curl's, {_RATE} events/s", 0.5, "ms", added(50)),
        row(f"{name}: p99 of the delay over curl's, {_RATE} events/s", 8, "ms", added(99)),
    ]


def _middle(rounds: tuple[list[float], ...], percentile: int) -> float:
    return statistics.median(_percentile(one, percentile) for one in rounds)


def _percentile(delays: list[float], percentile: int) -> float:
    return statistics.quantiles(delays, n=100)[percentile - 1]


def _delays(command: Command) -> list[float]:
    """Give, in milliseconds, how long each event took; an event counts when its time is seen for the first time."""
    seen: dict[bytes, float] = {}
    held = b""
    with start(command) as process:
        assert process.stdout
        while block := os.read(process.stdout.fileno(), 1 << 20):
            now = time.monotonic_ns()
            held += block
            for match in _SENT_AT.finditer(held):
                seen.setdefault(match[1], (now - int(match[1])) / 1e6)
            held = held[-19:].rpartition(b";")[2]
    return list(seen.values())[_FIRST:]
