"""From the modes that Pillow decodes to into those that everything reads: gray or RGB in 8 bits, alpha or none."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_SAMPLE_SIDE, _SMALL = 256, 128 * 128  # pixels
_FEW_COLORS, _FEW_GRAYS = (
    4096,
    128,
)  # of the 65,536 pixels of a sample: a drawing or a screen has less, a photo more
_GRAY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_GRAYS = ("L", "LA")
_NOT_RGB = {
    "CMYK": "RGB",
    "LAB": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "RGBX": "RGB",
    "RGBa": "RGBA",
    "La": "LA",
}


def to_8_bit_channels(image: Image) -> Image:
    """Give an image whose pixels can be averaged: no palette, no single bits, 8 bits a channel."""
    is_see_through = "transparency" in image.info or image.mode == "PA"
    if image.mode in _GRAY_16 | {"I", "F"}:
        return _scale_to_8_bits(image)
    if is_see_through and image.mode in ("1", "L", "P", "PA", "RGB"):
        return image.convert("RGBA")
    if image.mode == "P":
        return image.convert("RGBA" if image.palette and image.palette.mode == "RGBA" else "RGB")
    return image.convert("L") if image.mode == "1" else image


def to_gray_or_rgb(image: Image, icc: bytes | None) -> tuple[Image, bytes | None]:
    """Give an unpacked image in gray or RGB, without alpha that hides nothing, and the profile of its colors."""
    if image.mode in ("CMYK", "LAB") and icc and (converted := _convert_to_srgb(image, icc)):
        return converted, None
    if image.mode in _NOT_RGB:
        image, icc = (
            image.convert(_NOT_RGB[image.mode]),
            None if image.mode in ("CMYK", "LAB") else icc,
        )
    if image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert(image.mode.removesuffix("A"))
    space = b"GRAY" if image.mode in _GRAYS else b"RGB "
    return image, icc if icc and icc[16:20] == space else None  # another would distort the colors


def is_photographic(image: Image) -> bool:
    """Whether a plain image without alpha has many colors, as photos do; a small one is treated as none."""
    from PIL import Image

    width, height = image.size
    if width * height < _SMALL:
        return False  # exact costs little there
    sample = image.resize(
        (min(width, _SAMPLE_SIDE), min(height, _SAMPLE_SIDE)), Image.Resampling.NEAREST
    )
    return sample.getcolors(_FEW_GRAYS if image.mode == "L" else _FEW_COLORS) is None


def _scale_to_8_bits(image: Image) -> Image:
    """Scale 16 bits to 8; of 32, which have no limits, what the image makes use of."""
    wide = image if image.mode in ("I", "F") else image.convert("I")
    low, high = wide.getextrema()
    if not (
        isinstance(low, int | float) and isinstance(high, int | float) and math.isfinite(high - low)
    ):
        raise ValueError(f"pixels from {low} to {high}")
    if wide.mode == "I" and low >= 0 and high <= 0xFFFF:
        low, high = 0, 0xFFFF
    factor = 255 / ((high - low) or 1)
    return wide.point(lambda value: value * factor - low * factor).convert("L")


def _convert_to_srgb(image: Image, icc: bytes) -> Image | None:
    from PIL import ImageCms

    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
