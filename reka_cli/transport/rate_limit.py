"""A rate limit that one process was told is kept by all of the user's processes, so that they do not stampede."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reka_cli.files import hold_lock, read_state, replace_state

RateLimits = dict[
    str, dict[str, float]
]  # base URL -> "until" (no request before) and "turn" (the next one's)

_APART_S = 0.25  # between two requests after a limit: who comes later hears of the next limit first
_REMEMBERED_S = 30.0  # how long after a limit requests keep apart
_LONGEST_S = 3600.0  # what a service asks for beyond that is asked again


class SharedRateLimits:
    """The limits that services asked for, in one file of `folder`; where it cannot be kept there are none.

    Times are seconds since the epoch, for that is the clock that processes share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "limits.json"

    @property
    def is_empty(self) -> bool:
        """Whether no service asked for a limit lately."""
        return not self._path.exists()

    def record_limit(self, base_url: str, wait_s: float) -> None:
        """Keep that the service wants no request for `wait_s` seconds."""
        until = time.time() + min(wait_s, _LONGEST_S)

        def change(limits: RateLimits) -> None:
            known = limits.get(base_url, {"until": 0.0, "turn": 0.0})
            limits[base_url] = {**known, "until": max(until, known["until"])}

        self._change(change)

    def take_turn_s(self, base_url: str) -> float:
        """Take the next turn and give the seconds until then; 0.0 where there was no limit of late."""
        waits = [0.0]

        def change(limits: RateLimits) -> None:
            if known := limits.get(base_url):
                now = time.time()
                turn = max(now, known["until"], known["turn"])
                limits[base_url] = {**known, "turn": turn + _APART_S}
                waits.append(turn - now)

        if self._path.is_file():
            self._change(change)
        return waits[-1]

    def remaining_wait_s(self, base_url: str) -> float:
        """Give the seconds for which the service wants no request; 0.0 if it takes them."""
        known = _read(self._path).get(base_url)
        return max(0.0, known["until"] - time.time()) if known else 0.0

    def _change(self, change: Callable[[RateLimits], None]) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with hold_lock(self._folder / "limits.lock"):
                limits = _read(self._path)
                change(limits)
                if limits:
                    replace_state(self._path, json.dumps(limits))
                else:  # once they are over, a question costs no write
                    self._path.unlink(missing_ok=True)


def _read(path: Path) -> RateLimits:
    try:
        content = json.loads(read_state(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return (
        {url: one for url, one in content.items() if _is_current(one)}
        if isinstance(content, dict)
        else {}
    )


def _is_current(one: Any) -> bool:
    """Whether it is a limit, of our time: a clock that was set back must not make us wait for ever."""
    if not isinstance(one, dict) or not all(
        isinstance(one.get(key), float) for key in ("until", "turn")
    ):
        return False
    now = time.time()
    until, turn = one["until"], one["turn"]
    return bool(until + _REMEMBERED_S > now and max(until, turn) < now + 2 * _LONGEST_S)
