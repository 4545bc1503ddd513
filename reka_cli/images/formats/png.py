"""PNG and APNG (W3C PNG, third edition): chunks."""

from __future__ import annotations

import struct
import zlib

from reka_cli.images.formats.exif import orientation
from reka_cli.images.formats.structure import Damaged, FileStructure, Piece, Walk

MAGIC = b"\x89PNG\r\n\x1a\n"

_BLOCK = 1 << 18
# what decides how the pixels look; every other chunk that a decoder may skip says something about them
_KEPT = frozenset({
    b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"hIST", b"pHYs", b"sPLT",
    b"acTL", b"fcTL", b"fdAT",
})  # fmt: skip
_DEPTHS = {
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    3: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}  # bits by type of color
_GRAYS = (0, 4)


def read_structure(walk: Walk) -> FileStructure:
    walk.go_to(8)
    bare: list[Piece] = [(0, 8)]
    turned, frames, has_pixels = 1, 1, False
    header = b""
    name = b""
    while name != b"IEND":
        start = walk.at
        length, name = struct.unpack(">I4s", walk.take(8))
        if not name.isalpha() or (not header and name != b"IHDR"):
            raise Damaged
        is_needed = bool(name[0] & 0x20 == 0)
        if name in (b"IHDR", b"eXIf", b"acTL"):
            data = _read_chunk(walk, length, name)
            if name == b"IHDR":
                header = header or data
            elif name == b"eXIf":
                turned = orientation(data.removeprefix(b"Exif\0\0"))
            elif len(data) >= 4:
                frames = max(1, int.from_bytes(data[:4], "big"))
        elif is_needed:
            _check_crc(walk, length, name)
        else:
            walk.skip(length + 4)
        has_pixels = has_pixels or name == b"IDAT"
        if is_needed or name in _KEPT:
            bare.append((start, walk.at - start))
    if not has_pixels:
        raise Damaged
    return _describe(header, turned, frames, tuple(bare))


def _describe(header: bytes, turned: int, frames: int, bare: tuple[Piece, ...]) -> FileStructure:
    if len(header) != 13:
        raise Damaged
    width, height, depth, color = struct.unpack(">IIBB", header[:10])
    if depth not in _DEPTHS.get(color, ()):
        raise Damaged
    # of 16 bits of gray many programs show the lowest 8, or white
    return FileStructure(
        width, height, bare, turned, frames, is_common=not (depth == 16 and color in _GRAYS)
    )


def _read_chunk(walk: Walk, length: int, name: bytes) -> bytes:
    """Give the data of a chunk that is small."""
    if length > 1 << 20:
        raise Damaged
    data = walk.take(length)
    if zlib.crc32(name + data) != int.from_bytes(walk.take(4), "big") and name != b"eXIf":
        raise Damaged
    return data


def _check_crc(walk: Walk, length: int, name: bytes) -> None:
    crc = zlib.crc32(name)
    while length:
        block = walk.take(min(length, _BLOCK))
        crc = zlib.crc32(block, crc)
        length -= len(block)
    if crc != int.from_bytes(walk.take(4), "big"):
        raise Damaged
