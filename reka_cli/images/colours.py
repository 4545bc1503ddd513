"""From the modes that Pillow decodes to into those that everything reads: grey or RGB in 8 bits, alpha or none."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_SAMPLE_SIDE, _SMALL = 256, 128 * 128  # pixels
_FEW_COLOURS, _FEW_GREYS = 4096, 128  # of the 65,536 pixels of a sample: a drawing or a screen has less, a photo more
_GREY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_GREYS = ("L", "LA")
_NOT_RGB = {"CMYK": "RGB", "LAB": "RGB", "YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}


def unpacked(picture: Image) -> Image:
    """Give a picture whose pixels can be averaged: no palette, no single bits, 8 bits a channel."""
    is_see_through = "transparency" in picture.info or picture.mode == "PA"
    if picture.mode in _GREY_16 | {"I", "F"}:
        return _in_8_bits(picture)
    if is_see_through and picture.mode in ("1", "L", "P", "PA", "RGB"):
        return picture.convert("RGBA")
    if picture.mode == "P":
        return picture.convert("RGBA" if picture.palette and picture.palette.mode == "RGBA" else "RGB")
    return picture.convert("L") if picture.mode == "1" else picture


def plain(picture: Image, icc: bytes | None) -> tuple[Image, bytes | None]:
    """Give an unpacked picture in grey or RGB, without alpha that hides nothing, and the profile of its colours."""
    if picture.mode in ("CMYK", "LAB") and icc and (converted := _in_srgb(picture, icc)):
        return converted, None
    if picture.mode in _NOT_RGB:
        picture, icc = picture.convert(_NOT_RGB[picture.mode]), None if picture.mode in ("CMYK", "LAB") else icc
    if picture.mode in ("LA", "RGBA") and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert(picture.mode.removesuffix("A"))
    space = b"GRAY" if picture.mode in _GREYS else b"RGB "
    return picture, icc if icc and icc[16:20] == space else None  # another would distort the colours


def is_photographic(picture: Image) -> bool:
    """Whether a plain picture without alpha has many colours, as photos do; a small one is treated as none."""
    from PIL import Image

    width, height = picture.size
    if width * height < _SMALL:
        return False  # exact costs little there
    sample = picture.resize((min(width, _SAMPLE_SIDE), min(height, _SAMPLE_SIDE)), Image.Resampling.NEAREST)
    return sample.getcolors(_FEW_GREYS if picture.mode == "L" else _FEW_COLOURS) is None


def _in_8_bits(picture: Image) -> Image:
    """Scale 16 bits to 8; of 32, which have no limits, what the picture makes use of."""
    wide = picture if picture.mode in ("I", "F") else picture.convert("I")
    low, high = wide.getextrema()
    if not (isinstance(low, int | float) and isinstance(high, int | float) and math.isfinite(high - low)):
        raise ValueError(f"pixels from {low} to {high}")
    if wide.mode == "I" and low >= 0 and high <= 0xFFFF:
        low, high = 0, 0xFFFF
    factor = 255 / ((high - low) or 1)
    return wide.point(lambda value: value * factor - low * factor).convert("L")


def _in_srgb(picture: Image, icc: bytes) -> Image | None:
    from PIL import ImageCms

    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
