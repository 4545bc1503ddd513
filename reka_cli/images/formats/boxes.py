"""The boxes of ISO/IEC 14496-12, of which AVIF and HEIC files are made (ISO/IEC 23008-12)."""

from __future__ import annotations

from reka_cli.images.formats.structure import Damaged, Walk

_AVIF = {b"avif", b"avis"}
_KNOWN = {b"ftyp", b"styp", b"meta", b"moov", b"mdat", b"idat", b"free", b"skip", b"uuid"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}


def format_of(head: bytes) -> str | None:
    """Tell AVIF from HEIC by the brands of the first box; the general ones (mif1) say nothing of the coding."""
    if head[4:8] != b"ftyp":
        return None
    size = int.from_bytes(head[:4], "big")
    brands = {head[at : at + 4] for at in (8, *range(16, min(size, len(head)), 4))}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & _HEIC else None


def check_complete(walk: Walk) -> None:
    """Raise Damaged unless every box on the outermost level is whole and the pixels are there."""
    names: set[bytes] = set()
    while walk.at + 8 <= walk.size_bytes:
        start = walk.at
        size, name = int.from_bytes(walk.take(4), "big"), walk.take(4)
        if size == 1:
            size = int.from_bytes(walk.take(8), "big")
        if size == 0:
            size = walk.size_bytes - start
        if name not in _KNOWN or name in names & {b"ftyp"} or size < walk.at - start:
            break  # data behind the end, a film for instance
        walk.go_to(start + size)
        names.add(name)
    if not {b"meta", b"moov"} & names or not {b"mdat", b"idat"} & names:
        raise Damaged
