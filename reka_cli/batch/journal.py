"""The journal of a batch: every finished row, appended and synced before it counts as done.

The first line holds the settings of the run, each other line one record as JSON. A process that is
killed can leave half a line at the end, which the next run cuts off. One thread writes: it takes
all records that wait, writes them at once and syncs them once ("group commit").
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from reka_cli.errors import BadInput, IncompleteAnswer, Locked, UsageError
from reka_cli.escapes import json_line
from reka_cli.files import NO_FOLLOW, show_path, try_lock, write_error

VERSION = 1
LINE_BEGIN = b'{"key": "'  # of the line of a record

Deliver = Callable[[Any, int], None]


class Journal:
    """An open journal, locked for this process. `append` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal. Raises Locked if another process has it open."""
        self.path = path
        self.settings: dict[str, Any] | None = None
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._failure: BaseException | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_FOLLOW
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise write_error(path, error) from error
        if not try_lock(self._descriptor):
            os.close(self._descriptor)
            raise Locked(f"another batch is writing {show_path(path)}")
        self._size = 0
        self._reader: BinaryIO | None = None
        self._reading = threading.Lock()

    def load(self) -> Iterator[tuple[bytes, int]]:
        """Yield the line of each record with its offset in bytes; cut off half a line at the end.

        Raises BadInput if the file is not a journal.
        """
        damaged_at: int | None = None
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            for line in file:
                if damaged_at is not None:
                    raise BadInput(f"{show_path(self.path)} is damaged at byte {damaged_at}")
                at = self._size
                if not line.endswith(b"}\n") or (at and not line.startswith(LINE_BEGIN)):
                    damaged_at = at
                    continue
                self._size += len(line)
                if at:
                    yield line, at
                else:
                    self._read_header(line)
        if damaged_at == 0:
            raise BadInput(f"{show_path(self.path)} is not a journal")
        os.truncate(self._descriptor, self._size)

    def _read_header(self, line: bytes) -> None:
        header = _parse(line)
        if header is None or header.get("journal") != VERSION:
            raise BadInput(f"{show_path(self.path)} is not a journal of this version")
        self.settings = header.get("settings")

    def start(self, settings: dict[str, Any], deliver: Deliver) -> None:
        """Begin to write, with the settings first if the journal is empty.

        `deliver(record, offset)` is called for each record in the writer's thread once its line
        is on disk. What it raises ends the journal: `append` raises it from then on.
        """
        if not self._size:
            self._write([json_line({"journal": VERSION, "settings": settings}).encode()])
            self.settings = settings
        self._writer = threading.Thread(
            target=self._run, args=(deliver,), name="journal", daemon=True
        )
        self._writer.start()

    def append(self, line: bytes, record: Any) -> None:
        """Write a line, and wait until it is on disk and `record` is delivered.

        Raises IncompleteAnswer if it cannot be written, and what `deliver` raised.
        """
        entry = _Entry(line, record)
        self._queue.put(entry)
        entry.is_done.wait()
        if entry.failure:
            raise entry.failure

    def read(self, offset: int) -> dict[str, Any]:
        """Return the record at an offset."""
        return json.loads(self.read_line(offset))  # type: ignore[no-any-return]

    def read_line(self, offset: int) -> bytes:
        """Return the line at an offset, with its end."""
        with self._reading:
            if self._reader is None:
                self._reader = self.path.open("rb")
            self._reader.seek(offset)
            line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise BadInput(f"{show_path(self.path)} was truncated by another program")
        return line

    def close(self) -> None:
        """Write what waits, and release the lock."""
        if self._writer:
            self._queue.put(None)
            self._writer.join()
        if self._reader:
            self._reader.close()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _run(self, deliver: Deliver) -> None:
        is_open = True
        while is_open:
            entries = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    entries.append(self._queue.get_nowait())
            is_open = None not in entries
            self._commit([one for one in entries if one], deliver)

    def _commit(self, entries: list[_Entry], deliver: Deliver) -> None:
        try:
            if self._failure:
                raise self._failure
            lines = [one.line for one in entries]
            at = self._size
            self._write(lines)
            for entry, line in zip(entries, lines, strict=True):
                deliver(entry.record, at)
                at += len(line)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self._failure = error
        for entry in entries:
            entry.failure = self._failure
            entry.is_done.set()

    def _write(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        total = len(data)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            _sync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._descriptor, self._size)
            raise write_error(self.path, error, IncompleteAnswer) from error
        self._size += total


class _Entry:
    """A record on its way to the disk."""

    def __init__(self, line: bytes, record: Any) -> None:
        self.line = line
        self.record = record
        self.is_done = threading.Event()
        self.failure: BaseException | None = None


def journal_of(output: Path) -> Path:
    """Return the path of the journal that belongs to an output file."""
    return output.with_name(f"{output.name}.journal")


def check_settings(before: dict[str, Any], now: dict[str, Any], hint: str) -> None:
    """Raise UsageError if a resumed run has other settings than the journal: answers would mix."""
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        names = ", ".join(name.replace("_", " ") for name in sorted(changed))
        raise UsageError(f"the earlier run had another {names}", hint=hint)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record on a line; None if it is not whole."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _sync(descriptor: int) -> None:
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
    sync(descriptor)
