"""`file:` URLs, which name a file of this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from reka_cli.errors import BadInput
from reka_cli.images.content import Found
from reka_cli.images.sources._paths import Means, found_at

USAGE = ("file:///PATH", "A file of this machine.")


def recognizes(text: str) -> bool:
    return text.lower().startswith("file:")


def find(text: str, means: Means) -> list[Found]:
    """Return the image at the path of a URL; raise BadInput for another machine's."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise BadInput("this is no file: URL", hint="file:///PATH") from error
    if parts.netloc not in ("", "localhost"):
        raise BadInput("a file: URL can only name a file of this machine", hint="file:///PATH")
    return found_at(Path(unquote(parts.path, errors="surrogateescape")), means)
