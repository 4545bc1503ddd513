"""How long one question may take, and how often it may be tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from reka_cli.deadline import Deadline


class Pace(Protocol):
    """How often a service wants to be asked, as far as it said so; see `reka_cli.pace`."""

    def learn(self, base_url: str, wait_s: float) -> None: ...

    def turn_s(self, base_url: str) -> float: ...

    def limited_s(self, base_url: str) -> float: ...


@dataclass(frozen=True)
class Limits:
    """How long and how often: `idle_s` is silence once the answer has begun, `retries` come after the first attempt.

    Without `waits_for_limits`, a service that limits how often it is asked is an error at once.
    """

    deadline: Deadline
    idle_s: float = 60.0
    connect_s: float = 10.0
    retries: int = 2
    pace: Pace | None = None
    waits_for_limits: bool = True
