"""What a file is by its first bytes, and whether it is whole by a walk to its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from reka_cli.images.content import Content
from reka_cli.images.formats import boxes, gif, jpeg, png, tiff, webp
from reka_cli.images.formats.layout import Damaged, Layout, Walk

__all__ = ["FORMATS", "HEAD_BYTES", "Damaged", "Format", "Layout", "detect", "layout"]

HEAD_BYTES = 256

_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_NETPBM = re.compile(rb"P[456][ \t\r\n]")


@dataclass(frozen=True)
class Format:
    """A format; what has a `walk` can be sent as it is, the rest is converted, after a `check` where there is one.

    `extra` is the extra of the package that brings what converts it.
    """

    name: str
    media_type: str
    walk: Callable[[Walk], Layout] | None = None
    check: Callable[[Walk], None] | None = None
    is_picture: bool = True
    extra: str | None = None


_WEBP = Format("WEBP", "image/webp", webp.layout)
_BMP = Format("BMP", "image/bmp")
_PPM = Format("PPM", "image/x-portable-anymap")
_TIFF = Format("TIFF", "image/tiff", check=tiff.check)
_IN_BOXES = {
    "AVIF": Format("AVIF", "image/avif", check=boxes.check),
    "HEIC": Format("HEIC", "image/heic", check=boxes.check, extra="heic"),
}
_MAGIC = (
    (jpeg.MAGIC, Format("JPEG", "image/jpeg", jpeg.layout)),
    (png.MAGIC, Format("PNG", "image/png", png.layout)),
    (gif.MAGIC, Format("GIF", "image/gif", gif.layout)),
    *((magic, _TIFF) for magic in tiff.MAGIC),
    (b"%PDF-", Format("PDF", "application/pdf", is_picture=False, extra="pdf")),
)
_WITH_MAGIC = dict.fromkeys(found for _, found in _MAGIC)  # TIFF has several
FORMATS = (*_WITH_MAGIC, _WEBP, *_IN_BOXES.values(), _BMP, _PPM)


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
    return _IN_BOXES.get(boxes.format_of(head) or "")


def layout(found: Format, content: Content) -> Layout | None:
    """Walk to the end of a file and give what it holds, None where only decoding tells; raise Damaged."""
    with content.open() as file:
        walk = Walk(file, content.size_bytes)
        if found.walk:
            return found.walk(walk)
        if found.check:
            found.check(walk)
    return None
