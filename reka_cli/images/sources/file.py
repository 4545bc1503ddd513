"""`file:` URLs, which name a file of this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from reka_cli.errors import BadInput
from reka_cli.images.file_content import FoundImage
from reka_cli.images.sources._paths import FindContext, find_at

USAGE = ("file:///PATH", "A file of this machine.")


def recognizes(text: str) -> bool:
    return text.lower().startswith("file:")


def find(text: str, context: FindContext) -> list[FoundImage]:
    """Return the image at the path of a URL; raise BadInput for another machine's."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise BadInput("this is no file: URL", hint="file:///PATH") from error
    if parts.netloc not in ("", "localhost"):
        raise BadInput("a file: URL can only name a file of this machine", hint="file:///PATH")
    return find_at(Path(unquote(parts.path, errors="surrogateescape")), context)
