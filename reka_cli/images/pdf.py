"""A page of a PDF as an image; PDFium draws it (package pypdfium2)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from reka_cli.errors import BadInput
from reka_cli.images.codec import EncodeOptions, encode
from reka_cli.images.inspection import ConvertedImage, InspectedImage
from reka_cli.images.metadata import Metadata
from reka_cli.images.preparation import Preparation

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK, _END = (
    b"%%EOF",
    2048,
)  # where readers look for the mark: within the last 1024 bytes, or a few more
_DEFAULT_SIDE = 2048  # pixels, where none is given
_PASSWORD_NEEDED = 4  # FPDF_ERR_PASSWORD
_ONE_AT_A_TIME = threading.Lock()  # PDFium works for one thread at a time in a process


def convert(inspected: InspectedImage, wanted: Preparation) -> ConvertedImage:
    """Draw the page that is meant, so that its longest side is the longest allowed."""
    name = inspected.found.name
    _check_end(inspected)
    with (
        inspected.found.content.open() as file,
        _ONE_AT_A_TIME,
        _open_document(file, name) as document,
    ):
        count = len(document)
        drawn, whole = _draw_page(document, inspected, wanted.max_side or _DEFAULT_SIDE)
    data, media_type, size = encode(drawn, None, Metadata(), EncodeOptions())
    return ConvertedImage(data, media_type, size, whole, inspected.left_out_notice(count))


def _check_end(inspected: InspectedImage) -> None:
    """Raise BadInput for a file that was cut off, of which PDFium would save what it can."""
    size = inspected.found.content.size_bytes
    with inspected.found.content.open() as file:
        file.seek(max(0, size - _END))
        if _MARK not in file.read():
            raise BadInput(f"{inspected.found.name} is damaged or cut off")


@contextmanager
def _open_document(file: BinaryIO, name: str) -> Iterator[Any]:
    try:
        import pypdfium2
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{name} is PDF, which needs pypdfium2", hint="pip install 'reka-cli[pdf]'"
        ) from error
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD_NEEDED:
            raise BadInput(f"{name} needs a password") from error
        raise
    with closing(document):
        document.init_forms()  # else what is filled in would be missing
        yield document


def _draw_page(
    document: Any, inspected: InspectedImage, side: int
) -> tuple[Image, tuple[int, int]]:
    """Give the image, and the size of the whole page in points."""
    with closing(document[inspected.page(len(document))]) as page:
        width, height = page.get_size()
        whole = max(1, round(width)), max(1, round(height))
        left, top, right, bottom = inspected.box(whole)
        scale = side / max(right - left, bottom - top)
        crop = left, max(0.0, height - bottom), max(0.0, width - right), top
        inspected.check_pixels((round((right - left) * scale), round((bottom - top) * scale)))
        with closing(page.render(scale=scale, crop=crop)) as bitmap:
            return bitmap.to_pil().copy(), whole
