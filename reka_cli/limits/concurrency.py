"""How many requests may be on their way at once, adapted to the rate limits that the service reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST_PAUSES = 20  # in a row: longer than a quarter of an hour without Retry-After

_FIRST_PAUSE_S = 1.0  # after a rate limit without Retry-After
_LONGEST_PAUSE_S = 60.0
_LONGEST_WAIT_S = 1.0  # between two looks whether the run is to stop


class Slot:
    """The permission to send one request; it knows when it was taken."""

    def __init__(self, taken_at_s: float) -> None:
        self.taken_at_s = taken_at_s


class AdaptiveLimit:
    """Allows up to `ceiling` requests at once, fewer after a rate limit; safe from many threads.

    Additive increase, multiplicative decrease, as in TCP: a rate limit halves the number once,
    however many requests run into it; as many successes as there are slots add one. After a rate
    limit nothing is sent for as long as the service asks.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceiling = ceiling
        self._allowed = ceiling
        self._in_use = 0
        self._successes = 0
        self._resumes_at_s = 0.0
        self._changed_at_s = -1.0
        self._pauses = 0
        self._clock = clock
        self._condition = threading.Condition()

    @property
    def allowed(self) -> int:
        """The number of requests that may be on their way now."""
        return self._allowed

    @property
    def in_use(self) -> int:
        return self._in_use

    @property
    def pauses_in_a_row(self) -> int:
        """How often a rate limit was met since the last success."""
        return self._pauses

    def take(self, should_stop: Callable[[], bool]) -> Slot | None:
        """Wait for a slot and take it. Returns None as soon as `should_stop()`."""
        with self._condition:
            while not should_stop():
                pause_s = self._resumes_at_s - self._clock()
                if pause_s <= 0 and self._in_use < self._allowed:
                    self._in_use += 1
                    return Slot(self._clock())
                wait_s = min(pause_s, _LONGEST_WAIT_S) if pause_s > 0 else _LONGEST_WAIT_S
                self._condition.wait(wait_s)
        return None

    def succeed(self, slot: Slot) -> None:
        """Return a slot whose request the service accepted."""
        with self._condition:
            self._release()
            if slot.taken_at_s < self._changed_at_s:
                return  # sent before the limit: it says nothing about the time since
            self._pauses = 0
            self._successes += 1
            if self._successes >= self._allowed and self._allowed < self.ceiling:
                self._allowed += 1
                self._successes = 0

    def fail(self) -> None:
        """Return a slot whose request failed for a reason that has nothing to do with the rate."""
        with self._condition:
            self._release()

    def back_off(self, slot: Slot, retry_after_s: float | None) -> None:
        """Return a slot whose request ran into a rate limit, and pause all requests."""
        with self._condition:
            self._release()
            now = self._clock()
            if slot.taken_at_s >= self._changed_at_s:
                self._changed_at_s = now
                self._allowed = max(1, self._allowed // 2)
                self._successes = 0
                self._pauses += 1
            pause_s = retry_after_s
            if pause_s is None:
                pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._pauses - 1, 6), _LONGEST_PAUSE_S)
            self._resumes_at_s = max(self._resumes_at_s, now + pause_s)

    def wake(self) -> None:
        """Let the threads that wait for a slot look whether they should stop."""
        with self._condition:
            self._condition.notify_all()

    def _release(self) -> None:
        self._in_use -= 1
        self._condition.notify()
