"""Which part of an image is meant: `page=2`, `xywh=10,10,200,200` (W3C Media Fragments 1.0, 4.2.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reka_cli.errors import UsageError

_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_REGION = re.compile(rf"(?:(pixel|percent):)?{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")
_HINT = "FILE#page=2, FILE#xywh=10,10,200,200 or FILE#xywh=percent:25,25,50,50"


@dataclass(frozen=True)
class Region:
    """A rectangle of the upright image, in pixels or in percent of its sides."""

    x: float
    y: float
    width: float
    height: float
    in_percent: bool = False

    def box(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Give left, top, right and bottom in pixels, as far as they are inside the image; None if nothing is."""
        across, down = (width / 100, height / 100) if self.in_percent else (1.0, 1.0)
        left, top = round(self.x * across), round(self.y * down)
        right, bottom = round((self.x + self.width) * across), round((self.y + self.height) * down)
        # a region in percent may be thinner than a pixel
        box = (left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height))
        return box if box[0] < box[2] and box[1] < box[3] else None


@dataclass(frozen=True)
class MediaFragment:
    """`page` counts from 1."""

    page: int | None = None
    region: Region | None = None


def parse_fragment(text: str | None) -> MediaFragment:
    """Read what follows `#`; raise UsageError for what is not known."""
    page, region = None, None
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if (
            name == "page"
            and value.isascii()
            and value.isdigit()
            and 0 < len(value) < 7
            and int(value)
        ):
            page = int(value)
        elif name == "xywh" and (found := _REGION.fullmatch(value)):
            region = Region(
                float(found[2]),
                float(found[3]),
                float(found[4]),
                float(found[5]),
                found[1] == "percent",
            )
        else:
            raise UsageError(f"#{part} is no part of an image", hint=_HINT)
    if region and not (region.width and region.height):
        raise UsageError("#xywh= with no width or no height is nothing", hint=_HINT)
    return MediaFragment(page, region)
