"""CPU time of an answer against its number of events."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import Row, Section
from benchmarks.commands import Commands
from benchmarks.processes import Costs, cpu, in_turns, serving

_FEW, _MANY = 200, 20_000
_HALF, _WHOLE = 2_000, 4_000


def measure(*, quick: bool) -> Section:
    """Run short and long answers in turns."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        commands = Commands(server, Path(folder))
        wanted = {
            f"`ask`, API, {_FEW:,} events": commands.api(f"n={_FEW}"),
            f"`ask`, API, {_MANY:,} events": commands.api(f"n={_MANY}"),
            f"curl, API, {_MANY:,} events": commands.curl(f"n={_MANY}"),
            "`ask`, web session, 1 event": commands.web("n=1"),
            f"`ask`, web session, {_HALF:,} events": commands.web(f"n={_HALF}"),
            f"`ask`, web session, {_WHOLE:,} events": commands.web(f"n={_WHOLE}"),
        }
        costs = in_turns(wanted, 5 if quick else 15, server)
    return Section(_rows(costs), [_table(costs)])


def _rows(costs: Costs) -> list[Row]:
    # CPU time is never less than what it takes: the least of all rounds has the least of other work in it
    few, many, _, one, half, whole = (min(map(cpu, of)) for of in costs.values())
    return [
        Row(
            f"API: CPU for an event, from {_FEW:,} to {_MANY:,} of them",
            (many - few) / (_MANY - _FEW) * 1e3,
            25,
            "µs",
        ),
        Row(
            f"web session, text so far in each event: CPU of {_WHOLE:,} / {_HALF:,} of them",
            (whole - one) / (half - one),
            4.5,
            "x",
        ),
    ]


def _table(costs: Costs) -> str:
    lines = ["| | CPU, ms, least |", "| --- | ---: |"]
    return "\n".join(
        [*lines, *(f"| {name} | {min(map(cpu, of)):.0f} |" for name, of in costs.items())]
    )
