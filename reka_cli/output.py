"""A file that appears, whole, when the answer is: until then what was there before stays as it is."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from reka_cli.errors import BadInput, IncompleteAnswer

_unfinished: set[Path] = set()


def abandon() -> None:
    """Remove what is not finished, where nobody else will: the process is about to end on the spot."""
    for path in tuple(_unfinished):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def named(pattern: str, picture: str | None) -> Path:
    """Fill `{date}`, `{time}` (local) and `{name}` (of the first picture, without its ending) into a path."""
    now = time.localtime()
    name = Path(picture or "answer").stem.replace("/", "_").lstrip(".") or "answer"
    filled = pattern.replace("{date}", time.strftime("%Y-%m-%d", now)).replace("{time}", time.strftime("%H-%M-%S", now))
    return Path(filled.replace("{name}", name))


@contextlib.contextmanager
def put_in_place(path: Path) -> Iterator[int]:
    """Give a descriptor to write to; the file takes its place when the block ends, and is gone when it fails.

    A device or a pipe is written as it is. Raises BadInput before the block if it cannot be written there,
    IncompleteAnswer after it if it could not be kept.
    """
    with _told(path, BadInput):
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            descriptor, temporary = os.open(path, os.O_WRONLY), None
        else:
            target = Path(os.path.realpath(path))  # a symbolic link stays one
            temporary = target.with_name(f".{target.name[:200]}.{os.urandom(4).hex()}")
            _unfinished.add(temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if temporary and mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        yield descriptor
        if temporary:
            with _told(path, IncompleteAnswer):
                os.fsync(descriptor)
                temporary.replace(target)
                _unfinished.discard(temporary)
    finally:
        if temporary in _unfinished:
            temporary.unlink(missing_ok=True)
            _unfinished.discard(temporary)
        os.close(descriptor)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _told(path: Path, kind: type[BadInput | IncompleteAnswer]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise kind(f"cannot write {path}: {(getattr(error, 'strerror', None) or str(error)).lower()}") from error
