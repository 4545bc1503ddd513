"""Files: the one place that reads, writes, replaces and locks them, and words what goes wrong.

`read` takes a file or a pipe. `output_file` is a file of the user's that an answer or a session is
written to. `read_state`, `replace_state` and `hold_lock` are for files that several of our processes
share.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from reka_cli.errors import BadInput, DeadlineExceeded, IncompleteAnswer, RekaError
from reka_cli.escapes import one_line
from reka_cli.limits.deadline import Deadline
from reka_cli.limits.worker_thread import run_in_thread

T = TypeVar("T")
AnyPath = str | os.PathLike[str]

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe does not wait for its other end
_NO_CONTROL = getattr(os, "O_NOCTTY", 0)  # a terminal that is written to does not become ours
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends

_LONGEST_PATH = 300  # characters of it in a message
_LONGEST_LOCK_S = 10.0  # a change takes milliseconds; a stopped process never releases its lock
_LOCK_POLL_S = 0.01
_MOST_LINKS = 40  # as many as Linux follows
_DESCRIPTOR = re.compile(r"0|[1-9][0-9]{0,8}")

_unfinished: set[Path] = set()


# What goes wrong, in the same words everywhere


def show_path(path: AnyPath) -> str:
    """Return a path as one line that is safe to show on a terminal."""
    return one_line(os.fspath(path), _LONGEST_PATH)


def reason(error: OSError | ValueError) -> str:
    """Return what the system says about a failure, beginning in lower case."""
    if "embedded null" in str(error):
        return "embedded null byte"  # what follows differs between releases of Python
    text = getattr(error, "strerror", None) or str(error) or "failed"
    return text[:1].lower() + text[1:]


def read_error(
    path: AnyPath,
    error: OSError | ValueError,
    kind: type[RekaError] = BadInput,
) -> RekaError:
    """Return an error that says why `path` cannot be read."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return kind(f"cannot read {show_path(path)}: {'no such file' if missing else reason(error)}")


def write_error(
    path: AnyPath,
    error: OSError | ValueError,
    kind: type[RekaError] = BadInput,
) -> RekaError:
    """Return an error that says why `path` cannot be written."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return kind(f"cannot write {show_path(path)}: {'no such folder' if missing else reason(error)}")


@contextlib.contextmanager
def translate_read_errors(path: AnyPath, kind: type[RekaError] = BadInput) -> Iterator[None]:
    """Raise `kind` instead of an OSError or ValueError of the block, which reads `path`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise read_error(path, error, kind) from error


@contextlib.contextmanager
def translate_write_errors(path: AnyPath, kind: type[RekaError] = BadInput) -> Iterator[None]:
    """Raise `kind` instead of an OSError or ValueError of the block, which writes `path`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise write_error(path, error, kind) from error


# Reading


def read(
    path: AnyPath,
    most: int,
    deadline: Deadline | None = None,
    kind: type[RekaError] = BadInput,
    *,
    missing_ok: bool = False,
) -> bytes:
    """Return the bytes of a file, pipe or device; `most` + 1 of them if it is larger than `most`.

    A pipe or device is waited for until `deadline`. With `missing_ok`, a file that does not exist
    is empty. Raises `kind` if it cannot be read, DeadlineExceeded if a pipe does not end in time.
    """

    def content() -> bytes:
        with Path(path).open("rb") as file:
            return file.read(most + 1)

    with translate_read_errors(path, kind):
        try:
            is_regular = stat.S_ISREG(Path(path).stat().st_mode)
            return content() if is_regular else wait_for(content, show_path(path), deadline)
        except FileNotFoundError:
            if missing_ok:
                return b""
            raise


def wait_for(work: Callable[[], T], name: str, deadline: Deadline | None) -> T:
    """Return what `work` returns; raise DeadlineExceeded if that takes longer than `deadline`.

    The work, which reads `name`, is left behind in its thread then.
    """
    if deadline is None:
        return work()
    try:
        return run_in_thread(work, deadline.remaining_s())
    except TimeoutError as error:
        message = f"nothing came from {name} within {deadline.total_s:g} s"
        raise DeadlineExceeded(message) from error


def read_state(path: Path) -> bytes:
    """Return the bytes of a file that our processes share; raises OSError.

    Never waits for a pipe, and rejects a file that another user owns or everybody can write.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | NO_FOLLOW | NO_WAIT), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if not is_ours_alone(status, stat.S_IWOTH):
            raise PermissionError(errno.EPERM, "not a file of yours alone")
        return file.read()


def is_ours_alone(status: os.stat_result, others: int) -> bool:
    """Return whether this user owns a file and no one else has one of the permissions `others`.

    Always true on Windows, which has neither: there the user's folders are closed to others.
    """
    if sys.platform != "win32":
        if status.st_uid != os.geteuid() or status.st_mode & others:
            return False
    return True


# Writing


def discard_unfinished() -> None:
    """Remove unfinished files; for a process that is about to end without unwinding."""
    for path in tuple(_unfinished):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def replace_state(path: Path, text: str) -> None:
    """Replace a file that our processes share, readable for its owner only; raises OSError.

    Hold its lock while you do: the temporary file has a fixed name, so that what a killed process
    leaves behind is removed by the next one.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with _replacement(path, temporary, 0o600) as descriptor:
        write_text(descriptor, text)


def write_text(descriptor: int, text: str) -> None:
    """Write a text completely to a descriptor, which stays open; raises OSError."""
    with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(text)


def write_bytes(descriptor: int, data: bytes) -> None:
    """Write bytes completely to a descriptor, which stays open; raises OSError."""
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)


@contextlib.contextmanager
def output_file(path: Path, deadline: Deadline, *, private: bool = False) -> Iterator[int]:
    """Yield a descriptor to write to.

    A regular file is replaced when the block ends and stays as it was when the block fails. It
    keeps its mode, with `private` it is readable for its owner only; a symbolic link stays one.
    A device, a pipe or a descriptor of this process (/dev/fd/N) is written to as it is.

    Raises before the block BadInput if it cannot be written, or DeadlineExceeded if no program
    reads from a pipe; after the block IncompleteAnswer if the file could not be completed.
    """
    with contextlib.ExitStack() as stack:
        with translate_write_errors(path):
            descriptor = stack.enter_context(_open_output(path, deadline, private=private))
        yield descriptor
        with translate_write_errors(path, IncompleteAnswer):
            stack.close()


def leads_to_stdout(path: Path) -> bool:
    """Return whether a path, such as /dev/stdout or a link to it, is descriptor 1 of ours."""
    return _own_descriptor(path) == 1


def _open_output(path: Path, deadline: Deadline, *, private: bool) -> AbstractContextManager[int]:
    own = _own_descriptor(path)
    if own is not None:
        return _closing(_duplicate(own))
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        return _closing(_open_special(path, deadline))
    target = Path(os.path.realpath(path))
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    # 40 characters are at most 160 bytes, which leaves room for the rest of the name
    temporary = target.with_name(f".{target.name[:40]}.{os.urandom(4).hex()}")
    if private:
        return _replacement(target, temporary, 0o600)
    return _replacement(target, temporary, None if mode is None else stat.S_IMODE(mode))


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _replacement(target: Path, temporary: Path, mode: int | None) -> Iterator[int]:
    """Yield a descriptor of a new file, which becomes `target` if the block succeeds.

    If the block fails, the file is removed. Without a `mode`, it gets that of any new file.
    """
    _unfinished.add(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | _BINARY
    try:
        descriptor = os.open(temporary, flags, 0o666 if mode is None else 0o600)
        try:
            if mode is not None:
                temporary.chmod(mode)
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _unfinished.discard(temporary)


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_special(path: Path, deadline: Deadline) -> int:
    """Open a device or a pipe, which may wait for a program at its other end."""
    try:
        flags = os.O_WRONLY | _NO_CONTROL | _BINARY
        return run_in_thread(lambda: os.open(path, flags), deadline.remaining_s())
    except TimeoutError as error:
        message = f"no program read from {show_path(path)} within {deadline.total_s:g} s"
        raise DeadlineExceeded(message) from error


def _own_descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that a path leads to; None if it leads elsewhere.

    Links are followed one by one: /dev/stdout is a link to /proc/self/fd/1, and that would be
    followed to whatever file is open there.
    """
    with contextlib.suppress(OSError, ValueError):
        for _ in range(_MOST_LINKS):
            folder = os.path.realpath(path.parent)
            if _DESCRIPTOR.fullmatch(path.name) and _lists_own_descriptors(folder):
                return int(path.name)
            path = Path(folder, path.name)
            if not path.is_symlink():
                return None
            path = Path(folder, path.readlink())
    return None


def _lists_own_descriptors(folder: str) -> bool:
    process = re.escape(os.path.realpath("/proc/self"))  # /proc/PID
    return bool(re.fullmatch(rf"/dev/fd|{process}(?:/task/[0-9]+)?/fd", folder))


def _duplicate(descriptor: int) -> int:
    """Duplicate a descriptor that this process was started with; raises OSError.

    Those that Python opens itself are not inheritable: /dev/fd/N is not meant to be one of them.
    """
    if not os.get_inheritable(descriptor):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if sys.platform != "win32":
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "not open for writing")
    return os.dup(descriptor)


# Locking


@contextlib.contextmanager
def hold_lock(path: Path, deadline: Deadline | None = None) -> Iterator[None]:
    """Hold the lock file at `path`. Raises OSError if it is not free in ten seconds or by `deadline`."""
    ends_at = time.monotonic() + _LONGEST_LOCK_S
    if deadline is not None:
        ends_at = min(ends_at, deadline.ends_at)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o600)
    try:
        _lock(descriptor, ends_at)
        try:
            yield
        finally:
            _unlock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, ends_at: float) -> None:
    while not try_lock(descriptor):
        if time.monotonic() > ends_at:
            raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock")
        time.sleep(_LOCK_POLL_S)


def try_lock(descriptor: int) -> bool:
    """Take the lock if it is free. Returns False if another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on Windows
        return False
    return True


def _unlock(descriptor: int) -> None:
    """Release the lock: closing the file does that at once only on POSIX."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
