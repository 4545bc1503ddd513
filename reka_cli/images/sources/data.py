"""Data URLs: what they hold.

Source: RFC 2397; the blanks and the missing padding that browsers forgive, https://infra.spec.whatwg.org/#forgiving-base64.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

from reka_cli.errors import BadInput
from reka_cli.images.file_content import FoundImage, InMemory
from reka_cli.images.sources._paths import FindContext

USAGE = ("data:URL", "An image in the URL itself (RFC 2397).")

_BLANKS = re.compile(rb"[\t\n\f\r ]+")


def recognizes(text: str) -> bool:
    return text.lower().startswith("data:")


def find(text: str, _: FindContext) -> list[FoundImage]:
    """Return the image that a URL holds."""
    return [FoundImage(InMemory(_decode(text)), "image")]


def _decode(url: str) -> bytes:
    """Return the bytes in a data URL; raise BadInput, without repeating it, if it is not one."""
    head, comma, payload = url.partition(",")
    if not comma:
        raise BadInput("a data URL has no comma: data:image/png;base64,...")
    data = unquote_to_bytes(payload.encode("utf-8", "surrogateescape"))
    if not head.lower().rstrip().endswith(";base64"):
        return data
    data = _BLANKS.sub(b"", data).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except ValueError as error:
        raise BadInput("the data URL of an image is not base64") from error
