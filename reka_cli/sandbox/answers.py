"""What the sandbox answers: that it is one, what it measured of the image, and the question it got."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

_COLORS = {
    "black": (0, 0, 0),
    "dark gray": (64, 64, 64),
    "gray": (128, 128, 128),
    "light gray": (200, 200, 200),
    "white": (255, 255, 255),
    "red": (220, 30, 30),
    "dark red": (110, 20, 20),
    "orange": (245, 140, 30),
    "yellow": (240, 225, 50),
    "green": (40, 160, 60),
    "dark green": (20, 80, 35),
    "turquoise": (60, 200, 190),
    "sky blue": (130, 190, 235),
    "blue": (40, 80, 210),
    "dark blue": (20, 30, 110),
    "purple": (130, 50, 160),
    "pink": (245, 150, 180),
    "brown": (125, 80, 45),
    "beige": (220, 200, 165),
    "light brown": (165, 125, 90),
}


@dataclass(frozen=True)
class MeasuredImage:
    """What can truly be said of an image without seeing: sizes in pixels and bytes, the mean of its pixels."""

    format: str
    width: int
    height: int
    size_bytes: int
    color: str
    has_exif: bool
    sha256: str


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video that nobody decodes: what it is called, and its size unless it is elsewhere."""

    media_type: str
    size_bytes: int | None


def measure(data: bytes) -> MeasuredImage | None:
    """Measure an image by its content, whatever type was claimed; None if it is none."""
    from PIL import Image

    try:
        with Image.open(
            io.BytesIO(data), formats=["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]
        ) as image:
            mean = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).tobytes()
            has_exif = bool(image.getexif())
            kind, (width, height) = image.format or "", image.size
    except Exception:  # noqa: BLE001 - bytes from anywhere: nobody lists what decoders raise for them
        return None
    digest = hashlib.sha256(data).hexdigest()
    return MeasuredImage(kind, width, height, len(data), _color_name(*mean), has_exif, digest)


def answer(
    question: str, images: Sequence[MeasuredImage], turns: int = 1, clips: Sequence[VideoInfo] = ()
) -> str:
    """Put what is known into Markdown."""
    lines = ["This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see."]
    for image in images:
        lines += [
            "",
            "What it measured of your image:",
            "",
            f"- format: {image.format}",
            f"- size: {image.width} × {image.height} pixels, {image.size_bytes} bytes",
            f"- mean color: {image.color}",
            f"- EXIF metadata: {'present' if image.has_exif else 'none'}",
            f"- SHA-256: {image.sha256}",
        ]
    for clip in clips:
        size = (
            "unknown: the sandbox fetches nothing"
            if clip.size_bytes is None
            else f"{clip.size_bytes} bytes"
        )
        lines += [
            "",
            "What it knows of your video without decoding it:",
            "",
            f"- format, as claimed: {clip.media_type}",
            f"- size: {size}",
        ]
    if turns > 1:
        lines += ["", f"The conversation has {turns} turns."]
    return "\n".join([*lines, "", f"Your question was: {question.strip()}"])


def texts_so_far(text: str) -> list[str]:
    """Give the text after each word, as a model would have it: the last one is whole."""
    return [text[: match.end()] for match in re.finditer(r"\s*\S+", text)]


def _color_name(red: int, green: int, blue: int) -> str:
    def distance(name: str) -> int:
        of_red, of_green, of_blue = _COLORS[name]
        # the eye tells greens apart best and blues worst
        return 3 * (red - of_red) ** 2 + 4 * (green - of_green) ** 2 + 2 * (blue - of_blue) ** 2

    return f"{min(_COLORS, key=distance)} (#{red:02x}{green:02x}{blue:02x})"
