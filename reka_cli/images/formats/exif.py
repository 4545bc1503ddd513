"""The one thing of EXIF that the pixels need: which way up they are."""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112
# integers of any size and sign: some phones write the orientation as LONG
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(exif: bytes) -> int:
    """Give the orientation (1 to 8) of the first directory of EXIF that begins as a TIFF file does; 1 if it has none.

    Source: EXIF 2.32, 4.6.2 and 4.6.4 A.
    """
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for index in range(count):
            entry = at + 2 + 12 * index
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + _INTEGERS.get(kind, "x"), exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except (struct.error, ValueError):  # the latter for a kind that is no integer
        pass
    return 1
