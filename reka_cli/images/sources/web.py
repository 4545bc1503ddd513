"""`http:` and `https:` URLs, which are downloaded."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from reka_cli.errors import BadInput
from reka_cli.escapes import one_line
from reka_cli.images.file_content import MAX_IMAGE_BYTES, FoundImage, InMemory
from reka_cli.images.sources._paths import FindContext
from reka_cli.limits.deadline import Deadline

USAGE = (
    "https://URL",
    "A download (http or https) of at most 30 s. A password in it is sent to its host only.",
)

_DOWNLOAD_S = 30.0
_WEB_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--(?>.*?-->)\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)


def recognizes(text: str) -> bool:
    return text.lower().startswith(("http:", "https:"))


def find(text: str, context: FindContext) -> list[FoundImage]:
    """Download an image; raise BadInput for a web page, and what `download` raises."""
    from reka_cli.transport.download import display_url, download

    seen = display_url(text)
    whole = context.deadline or Deadline.after(_DOWNLOAD_S)
    pool = context.pool() if context.pool else None
    data = download(text, whole.sooner(_DOWNLOAD_S), MAX_IMAGE_BYTES, context.log, pool)
    if _WEB_PAGE.match(data[:4096]):
        raise BadInput(f"{seen} is a web page, not an image")
    parts = urlsplit(text)
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname or ""
    return [FoundImage(InMemory(data), one_line(name) or "image")]
