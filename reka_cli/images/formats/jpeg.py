"""JPEG (ITU T.81; JFIF; EXIF): segments up to the end of the first image of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reka_cli.images.formats.exif import orientation
from reka_cli.images.formats.structure import Damaged, FileStructure, Piece, Walk

MAGIC = b"\xff\xd8\xff"

_BLOCK = 1 << 18
_EOI, _SOS = 0xD9, 0xDA
_FRAMES = {
    0xC0: True,
    0xC1: True,
    0xC2: False,
}  # baseline, extended, progressive; nothing else is read anywhere
_TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}  # Huffman, arithmetic, quantization, lines, restarts
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment, which say nothing here
_DATA = 0x00  # no marker
_NEEDED = {*_FRAMES, *_TABLES, _SOS, _DATA, _EOI}
_HEAD_BYTES = 20  # of a segment; more is looked at only in EXIF
_APP0, _APP1, _APP2, _APP14, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_KNOWN = {*_FRAMES, *_TABLES, _SOS, *range(0xE0, 0xF0), _COM}
# what ends the coded data of a scan: 00 is stuffing, D0 to D7 are restarts, what is not defined is left to the decoder
_AFTER_SCAN = re.compile(rb"\xff([\xc0-\xcf\xd8-\xdf\xe0-\xef\xfe])")


def read_structure(walk: Walk) -> FileStructure:
    turned, frame, has_scan = 1, None, False
    bare: list[Piece] = [(0, 2)]
    for marker, head, span in _segments(walk):
        bare += _kept_pieces(marker, head, span)
        has_scan = has_scan or marker == _SOS
        if marker in _FRAMES and frame is None:
            frame = (marker, head)
        elif marker == _APP1 and turned == 1 and head[:4] == b"Exif":
            turned = orientation(head[6:])
    if frame is None or not has_scan:
        raise Damaged
    return _describe(*frame, turned, tuple(bare))


def _segments(walk: Walk) -> Iterator[tuple[int, bytes, tuple[int, int]]]:
    """Give marker, beginning of the content, and place of each segment; coded data come as _DATA, last comes _EOI."""
    walk.go_to(2)
    marker = _next_marker(walk)
    while marker != _EOI:
        start = walk.at - 2
        if marker in _ALONE:
            marker = _next_marker(walk)
            continue
        length = int.from_bytes(walk.take(2), "big")
        if length < 2 or marker not in _KNOWN:
            raise Damaged
        head = walk.take(min(length - 2, 65_535 if marker == _APP1 else _HEAD_BYTES))
        walk.go_to(start + 2 + length)
        yield marker, head, (start, walk.at - start)
        start = walk.at
        is_scan = marker == _SOS
        marker = _end_of_scan(walk) if is_scan else _next_marker(walk)
        if is_scan:
            yield _DATA, b"", (start, walk.at - 2 - start)
    yield _EOI, b"", (walk.at - 2, 2)


def _describe(marker: int, head: bytes, turned: int, bare: tuple[Piece, ...]) -> FileStructure:
    if len(head) < 6 or head[0] != 8:
        raise Damaged
    height, width, components = (
        int.from_bytes(head[1:3], "big"),
        int.from_bytes(head[3:5], "big"),
        head[5],
    )
    if components not in (1, 3, 4):
        raise Damaged
    # four components are CMYK, which many programs show in wrong colors, if at all
    return FileStructure(
        width, height, bare, turned, is_common=components != 4, decodes_small=_FRAMES[marker]
    )


def _kept_pieces(marker: int, head: bytes, span: tuple[int, int]) -> Iterator[Piece]:
    if marker == _APP0:
        if head[:5] == b"JFIF\0" and len(head) >= 14:
            yield (
                b"\xff\xe0\x00\x10" + head[:12] + b"\0\0"
            )  # without the thumbnail that it may hold
    elif marker == _APP2:
        if head[:12] == b"ICC_PROFILE\0":
            yield span
    elif marker == _APP14:
        if head[:5] == b"Adobe":  # says how the colors are to be read
            yield span
    elif marker in _NEEDED:
        yield span


def _next_marker(walk: Walk) -> int:
    """Step behind the next marker; bytes in front of it, which there should be none of, are what decoders skip."""
    code = 0
    while True:
        before, code = code, walk.take(1)[0]
        if before == 0xFF and code not in (0x00, 0xFF):
            return code


def _end_of_scan(walk: Walk) -> int:
    """Step behind the marker that ends the coded data, and give it."""
    began, carried = walk.at, b""
    while block := walk.some(_BLOCK):
        data = carried + block
        if match := _AFTER_SCAN.search(data):
            walk.go_to(began + match.end())
            return match[1][0]
        carried = data[-1:]
        began += len(data) - 1
    raise Damaged
