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
from typing import IO, TypeVar

from reka_cli.errors import BadInput, DeadlineExceeded, IncompleteAnswer, RekaError
from reka_cli.escapes import hide_password, one_line
from reka_cli.limits.deadline import Deadline
from reka_cli.limits.worker_thread import run_in_thread

T = TypeVar("T")
AnyPath = str | os.PathLike[str]

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe does not wait for its other end
_NO_CONTROL = getattr(os, "O_NOCTTY", 0)  # a terminal that is written to does not become ours
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | _BINARY

_LONGEST_PATH = 300  # characters of it in a message
_LONGEST_LOCK_S = 10.0  # a change takes milliseconds; a stopped process never releases its lock
_LOCK_POLL_S = 0.01
_BLOCK_BYTES = 1 << 16
_MOST_LINKS = 40  # as many as Linux follows
_DESCRIPTOR = re.compile(r"0|[1-9][0-9]{0,8}")

_unfinished: set[Path] = set()


# What goes wrong, in the same words everywhere


def show_path(path: AnyPath) -> str:
    """Return a path as one line that is safe to show on a terminal."""
    return one_line(hide_password(os.fsdecode(path)), _LONGEST_PATH)


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
#
# A file is written beside its place, under a hidden name, and renamed when it is complete. While it
# is written it is locked, so that the next process that writes the same file can tell what a killed
# process left behind from what another one is still writing.


def discard_unfinished() -> None:
    """Remove unfinished files; for a process that is about to end without unwinding."""
    for path in tuple(_unfinished):
        _discard(path)


def replace_state(path: Path, text: str) -> None:
    """Replace a file that our processes share, readable for its owner only. Raises OSError."""
    with _replacement(path, 0o600) as descriptor:
        write_text(descriptor, text)


def remove_state(path: Path) -> bool:
    """Remove a file and what a killed process left beside it. Returns False if there was none."""
    _remove_abandoned(_temporary_path(path))
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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
    A file that cannot be replaced, such as one that is mounted into a container, gets the new
    content when the block ends. A device, a pipe or a descriptor of this process (/dev/fd/N) is
    written to as it is.

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


def is_replaceable(path: Path) -> bool:
    """Return whether a path is a regular file or does not exist, and is no descriptor of ours."""
    mode = _mode(path)
    return _own_descriptor(path) is None and (mode is None or stat.S_ISREG(mode))


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
    if mode is not None and _cannot_be_renamed_over(target):
        return _rewriting(target, private=private)
    if private:
        return _replacement(target, 0o600)
    return _replacement(target, None if mode is None else stat.S_IMODE(mode))


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _replacement(target: Path, mode: int | None) -> Iterator[int]:
    """Yield a descriptor of a new file, which becomes `target` if the block succeeds.

    If the block fails, the file is removed. Without a `mode`, it gets that of any new file.
    """
    temporary, descriptor = _create_beside(target, 0o666 if mode is None else 0o600)
    try:
        with _closing(descriptor):
            try:
                if mode is not None:
                    temporary.chmod(mode)
                yield descriptor
                os.fsync(descriptor)
                if sys.platform != "win32":
                    _rename(temporary, target)
            except BaseException:
                _discard(temporary)  # while it is locked
                raise
        if sys.platform == "win32":  # which renames and removes no open file
            _rename(temporary, target)
    finally:
        _discard(temporary)


def _rename(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    _unfinished.discard(temporary)


def _discard(temporary: Path) -> None:
    """Remove an unfinished file, once: another process may take the same name afterwards."""
    if temporary in _unfinished:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
            _unfinished.discard(temporary)


def _temporary_path(target: Path, infix: str = "") -> Path:
    # 40 characters are at most 160 bytes, which leaves room for the rest of the name
    return target.with_name(f".{target.name[:40]}{infix}.reka-cli")


def _create_beside(target: Path, mode: int) -> tuple[Path, int]:
    """Create and lock a temporary file for `target`; return its path and descriptor.

    Its name is a fixed one, so that the next process finds it if this one is killed. Only while
    another process writes the same file, the name is random.
    """
    path = _temporary_path(target)
    _remove_abandoned(path)
    descriptor = _create_locked(path, mode)
    if descriptor is None:
        path = _temporary_path(target, f".{os.urandom(4).hex()}")
        descriptor = os.open(path, _CREATE, mode)
    _unfinished.add(path)
    return path, descriptor


def _create_locked(path: Path, mode: int) -> int | None:
    """Create a file and lock it; return None if another process was faster."""
    try:
        descriptor = os.open(path, _CREATE, mode)
    except FileExistsError:
        return None
    is_locked = _lock_if_possible(descriptor)
    if is_locked and os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)  # another process took it for abandoned before it was locked
    return None


def _lock_if_possible(descriptor: int) -> bool:
    """Lock a file; return False if another process holds the lock.

    On Windows, where another process cannot remove an open file, no lock is needed.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks
            return try_lock(descriptor)
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove a temporary file unless a process is still writing it."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            path.unlink(missing_ok=True)  # fails while it is open
        else:
            with _closing(os.open(path, os.O_RDWR | NO_FOLLOW | NO_WAIT)) as descriptor:
                # only who holds the lock removes the file, so it cannot be another one now
                if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.lstat()):
                    path.unlink()


def _cannot_be_renamed_over(target: Path) -> bool:
    """Return whether a file that can be written cannot be replaced.

    That is a file that is mounted by itself, as in containers, or one of another user in a folder
    with the sticky bit, such as /tmp.
    """
    if sys.platform != "win32":
        folder = target.parent.stat()
        may_rename = os.geteuid() in (0, folder.st_uid, target.stat().st_uid)
        if folder.st_mode & stat.S_ISVTX and not may_rename:
            return True
    return _is_mounted(target)


def _is_mounted(path: Path) -> bool:
    """Return whether Linux lists a path as a mount point."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    # man 5 proc: the fifth field, blanks and backslashes escaped as \040
    escaped = re.sub(rb"[ \t\n\\]", lambda one: b"\\%03o" % one[0][0], os.fsencode(path))
    return escaped in [line.split(b" ", 5)[4] for line in lines]


@contextlib.contextmanager
def _rewriting(target: Path, *, private: bool) -> Iterator[int]:
    """Yield a descriptor of a buffer, which is written to `target` if the block succeeds."""
    with (
        _closing(os.open(target, os.O_RDWR | NO_FOLLOW | _BINARY)) as descriptor,
        _open_buffer() as buffer,
    ):
        yield buffer.fileno()
        if private:
            target.chmod(0o600)
        buffer.seek(0)
        with os.fdopen(descriptor, "r+b", closefd=False) as file:
            while block := buffer.read(_BLOCK_BYTES):
                file.write(block)
            file.truncate()
        os.fsync(descriptor)


def _open_buffer() -> IO[bytes]:
    """Open a temporary file that has no name; in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("reka-cli"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()


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
