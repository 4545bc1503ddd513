"""What a file is by its first bytes, and whether it is whole by a walk to its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from reka_cli.images.formats import boxes, gif, jpeg, png, tiff, webp
from reka_cli.images.formats.structure import Damaged, FileStructure, Walk

__all__ = [
    "FORMATS",
    "HEAD_BYTES",
    "Damaged",
    "FileStructure",
    "Format",
    "detect",
    "read_structure",
]

HEAD_BYTES = 256

_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_NETPBM = re.compile(rb"P[1-6][ \t\r\n]")


@dataclass(frozen=True)
class Format:
    """A format; what has a `walk` can be sent as it is, the rest is converted, after a `check_complete` where there is one.

    `extra` is the extra of the package that brings what converts it.
    """

    name: str
    media_type: str
    walk: Callable[[Walk], FileStructure] | None = None
    check_complete: Callable[[Walk], None] | None = None
    is_image: bool = True
    extra: str | None = None


_WEBP = Format("WEBP", "image/webp", webp.read_structure)
_BMP = Format("BMP", "image/bmp")
_PPM = Format("PPM", "image/x-portable-anymap")
_TIFF = Format("TIFF", "image/tiff", check_complete=tiff.check_complete)
_BOX_FORMATS = {
    "AVIF": Format("AVIF", "image/avif", check_complete=boxes.check_complete),
    "HEIC": Format("HEIC", "image/heic", check_complete=boxes.check_complete, extra="heic"),
}
_MAGIC = (
    (jpeg.MAGIC, Format("JPEG", "image/jpeg", jpeg.read_structure)),
    (png.MAGIC, Format("PNG", "image/png", png.read_structure)),
    (gif.MAGIC, Format("GIF", "image/gif", gif.read_structure)),
    *((magic, _TIFF) for magic in tiff.MAGIC),
    (b"%PDF-", Format("PDF", "application/pdf", is_image=False, extra="pdf")),
)
_WITH_MAGIC = dict.fromkeys(found for _, found in _MAGIC)  # TIFF has several
FORMATS = (*_WITH_MAGIC, _WEBP, *_BOX_FORMATS.values(), _BMP, _PPM)


def detect(head: bytes) -> Format | None:
    """Give the format that the first HEAD_BYTES of a file are of."""
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if webp.is_webp(head):
        return _WEBP
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return _BMP
    if _NETPBM.match(head):
        return _PPM
    return _BOX_FORMATS.get(boxes.format_of(head) or "")


def read_structure(found: Format, file: BinaryIO, size_bytes: int) -> FileStructure | None:
    """Return what an open file holds, None if only decoding can tell.

    Walks to the end of the file. Raises Damaged if it is truncated or does not follow its format.
    """
    file.seek(0)
    walk = Walk(file, size_bytes)
    if found.walk:
        return found.walk(walk)
    if found.check_complete:
        found.check_complete(walk)
    return None
