"""Rate limits that all processes of a user share: what one of them is told, the others honor too."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reka_cli.files import hold_lock, read_state, replace_state
from reka_cli.limits.deadline import Deadline

# what is limited -> "until" (no request before) and "turn" (when the next one may be sent)
RateLimits = dict[str, dict[str, float]]

_APART_S = 0.25  # between two requests after a limit, so that a new limit stops those that follow
_REMEMBERED_S = 30.0  # how long after a limit requests keep apart
_LONGEST_S = 3600.0  # after an hour a service is asked again, whatever it wanted
_LONGEST_LOCK_S = 1.0  # a stopped process may hold the lock for ever; sharing is not worth more


class SharedRateLimits:
    """The rate limits in `limits.json` of `folder`. Where it cannot be read, there are none.

    What is limited is named by a key, such as a base URL. Times in the file are seconds since the
    epoch, because processes share no other clock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "limits.json"

    @property
    def is_empty(self) -> bool:
        """Whether no service has set a limit lately."""
        return not self._path.exists()

    def record_limit(self, key: str, wait_s: float, deadline: Deadline) -> None:
        """Let every process wait for `wait_s` seconds, if that can be written by `deadline`."""
        until = time.time() + min(wait_s, _LONGEST_S)
        with contextlib.suppress(OSError), self._changing(deadline) as limits:
            known = limits.get(key, {"until": 0.0, "turn": 0.0})
            limits[key] = {**known, "until": max(until, known["until"])}

    def take_turn_s(self, keys: Iterable[str], deadline: Deadline) -> float:
        """Take the next turn and return the seconds until then; 0.0 without a limit.

        Where the turn cannot be written by `deadline`, the result is the limit itself.
        """
        keys = tuple(keys)
        if not self._path.is_file():
            return 0.0
        with contextlib.suppress(OSError), self._changing(deadline) as limits:
            now = time.time()
            known = [(key, limits[key]) for key in keys if key in limits]
            turn = max([now, *(max(limit.values()) for _, limit in known)])
            for key, limit in known:
                limits[key] = {**limit, "turn": turn + _APART_S}
            return turn - now
        return self.remaining_wait_s(keys)

    def remaining_wait_s(self, keys: Iterable[str]) -> float:
        """Return the seconds for which the service wants no request; 0.0 if it accepts them."""
        limits = _read(self._path)
        untils = [limits[key]["until"] for key in keys if key in limits]
        return max(0.0, max(untils, default=0.0) - time.time())

    @contextlib.contextmanager
    def _changing(self, deadline: Deadline) -> Iterator[RateLimits]:
        """Yield the limits, and write them back. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._folder / "limits.lock"
        with hold_lock(lock, deadline.sooner(_LONGEST_LOCK_S)):
            limits = _read(self._path)
            yield limits
            if limits:
                replace_state(self._path, json.dumps(limits))
            else:  # once they are over, a question costs no write
                self._path.unlink(missing_ok=True)


def _read(path: Path) -> RateLimits:
    try:
        content = json.loads(read_state(path))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: limit for key, limit in content.items() if _is_current(limit)}


def _is_current(limit: Any) -> bool:
    """Whether it is a limit of our time: a clock that was set back must not make us wait."""
    if not isinstance(limit, dict):
        return False
    until, turn = limit.get("until"), limit.get("turn")
    if not isinstance(until, float) or not isinstance(turn, float):
        return False
    now = time.time()
    return until + _REMEMBERED_S > now and max(until, turn) < now + 2 * _LONGEST_S
