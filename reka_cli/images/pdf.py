"""A page of a PDF as a picture; PDFium draws it (package pypdfium2)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from reka_cli.errors import BadInput
from reka_cli.images.given import Given, Recoded
from reka_cli.images.metadata import Metadata
from reka_cli.images.preparation import Preparation
from reka_cli.images.recode import Style, encoded

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK, _END = b"%%EOF", 2048  # where readers look for the mark: within the last 1024 bytes, or a few more
_DEFAULT_SIDE = 2048  # pixels, where none is given
_PASSWORD_NEEDED = 4  # FPDF_ERR_PASSWORD
_ONE_AT_A_TIME = threading.Lock()  # PDFium works for one thread at a time in a process


def recoded(given: Given, wanted: Preparation) -> Recoded:
    """Draw the page that is meant, so that its longest side is the longest allowed."""
    name = given.found.name
    _check_end(given)
    with given.found.content.open() as file, _ONE_AT_A_TIME, _document(file, name) as document:
        count = len(document)
        drawn, whole = _drawn(document, given, wanted.max_side or _DEFAULT_SIDE)
    data, media_type, size = encoded(drawn, None, Metadata(), Style())
    return Recoded(data, media_type, size, whole, given.left_out(count))


def _check_end(given: Given) -> None:
    """Raise BadInput for a file that was cut off, of which PDFium would save what it can."""
    size = given.found.content.size_bytes
    with given.found.content.open() as file:
        file.seek(max(0, size - _END))
        if _MARK not in file.read():
            raise BadInput(f"{given.found.name} is damaged or cut off")


@contextmanager
def _document(file: BinaryIO, name: str) -> Iterator[Any]:
    try:
        import pypdfium2
    except ModuleNotFoundError as error:
        raise BadInput(f"{name} is PDF, which needs pypdfium2", hint="pip install 'reka-cli[pdf]'") from error
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD_NEEDED:
            raise BadInput(f"{name} needs a password") from error
        raise
    with closing(document):
        document.init_forms()  # else what is filled in would be missing
        yield document


def _drawn(document: Any, given: Given, side: int) -> tuple[Image, tuple[int, int]]:
    """Give the picture, and the size of the whole page in points."""
    with closing(document[given.page(len(document))]) as page:
        width, height = page.get_size()
        whole = max(1, round(width)), max(1, round(height))
        left, top, right, bottom = given.box(whole)
        scale = side / max(right - left, bottom - top)
        crop = left, max(0.0, height - bottom), max(0.0, width - right), top
        given.check_pixels((round((right - left) * scale), round((bottom - top) * scale)))
        with closing(page.render(scale=scale, crop=crop)) as bitmap:
            return bitmap.to_pil().copy(), whole
