"""Until when: one moment that bounds standard input, waits and requests alike."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from reka_cli.errors import DeadlineExceeded, UsageError

T = TypeVar("T")

LONGEST_S = 7 * 86_400.0  # sockets take no arbitrarily large timeout


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock, and the seconds it was set to."""

    total_s: float
    ends_at: float

    @classmethod
    def after(cls, total_s: float) -> Deadline:
        """Set a deadline `total_s` seconds from now; raise UsageError unless that is more than nothing."""
        if not 0 < total_s <= LONGEST_S:
            raise UsageError(f"a timeout must be more than 0 and at most {LONGEST_S:.0f} seconds, not {total_s:g}")
        return cls(total_s, time.monotonic() + total_s)

    def sooner(self, within_s: float) -> Deadline:
        """Give the deadline for a part: this one, or `within_s` from now if that is sooner."""
        ends_at = min(self.ends_at, time.monotonic() + within_s)
        return Deadline(min(self.total_s, within_s), ends_at)

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.ends_at

    def remaining_s(self) -> float:
        """Give the seconds left; raise DeadlineExceeded when there are none."""
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise self.error()
        return left_s

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no whole answer within {self.total_s:g} s", hint="--timeout SECONDS allows more time")


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


@contextlib.contextmanager
def breaking_off(deadline: Deadline) -> Iterator[None]:
    """Raise DeadlineExceeded in the middle of what lets no other thread run, such as a search for a pattern.

    It takes an alarm, which only the main thread can have, and not on Windows.
    """
    import signal

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "SIGALRM") or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def break_off(*_: object) -> None:
        raise deadline.error()

    signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, deadline.remaining_s())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def in_time(work: Callable[[], T], within_s: float) -> T:
    """Do what cannot be interrupted (a name lookup, opening a pipe) in a thread; raise TimeoutError if it takes longer.

    The thread is then left behind; it does not keep the interpreter from ending.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is due
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=within_s)
    except queue.Empty:
        raise TimeoutError from None
    if error:
        raise error
    return result  # type: ignore[return-value]
