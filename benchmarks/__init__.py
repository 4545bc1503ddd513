"""What the documents promise of speed and memory, measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One promise: `value` is to be at most `limit`."""

    goal: str
    value: float
    limit: float
    unit: str
