"""What was measured, as a table for a terminal and as docs/performance.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import Row, Section
from benchmarks.environments import ROOT, versions

DOCUMENT = ROOT / "docs/performance.md"
_BEGIN = "<!-- from here on scripts/bench --write puts what it measured -->\n"


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Give the promises as lines of text, with their verdicts."""
    width = max((len(row.goal) for row in rows), default=0)
    for row in rows:
        verdict = "ok" if row.is_met else "MISS"
        yield f"{verdict:4} {row.goal:{width}} {_number(row.value):>8} {_spread(row):>17}  <= {row.limit:g} {row.unit}"


def write(sections: Mapping[str, Section], load: float) -> None:
    """Put the results in place of those of the last run; the prose in front of them stays."""
    prose = DOCUMENT.read_text().partition(_BEGIN)[0]
    parts = [f"\nMeasured on {time.strftime('%Y-%m-%d')}: {_machine(load)}.\n{_versions()}\n"]
    for name, section in sections.items():
        parts += [
            f"\n## {name.capitalize()}\n\n{_table(section.rows)}\n",
            *(f"\n{table}\n" for table in section.tables),
        ]
    DOCUMENT.write_text(prose + _BEGIN + "".join(parts))


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| goal | measured | half of all rounds | at most | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        verdict = "ok" if row.is_met else "missed"
        lines.append(
            f"| {row.goal} | {_number(row.value)} | {_spread(row)} | {row.limit:g} {row.unit} | {verdict} |"
        )
    return "\n".join(lines)


def _number(value: float) -> str:
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _spread(row: Row) -> str:
    return " to ".join(map(_number, row.spread)) if row.spread else ""


def _machine(load: float) -> str:
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [
        line.partition(":")[2].strip()
        for line in described.splitlines()
        if line.startswith("model name")
    ]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} × {models[0] if models else 'unknown'}, "
        f"{memory_gib:.0f} GiB, CPython {platform.python_version()}; {load:.1f} processes at work when it began"
    )


def _versions() -> str:
    return ", ".join(f"{name} {version}" for name, version in versions().items()) + "."
