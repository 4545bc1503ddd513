"""Standard input: a part of the question, an image, or a secret; reading it ends at the deadline."""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
import time
from typing import TextIO

from reka_cli.errors import BadInput, DeadlineExceeded, UsageError
from reka_cli.files import read_error
from reka_cli.limits.deadline import Deadline
from reka_cli.terminal import Terminal

PIPED_IMAGE = 'reka-cli ask -i - "What can you see?" < image.jpg'

_SILENT_S = 2.0  # how long it may say nothing before that is said
_LARGEST = 10 << 20  # bytes of a question
_MOST_LOST = 0.05  # of the bytes of a text that are not UTF-8
_LONGEST_SECRET = 64 << 10  # characters
_MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NOT_READ = "-n does not read it"


def read_text(terminal: Terminal, deadline: Deadline) -> str:
    """Read standard input to its end; "" if it is a terminal or closed.

    Raises DeadlineExceeded if the end does not come, BadInput if it is no text or too much.
    """
    if not _is_piped(sys.stdin):
        return ""
    waiting = f"waiting for standard input, which is part of the question ({_NOT_READ})"
    data = _read_to_end(terminal, deadline, _LARGEST, waiting, _NOT_READ)
    if len(data) > _LARGEST:
        raise BadInput(f"standard input is longer than {_LARGEST >> 20} MB")
    return _decode(data, terminal)


def read_image(terminal: Terminal, deadline: Deadline, largest: int) -> bytes:
    """Read standard input to its end, or one byte more than `largest`.

    Raises UsageError if it is a terminal, BadInput if there is nothing, DeadlineExceeded if the end does not come.
    """
    if not _is_piped(sys.stdin):
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"- is standard input, which is {what}", hint=PIPED_IMAGE)
    waiting = "waiting for standard input, which is to be an image"
    data = _read_to_end(terminal, deadline, largest, waiting, "--timeout SECONDS allows more time")
    if not data:
        raise BadInput("there is no image on standard input", hint=PIPED_IMAGE)
    return data


def _read_to_end(
    terminal: Terminal, deadline: Deadline, largest: int, waiting: str, hint: str
) -> bytes:
    """Read standard input to its end, or more than `largest` bytes; `waiting` is said if nothing comes."""
    blocks: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
    threading.Thread(target=_read_blocks, args=(blocks,), daemon=True).start()
    read = bytearray()
    waiting_s = min(_SILENT_S, deadline.remaining_s())
    while len(read) <= largest:
        try:
            block = blocks.get(timeout=waiting_s)
        except queue.Empty:
            if deadline.has_passed:
                message = f"standard input did not end within {deadline.total_s:g} s"
                raise DeadlineExceeded(message, hint=hint) from None
            terminal.notice(waiting)
        else:
            if isinstance(block, OSError):
                raise read_error("standard input", block) from block
            if not block:
                break
            read += block
        waiting_s = max(0.0, deadline.ends_at - time.monotonic())
    return bytes(read[: largest + 1])


def _is_piped(stdin: TextIO | None) -> bool:
    try:
        return stdin is not None and not stdin.isatty()
    except ValueError:
        return False


def _read_blocks(blocks: queue.SimpleQueue[bytes | OSError]) -> None:
    try:
        while block := _read():
            blocks.put(block)
        blocks.put(b"")
    except OSError as error:
        blocks.put(
            b"" if error.errno == errno.EBADF else error
        )  # nohup leaves one that can only be written


def _read() -> bytes:
    while True:
        try:
            return os.read(
                0, 65_536
            )  # not sys.stdin: its lock would be held when the interpreter ends
        except BlockingIOError:  # a pipe that another program made so
            import select

            select.select([0], [], [])


def _decode(data: bytes, terminal: Terminal) -> str:
    """Return standard input as text: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Single bytes that are not UTF-8 become U+FFFD, with a notice. Raises BadInput if it is not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding).strip()
            except UnicodeDecodeError as error:
                message = f"standard input is not {encoding.upper()}, as its beginning says"
                raise BadInput(message, hint=PIPED_IMAGE) from error
    if b"\0" in data:
        raise BadInput("standard input is not text", hint=PIPED_IMAGE)
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        return _decode_leniently(data, terminal)


def _decode_leniently(data: bytes, terminal: Terminal) -> str:
    from reka_cli.images.formats import HEAD_BYTES, detect

    kept = data.decode("utf-8", "ignore").encode()
    lost = len(data) - len(kept)
    if detect(data[:HEAD_BYTES]) or lost > len(data) * _MOST_LOST:
        raise BadInput("standard input is not text", hint=PIPED_IMAGE)
    count = "1 byte" if lost == 1 else f"{lost} bytes"
    terminal.notice(f"{count} of standard input are not UTF-8 and were replaced by U+FFFD")
    return data.decode("utf-8", "replace").strip()


def secret(what: str) -> str:
    """Ask for a secret at a hidden prompt, or take the first line of standard input; "" if there is none."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"{what}: ").strip()
    line = sys.stdin.readline(_LONGEST_SECRET + 1)
    if len(line) > _LONGEST_SECRET:
        raise BadInput(f"the {what} is longer than {_LONGEST_SECRET >> 10} KB")
    return line.strip()
