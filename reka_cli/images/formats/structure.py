"""What a walk through a file gives, and what it walks with; no walk decodes a pixel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from reka_cli.images.file_content import ByteRange, Content, ContentParts

_MOST_STEPS = 2_000_000  # some seconds; the largest GIF has a quarter of it

Piece = (
    bytes | tuple[int, int]
)  # bytes as they are, or the offset and length of what is taken over from the file


class Damaged(ValueError):
    """The file is not whole, or is no file of its format."""


@dataclass(frozen=True)
class FileStructure:
    """A whole file: sizes in pixels as stored; `bare` is what remains of it without metadata, in order."""

    width: int
    height: int
    bare: tuple[Piece, ...]
    orientation: int = 1  # of EXIF: 2 to 8 turn or mirror what is stored
    frames: int = 1  # of an animation
    is_common: bool = True  # False: whole, but in colors that few programs show right
    notice: str | None = None  # what the user should know, where the file was repaired
    decodes_small: bool = False  # can be decoded at a half, a quarter or an eighth of its size

    def without_metadata(self, content: Content) -> ContentParts:
        return ContentParts(
            tuple(
                one if isinstance(one, bytes) else ByteRange(content, *one)
                for one in merge_pieces(self.bare)
            )
        )


class Walk:
    """Steps through an open file; whatever is not there is Damaged, and so is what has no end."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._steps = 0
        self.size_bytes = size_bytes
        self.at = 0

    @property
    def is_at_end(self) -> bool:
        return self.at == self.size_bytes

    def take(self, count: int) -> bytes:
        self._steps += 1
        data = self._file.read(count)
        if len(data) != count or self._steps > _MOST_STEPS:
            raise Damaged
        self.at += count
        return data

    def some(self, most: int) -> bytes:
        """Give up to `most` bytes, none only at the end of the file."""
        data = self._file.read(most)
        self.at += len(data)
        return data

    def skip(self, count: int) -> None:
        self.go_to(self.at + count)

    def go_to(self, at: int) -> None:
        if at > self.size_bytes:
            raise Damaged
        self._file.seek(at, os.SEEK_SET)
        self.at = at


def merge_pieces(pieces: tuple[Piece, ...]) -> list[Piece]:
    """Join what is next to each other, in time that is linear in the number of pieces."""
    merged: list[Piece | bytearray] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, tuple) and isinstance(last, tuple) and sum(last) == piece[0]:
            merged[-1] = (last[0], last[1] + piece[1])
        elif isinstance(piece, bytes) and isinstance(last, bytearray):
            last += piece
        else:
            merged.append(bytearray(piece) if isinstance(piece, bytes) else piece)
    return [bytes(one) if isinstance(one, bytearray) else one for one in merged]
