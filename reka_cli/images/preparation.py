"""What is wanted of pictures."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom

AS_THEY_ARE = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


@dataclass(frozen=True)
class Preparation:
    """How pictures are made ready.

    `max_side` is the longest side allowed, in pixels, 0 for any. What is of none of `media_types` is converted.
    """

    max_side: int = 2048
    keep_metadata: bool = False
    media_types: frozenset[str] = AS_THEY_ARE

    def fits(self, size: Size) -> bool:
        return not self.max_side or max(size) <= self.max_side


AS_USUAL = Preparation()
