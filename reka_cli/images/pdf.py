"""A page of a PDF as an image; PDFium draws it (package pypdfium2)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO

from reka_cli.errors import BadInput
from reka_cli.images.codec import EncodeOptions, encode
from reka_cli.images.file_content import FoundImage, InMemory
from reka_cli.images.formats import FORMATS
from reka_cli.images.inspection import ConvertedImage, InspectedImage
from reka_cli.images.metadata import Metadata
from reka_cli.images.preparation import Preparation
from reka_cli.limits.deadline import Deadline

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK, _END = (
    b"%%EOF",
    2048,
)  # where readers look for the mark: within the last 1024 bytes, or a few more
_DEFAULT_SIDE = 2048  # pixels, where none is given
_PASSWORD_NEEDED = 4  # FPDF_ERR_PASSWORD


def convert(
    inspected: InspectedImage, wanted: Preparation, deadline: Deadline | None = None
) -> ConvertedImage:
    """Draw the page that is meant, so that its longest side is the longest allowed.

    A child process draws: nothing interrupts PDFium, and a small file can keep it busy for years.
    The child is killed at the deadline and with this process. Raises DeadlineExceeded.
    """
    _check_end(inspected)
    _check_installed(inspected.found.name)
    with inspected.found.content.open() as file:
        data = file.read()
    request = (data, inspected.found.name, inspected.part, wanted.max_side)
    command = [sys.executable, "-P", "-c", "from reka_cli.images.pdf import _serve; _serve()"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REKA_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(  # noqa: S603 - a command of ours
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as child:
        try:
            answer, _ = child.communicate(
                pickle.dumps(request), deadline.remaining_s() if deadline else None
            )
        except subprocess.TimeoutExpired as error:
            assert deadline is not None
            raise deadline.error() from error
        finally:
            child.kill()
    return _parse_answer(answer, inspected.found.name)


def _parse_answer(answer: bytes, name: str) -> ConvertedImage:
    """Return what the child has drawn, or raise what it raised."""
    try:
        kind, value = pickle.loads(answer)  # noqa: S301 - of our own child
    except Exception as error:  # the child crashed
        raise BadInput(f"{name} is damaged or cut off") from error
    if kind == "error":
        raise BadInput(*value)
    return ConvertedImage(*value)


def _serve() -> None:
    """Draw one page in a process of its own: a request on stdin, the answer on stdout."""
    data, name, part, max_side = pickle.loads(sys.stdin.buffer.read())  # noqa: S301
    found = FoundImage(InMemory(data), name)
    form = next(one for one in FORMATS if one.name == "PDF")
    inspected = InspectedImage(found, form, None, part)
    try:
        made = _draw(inspected, max_side)
        value = (made.data, made.media_type, made.size, made.whole, made.notice)
        answer: tuple[str, object] = ("image", value)
    except BadInput as error:
        answer = ("error", (error.message, error.hint))
    sys.stdout.buffer.write(pickle.dumps(answer))


def _draw(inspected: InspectedImage, max_side: int) -> ConvertedImage:
    name = inspected.found.name
    with inspected.found.content.open() as file, _open_document(file, name) as document:
        count = len(document)
        drawn, whole = _draw_page(document, inspected, max_side or _DEFAULT_SIDE)
    data, media_type, size = encode(drawn, None, Metadata(), EncodeOptions())
    return ConvertedImage(data, media_type, size, whole, inspected.left_out_notice(count))


def _check_end(inspected: InspectedImage) -> None:
    """Raise BadInput for a file that was cut off, of which PDFium would save what it can."""
    size = inspected.found.content.size_bytes
    with inspected.found.content.open() as file:
        file.seek(max(0, size - _END))
        if _MARK not in file.read():
            raise BadInput(f"{inspected.found.name} is damaged or cut off")


def _check_installed(name: str) -> None:
    try:
        is_installed = find_spec("pypdfium2") is not None
    except ValueError:
        is_installed = False
    if not is_installed:
        message = f"{name} is PDF, which needs pypdfium2"
        raise BadInput(message, hint="pip install 'reka-cli[pdf]'")


@contextmanager
def _open_document(file: BinaryIO, name: str) -> Iterator[Any]:
    import pypdfium2

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
