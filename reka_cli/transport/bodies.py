"""Bodies of requests that are read in blocks, with a length that is known before: an image is never one string."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reka_cli.errors import BadInput
from reka_cli.messages import Blocks, Encoded


@dataclass(frozen=True)
class Body:
    """Pieces in order; each attempt reads them from the start."""

    content_type: str
    pieces: tuple[bytes | Blocks, ...]

    def __len__(self) -> int:
        return sum(
            len(piece) if isinstance(piece, bytes) else piece.size_bytes for piece in self.pieces
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks; raise BadInput rather than leave the service waiting for what does not come."""
        left = len(self)
        for piece in self.pieces:
            for block in (piece,) if isinstance(piece, bytes) else piece.blocks():
                left -= len(block)
                yield block
        if left:
            raise BadInput("an image was changed while it was being sent", hint="ask again")


@dataclass(frozen=True)
class DataUrl:
    """An image as a string of a JSON value."""

    image: Encoded

    @property
    def size_bytes(self) -> int:
        return len(self._head) + -(-self.image.size_bytes // 3) * 4

    def blocks(self) -> Iterator[bytes]:
        yield self._head
        rest = b""
        for block in self.image.blocks():
            data = rest + block
            whole = len(data) - len(data) % 3  # padding may only stand at the end
            rest = data[whole:]
            yield b64encode(memoryview(data)[:whole])
        yield b64encode(rest)

    @property
    def _head(self) -> bytes:
        return f"data:{self.image.media_type};base64,".encode()


def json_body(value: Mapping[str, Any]) -> Body:
    """Give a JSON body; a DataUrl in `value` is spliced in as it is read."""
    mark = secrets.token_hex(16)  # which no text of the user's can hold
    urls: list[DataUrl] = []

    def replace_data_url(url: object) -> str:
        if not isinstance(url, DataUrl):
            raise TypeError(f"no JSON: {type(url)}")
        urls.append(url)
        return mark

    try:
        text = json.dumps(value, default=replace_data_url, allow_nan=False)
    except ValueError as error:
        raise BadInput("the question holds a number that JSON has no word for") from error
    first, *rest = text.encode().split(mark.encode())
    pieces: list[bytes | Blocks] = [first]
    for url, after in zip(urls, rest, strict=True):
        pieces += [url, after]
    return Body("application/json", tuple(pieces))


def form_body(field: str, filename: str, image: Encoded) -> Body:
    """Give a multipart form of one file (RFC 7578)."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
        f"Content-Type: {image.media_type}\r\n\r\n"
    )
    return Body(
        f"multipart/form-data; boundary={boundary}",
        (head.encode(), image, f"\r\n--{boundary}--\r\n".encode()),
    )
