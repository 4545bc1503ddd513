"""Images for tests, made by Pillow: every format, every orientation, metadata, colors that few programs expect."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import pillow_heif
from PIL import Image as Pillow
from PIL import ImageChops, ImageStat

GPS_NOTE = "Hinter dem Deich 7"  # found by its bytes wherever the place of an image is kept
AS_THEY_ARE = ("JPEG", "PNG", "GIF", "WEBP")
CONVERTED = ("AVIF", "HEIF", "BMP", "PPM", "TIFF", "PDF")

# how an upright image is stored so that each orientation is right: EXIF 2.32, 4.6.4 A
TURNED_BACK: dict[int, Callable[[Pillow.Image], Pillow.Image]] = {
    1: lambda one: one,
    2: lambda one: one.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT),
    3: lambda one: one.rotate(180),
    4: lambda one: one.transpose(Pillow.Transpose.FLIP_TOP_BOTTOM),
    5: lambda one: one.rotate(-90, expand=True).transpose(Pillow.Transpose.FLIP_LEFT_RIGHT),
    6: lambda one: one.rotate(90, expand=True),
    7: lambda one: one.rotate(90, expand=True).transpose(Pillow.Transpose.FLIP_LEFT_RIGHT),
    8: lambda one: one.rotate(-90, expand=True),
}

pillow_heif.register_heif_opener()


def photo(size: tuple[int, int] = (60, 40), mode: str = "RGB") -> Pillow.Image:
    """Smooth colors with many values, no two corners alike."""
    coarse = Pillow.frombytes("RGB", (6, 4), random.Random(7).randbytes(72))
    return coarse.resize(size, Pillow.Resampling.BICUBIC).convert(mode)


def encoded(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Pillow.Image:
    with Pillow.open(io.BytesIO(data)) as image:
        image.load()
        return image.copy()


def exif(orientation: int | None = None) -> Pillow.Exif:
    """EXIF with a place in it."""
    tags = Pillow.Exif()
    tags[0x010E] = GPS_NOTE
    if orientation:
        tags[0x0112] = orientation
    tags.get_ifd(0x8825).update({1: "N", 2: (54.0, 7.0, 8.0), 3: "E", 4: (8.0, 51.0, 9.0)})
    return tags


def difference(one: Pillow.Image, other: Pillow.Image) -> float:
    """Give the largest mean difference of a channel, 0 to 255; different sizes differ by all of it."""
    if one.size != other.size:
        return 255.0
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).rms)
