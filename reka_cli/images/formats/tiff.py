"""TIFF 6.0 and BigTIFF: directories, and the places of the pixels that they name."""

from __future__ import annotations

import struct

from reka_cli.images.formats.structure import Damaged, Walk

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_PLACES = {
    273: 279,
    324: 325,
    513: 514,
}  # tags of offsets, and of the sizes that belong to them: strips, tiles, a JPEG
_TYPES = {3: "H", 4: "I", 13: "I", 16: "Q"}  # of those places
_SIZES = {
    1: 1,
    2: 1,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    17: 8,
    18: 8,
}  # of a value, by type
_PRIVATE = 32_768  # from this tag on nobody needs what is said
_MOST_DIRECTORIES, _MOST_PLACES = 10_000, 1 << 20


def check_complete(walk: Walk) -> None:
    """Raise Damaged unless every directory is whole and all that it refers to is inside the file.

    Pillow finds that out too, but libtiff, which it decodes with, says so on standard error.
    """
    head = walk.take(16)
    order, is_big = "<" if head[:1] == b"I" else ">", head[2:4] in (b"+\0", b"\0+")
    directory = _Directory(walk, order, "Q" if is_big else "I", "Q" if is_big else "H")
    (at,) = struct.unpack_from(order + directory.word, head, 8 if is_big else 4)
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(at)
        at = directory.check_entries(at)


class _Directory:
    """How the directories of one file are written: the struct codes of an offset and of a number of entries."""

    def __init__(self, walk: Walk, order: str, word: str, count: str) -> None:
        self._walk, self._order, self.word, self._count = walk, order, word, count
        self._entry = f"{order}HH{word}"
        # arrays do not share their bytes, so that all of them are no larger than the file
        self._left_bytes = 2 * walk.size_bytes

    def check_entries(self, at: int) -> int:
        """Check the directory at an offset and give that of the next, 0 if there is none."""
        self._walk.go_to(at)
        (count,) = self._numbers(self._count, 1)
        size = struct.calcsize(self._entry) + struct.calcsize(self.word)
        entries = self._walk.take(count * size) if count * size <= self._walk.size_bytes else b""
        if not entries:
            raise Damaged
        (following,) = self._numbers(self.word, 1)
        places = {}
        for entry in (entries[start : start + size] for start in range(0, len(entries), size)):
            tag, kind, number = struct.unpack_from(self._entry, entry)
            held = entry[struct.calcsize(self._entry) :]
            if kind in _TYPES and number <= _MOST_PLACES and tag in {*_PLACES, *_PLACES.values()}:
                places[tag] = self._values(_TYPES[kind], number, held)
            elif tag < _PRIVATE and number * _SIZES.get(kind, 0) > len(held):
                self._walk.go_to(
                    struct.unpack(self._order + self.word, held)[0] + number * _SIZES[kind]
                )
        for offsets, sizes in _PLACES.items():
            for start, length in zip(places.get(offsets, ()), places.get(sizes, ()), strict=False):
                self._walk.go_to(start + length)
        return int(following)

    def _values(self, code: str, number: int, held: bytes) -> tuple[int, ...]:
        """Give the values of an entry, which holds them itself if they are few, or else their offset."""
        if struct.calcsize(code) * number <= len(held):
            return struct.unpack_from(f"{self._order}{number}{code}", held)
        self._left_bytes -= struct.calcsize(code) * number
        if self._left_bytes < 0:
            raise Damaged
        self._walk.go_to(struct.unpack(self._order + self.word, held)[0])
        return self._numbers(code, number)

    def _numbers(self, code: str, number: int) -> tuple[int, ...]:
        form = f"{self._order}{number}{code}"
        return struct.unpack(form, self._walk.take(struct.calcsize(form)))
