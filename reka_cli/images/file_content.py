"""Encoded bytes, in memory or in a file that is read only as far as it is needed, and what is put together of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from reka_cli.errors import BadInput
from reka_cli.escapes import one_line
from reka_cli.files import translate_read_errors
from reka_cli.images.preparation import MAX_IMAGE_BYTES
from reka_cli.messages import BLOCK_BYTES

__all__ = [
    "MAX_IMAGE_BYTES",
    "ByteRange",
    "Content",
    "ContentParts",
    "FoundImage",
    "InMemory",
    "OnDisk",
]


@dataclass(frozen=True)
class InMemory:
    """Bytes that came from a pipe, the network, the clipboard or a caller."""

    data: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def open(self) -> BinaryIO:
        """Return a seekable file, to be closed."""
        return io.BytesIO(self.data)


@dataclass(frozen=True)
class OnDisk:
    """A regular file as it was when it was found; `stamp` tells whether it still is."""

    path: Path
    size_bytes: int
    stamp: tuple[int, ...]

    @classmethod
    def at(cls, path: Path) -> OnDisk:
        """Look a regular file up; raises what `stat` raises."""
        found = path.stat()
        return cls(path, found.st_size, _stamp(found))

    def open(self) -> BinaryIO:
        """Return a seekable file, to be closed; a small one is read at once, which is cheaper.

        Raises BadInput if it cannot be read or is no longer what was found.
        """
        with translate_read_errors(self.path):
            file = self.path.open("rb", buffering=0)
        try:
            data = None
            if self.size_bytes <= BLOCK_BYTES:
                with translate_read_errors(self.path):
                    data = file.read(self.size_bytes)
            self.check_unchanged(file)
        except BaseException:
            file.close()
            raise
        if data is None:
            return io.BufferedReader(file)
        file.close()
        if len(data) != self.size_bytes:
            raise self.changed_error()
        return io.BytesIO(data)

    def check_unchanged(self, file: BinaryIO | io.FileIO) -> None:
        """Raise BadInput unless the open file is still what was found."""
        if not isinstance(file, io.BytesIO) and _stamp(os.fstat(file.fileno())) != self.stamp:
            raise self.changed_error()

    def changed_error(self) -> BadInput:
        return BadInput(
            f"{one_line(self.path.name)} was changed while it was being read", hint="ask again"
        )


Content = InMemory | OnDisk


@dataclass(frozen=True)
class FoundImage:
    """An image as the user has it: `label` is the NAME of NAME=X, `fragment` what followed `#`, without it."""

    content: Content
    name: str
    label: str | None = None
    fragment: str | None = None


@dataclass(frozen=True)
class ByteRange:
    """`length` bytes of a content, from `start`."""

    content: Content
    start: int
    length: int

    def blocks(self) -> Iterator[bytes]:
        if isinstance(self.content, InMemory):
            view = memoryview(self.content.data)[self.start : self.start + self.length]
            yield from (
                bytes(view[at : at + BLOCK_BYTES]) for at in range(0, self.length, BLOCK_BYTES)
            )
            return
        with self.content.open() as file:
            file.seek(self.start)
            left = self.length
            while left:
                block = file.read(min(left, BLOCK_BYTES))
                # before a block goes out, so that nobody gets an image that is half of one and half of another
                self.content.check_unchanged(file)
                if not block:
                    raise self.content.changed_error()
                left -= len(block)
                yield block


@dataclass(frozen=True)
class ContentParts:
    """What is sent, in order; `blocks` gives it from the start each time."""

    pieces: tuple[bytes | ByteRange, ...]

    @classmethod
    def whole(cls, content: Content) -> ContentParts:
        return cls((ByteRange(content, 0, content.size_bytes),))

    @property
    def size_bytes(self) -> int:
        return sum(
            piece.length if isinstance(piece, ByteRange) else len(piece) for piece in self.pieces
        )

    def blocks(self) -> Iterator[bytes]:
        """Give the bytes in blocks; raise BadInput if a file is no longer what was found."""
        for piece in self.pieces:
            yield from piece.blocks() if isinstance(piece, ByteRange) else (piece,)


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
