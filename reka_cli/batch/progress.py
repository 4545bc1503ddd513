"""How far a batch is: a bar on a terminal, else a line now and then; and the summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from reka_cli.batch.outputs import format_cost
from reka_cli.escapes import one_line

FRAME_S = 0.25
_LINE_S = 30.0
_EXAMPLES = 3  # sources of each kind of failure in the summary


@dataclass
class Counts:
    """What became of the rows. One thread writes, others read."""

    planned: int = 0
    answered: int = 0  # asked in this run
    reused: int = 0  # answered by an earlier run, or the same question as another row
    failed: int = 0
    skipped: int = 0  # not part of the plan: there is a sidecar of somebody else
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        return self.answered + self.reused + self.failed

    def add_failure(self, error: dict[str, Any], source: str) -> None:
        self.failed += 1
        kind = error["code"]
        self.failures[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            message = one_line(error["message"], 200)
            examples.append(f"{one_line(source, 100)}: {message}")


class Progress:
    """Shows how far a run is. `update` is called every FRAME_S, from one thread."""

    def __init__(self, *, quiet: bool) -> None:
        self._started_at = time.monotonic()
        self._last_line_at = self._started_at
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None

    def start(self, planned: int, done: int) -> None:
        if self._quiet or sys.stderr is None or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=planned, completed=done, text="")

    def update(self, counts: Counts, in_flight: int, cost_usd: float) -> None:
        if self._bar:
            text = self._text(counts, in_flight, cost_usd)
            self._bar.update(self._task, completed=counts.done, text=text)
            self._bar.refresh()
        elif not self._quiet and time.monotonic() - self._last_line_at >= _LINE_S:
            self._last_line_at = time.monotonic()
            text = self._text(counts, in_flight, cost_usd)
            _print(f"{counts.done} of {counts.planned} rows: {text}")

    def stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._quiet:
            return
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            _print(text)

    def summarize(self, counts: Counts, cost_usd: float) -> None:
        """Print what became of the rows."""
        if self._quiet:
            return
        parts = [f"{counts.answered} answered"]
        left = counts.planned - counts.done
        more = {"reused": counts.reused, "failed": counts.failed, "left": left}
        parts += [f"{count} {what}" for what, count in more.items() if count]
        if counts.skipped:
            parts.append(f"{counts.skipped} skipped (their sidecar is not from a batch)")
        seconds = time.monotonic() - self._started_at
        text = f"{', '.join(parts)} in {seconds:.1f} s"
        if cost_usd:
            text += f", {format_cost(round(cost_usd, 6))} USD"
        _print(text)
        for kind, count in counts.failures.most_common():
            _print(f"failed with {kind}: {count}")
            for example in counts.examples[kind]:
                _print(f"  {example}")

    def _text(self, counts: Counts, in_flight: int, cost_usd: float) -> str:
        seconds = max(time.monotonic() - self._started_at, 0.001)
        parts = [f"{counts.failed} failed, {in_flight} in flight"]
        parts.append(f"{counts.answered / seconds:.1f}/s")
        if cost_usd:
            parts.append(f"{format_cost(round(cost_usd, 4))} USD")
        return ", ".join(parts)


def _print(text: str) -> None:
    from reka_cli.terminal import print_to_stderr

    print_to_stderr(text)
