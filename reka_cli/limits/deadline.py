"""Until when: one moment that bounds standard input, waits and requests alike."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from reka_cli.errors import DeadlineExceeded, UsageError

MAX_SECONDS = 7 * 86_400.0  # sockets take no arbitrarily large timeout


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock, and the seconds it was set to.

    `late` and `hint` are for the error when it has passed.
    """

    total_s: float
    ends_at: float
    late: str = "no whole answer"
    hint: str | None = "--timeout SECONDS allows more time"

    @classmethod
    def after(cls, total_s: float) -> Deadline:
        """Set a deadline `total_s` seconds from now; raise UsageError unless that is more than nothing."""
        if not 0 < total_s <= MAX_SECONDS:
            raise UsageError(
                f"a timeout must be more than 0 and at most {MAX_SECONDS:.0f} seconds, not {total_s:g}"
            )
        return cls(total_s, time.monotonic() + total_s)

    def sooner(self, within_s: float) -> Deadline:
        """Return the deadline for a part: this one, or `within_s` from now if that is sooner."""
        ends_at = time.monotonic() + within_s
        if ends_at >= self.ends_at:
            return self
        # more time for the whole would not be more for the part
        return Deadline(within_s, ends_at, self.late, hint=None)

    def with_message(self, late: str) -> Deadline:
        """Return the same deadline with another beginning of its error."""
        return replace(self, late=late)

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self.ends_at

    def remaining_s(self) -> float:
        """Return the seconds left. Raises DeadlineExceeded if none are left."""
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise self.error()
        return left_s

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self.late} within {self.total_s:g} s", hint=self.hint)
