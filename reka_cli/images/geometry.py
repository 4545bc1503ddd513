"""Where the part that is wanted lies in an image as it is stored, and how large it is to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reka_cli.images.preparation import Box, Size

# orientation of EXIF: are the sides swapped, is it mirrored across, down (in the stored image)
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# a decoder that can halve gives 2016 pixels where 2048 are allowed, for a fraction of the work
_CLOSE = 15 / 16


@dataclass(frozen=True)
class View:
    """`box` is the part in the stored image, `size` what becomes of it, not yet upright."""

    whole: Size  # upright
    box: Box
    size: Size

    @classmethod
    def of(cls, stored: Size, orientation: int, part: Callable[[Size], Box], max_side: int) -> View:
        whole = stored[::-1] if _TURNS[orientation][0] else stored
        box = _to_stored_box(part(whole), stored, orientation)
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(1.0, max_side / max(width, height)) if max_side else 1.0
        return cls(whole, box, (max(1, round(width * scale)), max(1, round(height * scale))))

    @property
    def is_smaller(self) -> bool:
        return self.size != (self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def divisor(self) -> int:
        """How many times smaller (1, 2, 4 or 8) the image may be decoded."""
        longest = max(self.box[2] - self.box[0], self.box[3] - self.box[1])
        return next((by for by in (8, 4, 2) if longest / by >= max(self.size) * _CLOSE), 1)

    def scale_to(self, decoded: Size, stored: Size) -> View:
        """Give the same for an image that was decoded smaller."""
        if decoded == stored:
            return self
        across, down = decoded[0] / stored[0], decoded[1] / stored[1]
        width = max(1, round((self.box[2] - self.box[0]) * across))
        height = max(1, round((self.box[3] - self.box[1]) * down))
        left = min(round(self.box[0] * across), decoded[0] - width)
        top = min(round(self.box[1] * down), decoded[1] - height)
        size = self.size if max(width, height) > max(self.size) else (width, height)
        return View(self.whole, (left, top, left + width, top + height), size)


def is_sideways(orientation: int) -> bool:
    return _TURNS[orientation][0]


def _to_stored_box(box: Box, stored: Size, orientation: int) -> Box:
    swapped, across, down = _TURNS[orientation]
    left, top, right, bottom = box
    if swapped:
        left, top, right, bottom = top, left, bottom, right
    if across:
        left, right = stored[0] - right, stored[0] - left
    if down:
        top, bottom = stored[1] - bottom, stored[1] - top
    return left, top, right, bottom
