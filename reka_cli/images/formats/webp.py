"""WebP (RFC 9649): chunks of a RIFF file."""

from __future__ import annotations

import struct

from reka_cli.images.formats.exif import orientation
from reka_cli.images.formats.structure import Damaged, FileStructure, Piece, Walk, merge_pieces

_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_EXIF, _XMP = 0x08, 0x04  # flags of VP8X


def is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def read_structure(walk: Walk) -> FileStructure:
    end = 8 + int.from_bytes(walk.take(12)[4:8], "little")
    if end > walk.size_bytes:
        raise Damaged
    bare: list[Piece] = []
    size, turned, frames = None, 1, 0
    while walk.at + 8 <= end:
        start = walk.at
        name, length = struct.unpack("<4sI", walk.take(8))
        head = walk.take(min(length, 1 << 20 if name == b"EXIF" else 10))
        walk.go_to(start + 8 + length)
        if walk.at > end:
            raise Damaged
        if length % 2 and walk.at < end:
            walk.skip(1)
        size = size or _size(name, head)
        frames += name in (b"VP8 ", b"VP8L", b"ANMF")
        if name == b"EXIF":
            turned = orientation(head.removeprefix(b"Exif\0\0"))
        if name == b"VP8X":
            flags = head[0] & ~(_EXIF | _XMP) & 0xFF
            bare += [(start, 8), bytes([flags]), (start + 9, walk.at - start - 9)]
        elif name in _KEPT:
            bare.append((start, walk.at - start))
    if size is None or not frames:
        raise Damaged
    kept = sum(
        len(piece) if isinstance(piece, bytes) else piece[1] for piece in merge_pieces(tuple(bare))
    )
    return FileStructure(
        *size, (b"RIFF" + struct.pack("<I", 4 + kept) + b"WEBP", *bare), turned, frames
    )


def _size(name: bytes, head: bytes) -> tuple[int, int] | None:
    """Give width and height if this is the chunk that says them; the first one does."""
    if name not in (b"VP8X", b"VP8 ", b"VP8L"):
        return None
    if len(head) < (5 if name == b"VP8L" else 10):
        raise Damaged
    if name == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if name == b"VP8L":
        if head[0] != 0x2F:
            raise Damaged
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[3:6] != b"\x9d\x01\x2a":
        raise Damaged
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF
