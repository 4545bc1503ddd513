"""Run the sections, print every promise with its verdict, and exit 1 if one is missed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import import_module

from benchmarks import report

SECTIONS = (
    "startup",
    "events",
    "latency",
    "growth",
    "live",
    "terminal",
    "images",
    "threads",
    "batch",
)


def main() -> int:
    """Measure what the command line names, everything unless it names something."""
    options = _options()
    load = os.getloadavg()[0]
    measured = {}
    for name in options.sections or SECTIONS:
        started = time.monotonic()
        measured[name] = import_module(f"benchmarks.{name}").measure(quick=options.quick)
        sys.stdout.write(f"# {name}, {time.monotonic() - started:.0f} s\n")
        sys.stdout.writelines(f"{line}\n" for line in report.lines(measured[name].rows))
        sys.stdout.flush()
    if options.write:
        report.write(measured, load)
    missed = sum(not row.is_met for section in measured.values() for row in section.rows)
    sys.stdout.write(f"{missed} missed\n" if missed else "all met\n")
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, under three minutes; noisier"
    )
    parser.add_argument(
        "--write", action="store_true", help=f"put the results into {report.DOCUMENT.name}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
