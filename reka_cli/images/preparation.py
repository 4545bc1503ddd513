"""What is wanted of images."""

from __future__ import annotations

from dataclasses import dataclass

from reka_cli.errors import UsageError

Size = tuple[int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom

MAX_IMAGE_BYTES = (
    50 << 20
)  # bytes; the web service states no limit (nobody has measured one), this one protects the user
SENDABLE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


@dataclass(frozen=True)
class Preparation:
    """How images are made ready.

    `max_side` is the longest side allowed, in pixels, 0 for any. What is of none of `media_types` is converted.
    """

    max_side: int = 2048
    keep_metadata: bool = False
    media_types: frozenset[str] = SENDABLE_TYPES

    def __post_init__(self) -> None:
        if self.max_side < 0:
            raise UsageError(f"the longest side is 0, for any, or more, not {self.max_side}")

    def fits(self, size: Size) -> bool:
        return not self.max_side or max(size) <= self.max_side


DEFAULT_PREPARATION = Preparation()
