"""What an image says beside its pixels, carried over to its new file by those who want it to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_ORIENTATION = 274
# tags of TIFF that describe how its pixels are stored, which is no longer so
_OF_STORAGE = frozenset({*range(254, 267), *range(273, 282), 284, *range(288, 293), 297, *range(301, 304), 317,
                         *range(320, 343), *range(347, 348), *range(512, 533), 34675})  # fmt: skip
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:=["\']|>)\s*)[1-8]')
_LONGEST_SEGMENT = 65_000  # bytes, of a JPEG


@dataclass(frozen=True)
class Metadata:
    """EXIF and XMP as bytes, and a comment; the orientation in them is that of an image that is upright."""

    exif: bytes = b""
    xmp: bytes = b""
    comment: bytes = b""

    @classmethod
    def of(cls, image: ImageFile) -> Metadata:
        xmp = _in_bytes(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
        return cls(
            _exif(image),
            _XMP_ORIENTATION.sub(rb"\g<1>1", xmp),
            _in_bytes(image.info.get("comment")),
        )

    def for_jpeg(self) -> dict[str, Any]:
        fields = {"exif": self.exif, "xmp": self.xmp, "comment": self.comment}
        return {name: value for name, value in fields.items() if 0 < len(value) < _LONGEST_SEGMENT}

    def for_png(self) -> dict[str, Any]:
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        if self.xmp:
            texts.add_itxt("XML:com.adobe.xmp", self.xmp.decode("utf-8", "replace"))
        if self.comment:
            texts.add_itxt("Comment", self.comment.decode("utf-8", "replace"))
        return {"pnginfo": texts, **({"exif": self.exif} if self.exif else {})}


def _exif(image: ImageFile) -> bytes:
    try:
        exif = image.getexif()
        for tag in list(exif):
            if tag in _OF_STORAGE or tag == _ORIENTATION:
                del exif[tag]
        return exif.tobytes() if exif else b""
    except Exception:  # noqa: BLE001 - what is damaged beside the pixels is no reason to refuse them
        return b""


def _in_bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
