"""A page of a PDF as an image; PDFium draws it (package pypdfium2)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import reka_cli
from reka_cli.errors import BadInput
from reka_cli.images.codec import EncodeOptions, encode
from reka_cli.images.file_content import FoundImage, InMemory
from reka_cli.images.formats import FORMATS
from reka_cli.images.inspection import ConvertedImage, InspectedImage
from reka_cli.images.media_fragment import MediaFragment, Region
from reka_cli.images.metadata import Metadata
from reka_cli.images.preparation import Preparation
from reka_cli.limits.deadline import Deadline

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK, _END = (
    b"%%EOF",
    2048,
)  # where readers look for the mark: within the last 1024 bytes, or a few more
_MOST_S = 600.0  # of CPU, without a deadline
_DEFAULT_SIDE = 2048  # pixels, where none is given
_PASSWORD_NEEDED = 4  # FPDF_ERR_PASSWORD


def convert(
    inspected: InspectedImage, wanted: Preparation, deadline: Deadline | None = None
) -> ConvertedImage:
    """Draw the page that is meant, so that its longest side is the longest allowed.

    A child process draws: nothing interrupts PDFium, and a small file can keep it busy for years.
    The child is killed at the deadline and when this call is interrupted; its CPU time is limited too,
    in case this process is killed. Raises DeadlineExceeded.
    """
    _check_end(inspected)
    _check_installed(inspected.found.name)
    left_s = deadline.remaining_s() if deadline else None
    part = inspected.part
    request = {
        "name": inspected.found.name,
        "page": part.page,
        "region": part.region and vars(part.region),
        "max_side": wanted.max_side,
        "seconds": math.ceil(left_s or _MOST_S),
    }
    with inspected.found.content.open() as file:
        data = json.dumps(request).encode() + b"\n" + file.read()
    root = str(Path(reka_cli.__file__).parent.parent)
    code = (
        f"import sys; sys.path.append({root!r}); from reka_cli.images.pdf import _serve; _serve()"
    )
    with subprocess.Popen(  # noqa: S603 - a command of ours
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("REKA_")},
    ) as child:
        try:
            answer, _ = child.communicate(data, left_s)
        except subprocess.TimeoutExpired as error:
            assert deadline is not None
            raise deadline.error() from error
        finally:
            child.kill()
    return _parse_answer(answer, inspected.found.name)


def _parse_answer(answer: bytes, name: str) -> ConvertedImage:
    """Return what the child has drawn, or raise what it found wrong.

    The child read a hostile file: its answer is data, and nothing in it is run.
    """
    try:
        head, _, data = answer.partition(b"\n")
        fields = json.loads(head)
        if "error" in fields:
            raise BadInput(str(fields["error"]), fields["hint"] and str(fields["hint"]))
        width, height, whole_width, whole_height = map(int, fields["sizes"])
        media_type = {"PNG": "image/png", "JPEG": "image/jpeg"}[fields["form"]]
        notice = fields["notice"] and str(fields["notice"])
    except (ValueError, KeyError, TypeError) as error:  # the child crashed
        raise BadInput(f"{name} is damaged or cut off") from error
    return ConvertedImage(data, media_type, (width, height), (whole_width, whole_height), notice)


def _serve() -> None:
    """Draw one page in a process of its own: a request on stdin, the answer on stdout."""
    head, _, data = sys.stdin.buffer.read().partition(b"\n")
    request = json.loads(head)
    _limit_cpu(request["seconds"])
    region = request["region"] and Region(**request["region"])
    part = MediaFragment(page=request["page"], region=region)
    form = next(one for one in FORMATS if one.name == "PDF")
    found = FoundImage(InMemory(data), request["name"])
    try:
        made = _draw(InspectedImage(found, form, None, part), request["max_side"])
    except BadInput as error:
        answer = json.dumps({"error": error.message, "hint": error.hint}).encode()
    else:
        form_name = "PNG" if made.media_type == "image/png" else "JPEG"
        fields = {"sizes": [*made.size, *made.whole], "form": form_name, "notice": made.notice}
        answer = json.dumps(fields).encode() + b"\n" + made.data
    sys.stdout.buffer.write(answer)


def _limit_cpu(seconds: int) -> None:
    """End this process after so many seconds of CPU, even if nobody is left to kill it."""
    if sys.platform != "win32":
        import resource

        with suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(resource.RLIMIT_CPU, (seconds + 1, seconds + 2))


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
