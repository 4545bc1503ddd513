"""What the documents promise of speed and memory, measured: `scripts/bench`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One promise: `value`, the middle of what was measured, is to be at most `limit`.

    `spread` is the first and the third quartile.
    """

    goal: str
    value: float
    limit: float
    unit: str
    spread: tuple[float, float] | None = None

    @property
    def is_met(self) -> bool:
        return self.value <= self.limit


@dataclass(frozen=True)
class Section:
    """What one module measured: its promises, and tables (Markdown) of what they were worked out from."""

    rows: list[Row]
    tables: list[str] = field(default_factory=list)
