"""Files that several processes change: replaced whole, under a lock."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from reka_cli.interruption import in_time

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)

_POSIX = os.name == "posix"
_LONGEST_LOCK_S = 10.0  # a change takes milliseconds; a stopped process holds the lock for ever


def replace(path: Path, text: str) -> None:
    """Put a file in place whole, for its owner alone from the first moment; hold the lock while you do."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # left by a process that was killed
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; raise OSError if it cannot be had within ten seconds."""
    if not _POSIX:
        yield  # os.replace alone keeps the file whole; the last writer wins
        return
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int) -> None:
    import fcntl

    try:
        in_time(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX), _LONGEST_LOCK_S)
    except TimeoutError as error:
        raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock") from error
