"""GIF (CompuServe, GIF89a): blocks up to the trailer."""

from __future__ import annotations

from reka_cli.images.formats.structure import Damaged, FileStructure, Piece, Walk

MAGIC = b"GIF8"

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _PLAIN_TEXT, _APPLICATION = 0xF9, 0x01, 0xFF
_KEPT = (_GRAPHIC_CONTROL, _PLAIN_TEXT)
_KEPT_APPLICATIONS = (
    b"NETSCAPE2.0",
    b"ANIMEXTS1.0",
    b"ICCRGBG1012",
)  # how often it runs; its colors


def read_structure(walk: Walk) -> FileStructure:
    head = walk.take(13)
    if head[:6] not in (b"GIF87a", b"GIF89a"):
        raise Damaged
    walk.skip(_table_bytes(head[10]))
    bare: list[Piece] = [(0, walk.at)]
    frames = 0
    is_cut = False
    while True:
        if walk.is_at_end and frames:  # every frame is complete: only the last byte is missing
            is_cut = True
            break
        kind = walk.take(1)[0]
        if kind == _TRAILER:
            break
        start = walk.at - 1
        if kind == _IMAGE:
            is_kept = True
            walk.skip(_table_bytes(walk.take(9)[8]))
            if not 1 <= walk.take(1)[0] <= 11:  # bits of the first code
                raise Damaged
            _skip_blocks(walk)
            frames += 1
        elif kind == _EXTENSION:
            is_kept = _extension(walk)
        else:
            raise Damaged
        if is_kept:
            bare.append((start, walk.at - start))
    if not frames:
        raise Damaged
    bare.append(bytes([_TRAILER]) if is_cut else (walk.at - 1, 1))
    notice = "lacks its last byte, which was added" if is_cut else None
    width, height = (int.from_bytes(head[at : at + 2], "little") for at in (6, 8))
    return FileStructure(width, height, tuple(bare), frames=frames, notice=notice)


def _extension(walk: Walk) -> bool:
    """Step behind an extension and say whether it has to do with how the image looks."""
    label = walk.take(1)[0]
    if label != _APPLICATION:
        _skip_blocks(walk)
        return label in _KEPT
    name = walk.take(walk.take(1)[0])
    _skip_blocks(walk)
    return name in _KEPT_APPLICATIONS


def _skip_blocks(walk: Walk) -> None:
    while length := walk.take(1)[0]:
        walk.take(length)


def _table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
