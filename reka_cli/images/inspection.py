"""What is known of an image before it is decoded, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from reka_cli.errors import BadInput
from reka_cli.images.file_content import FoundImage
from reka_cli.images.formats import FileStructure, Format
from reka_cli.images.media_fragment import MediaFragment
from reka_cli.images.preparation import Box, Size

_MOST_PIXELS = 89_478_485  # 256 MB in memory; where Pillow begins to warn of a decompression bomb
_MOST_PIXELS_SHRUNK = (
    1 << 28
)  # of what is never decoded at its full size; telephones make 200 million


@dataclass(frozen=True)
class InspectedImage:
    """An image that was found and looked at; `seen` is None where only decoding tells what it is."""

    found: FoundImage
    form: Format
    seen: FileStructure | None
    part: MediaFragment

    def check_pixels(self, size: Size, *, decodes_small: bool = False) -> None:
        """Raise BadInput for a decompression bomb, and for nothing at all."""
        if 0 in size:
            raise BadInput(f"{self.found.name} is damaged or cut off")
        if size[0] * size[1] > (_MOST_PIXELS_SHRUNK if decodes_small else _MOST_PIXELS):
            raise BadInput(f"{self.found.name} has too many pixels: {size[0]} × {size[1]}")

    def box(self, size: Size) -> Box:
        """Give the part that is meant of the whole, which has this size; raise BadInput if it is outside."""
        if self.part.region is None:
            return (0, 0, *size)
        box = self.part.region.box(*size)
        if box is None:
            raise BadInput(
                f"{self.found.name} lies outside of the image, which is {size[0]} × {size[1]}"
            )
        return box

    def page(self, count: int) -> int:
        """Give the page that is meant, from 0; raise BadInput if there are fewer."""
        page = self.part.page or 1
        if page > count:
            raise BadInput(f"there is no {self.found.name}: the last page is {count}")
        return page - 1

    def left_out_notice(self, count: int) -> str | None:
        """Say that there are other pages than the one that is sent, if nobody asked for it."""
        is_news = count > 1 and self.part.page is None
        return f"has {count} pages: the first is sent (#page=2 is the next)" if is_news else None


@dataclass(frozen=True)
class ConvertedImage:
    """What became of an image that could not go as it was; `whole` is the size of all of it, as it is seen."""

    data: bytes
    media_type: str
    size: Size
    whole: Size
    notice: str | None = None
