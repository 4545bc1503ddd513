"""Ways to put a stream on the wire, from the status line on: as HTTP has it, and as it should not be; pure.

Sources: RFC 9112 (HTTP/1.1) 6 and 7, RFC 9110 8.4; RFC 7932 9.2 for what is stored in Brotli's form.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator

from reka_cli.sandbox.fault import Framing
from reka_cli.sandbox.steps import BodyPart, Stream

LAST_CHUNK = b"0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
_LARGEST_BLOCK = 1 << 16  # bytes that Brotli stores in one block

Recode = Callable[[Iterable[BodyPart]], Iterable[BodyPart]]


def head(*fields: str, status: str = "200 OK", media_type: str = "text/event-stream") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {media_type}", *fields, "", "")
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def chunked(
    *fields: str, recode: Recode = iter, media_type: str | None = None, last: bytes = LAST_CHUNK
) -> Framing:
    """In chunks, which is the usual way, after other fields or recoded."""

    def framed(stream: Stream) -> Iterator[BodyPart]:
        yield head(
            CHUNKED, *fields, media_type=stream.media_type if media_type is None else media_type
        )
        for part in recode(stream.parts):
            yield chunk(part) if isinstance(part, bytes) else part
        yield last

    return framed


def unframed(*fields: str, version: bytes = b"1.1", media_type: str | None = None) -> Framing:
    """With fields of its own; the body ends with the connection."""

    def framed(stream: Stream) -> Iterator[BodyPart]:
        yield head(
            *fields, media_type=stream.media_type if media_type is None else media_type
        ).replace(b"1.1", version, 1)
        yield from stream.parts

    return framed


def with_length(announced: Callable[[int], int], more: bytes = b"") -> Framing:
    """With a Content-Length that may not be that of the body; `more` follows after it."""

    def framed(stream: Stream) -> Iterator[BodyPart]:
        body = b"".join(part for part in stream.parts if isinstance(part, bytes))
        yield head(f"Content-Length: {announced(len(body))}", media_type=stream.media_type)
        yield body + more

    return framed


def then(tail: Callable[[], Iterable[BodyPart]]) -> Framing:
    """In chunks, and after them bytes as they are instead of the last chunk."""

    def framed(stream: Stream) -> Iterator[BodyPart]:
        yield from chunked(last=b"")(stream)
        yield from tail()

    return framed


def after(before: Callable[[], Iterable[BodyPart]]) -> Framing:
    """In chunks, after bytes that stand before the status line."""

    def framed(stream: Stream) -> Iterator[BodyPart]:
        yield from before()
        yield from chunked()(stream)

    return framed


def headless(stream: Stream) -> Iterable[BodyPart]:
    """As HTTP/0.9 had it: the body and nothing else."""
    return stream.parts


def each(change: Callable[[bytes], bytes]) -> Recode:
    return lambda parts: (change(part) if isinstance(part, bytes) else part for part in parts)


def byte_by_byte(parts: Iterable[BodyPart]) -> Iterator[BodyPart]:
    for part in parts:
        if isinstance(part, bytes):
            yield from (part[index : index + 1] for index in range(len(part)))
        else:
            yield part


def compressed(window_bits: int) -> Recode:
    """As zlib does it: 31 gives gzip, 15 what HTTP calls deflate; each part can be read when it comes."""

    def recoded(parts: Iterable[BodyPart]) -> Iterator[BodyPart]:
        compressor = zlib.compressobj(wbits=window_bits)
        for part in parts:
            if isinstance(part, bytes):
                yield compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH)
            else:
                yield part
        yield compressor.flush()

    return recoded


def brotli(parts: Iterable[BodyPart]) -> Iterator[BodyPart]:
    """In Brotli's form, stored as it is, so that no library is needed."""
    window_bits = 1  # how many bits tell the size of the window, in front of the first block
    for part in parts:
        if not isinstance(part, bytes):
            yield part
            continue
        for begin in range(0, len(part), _LARGEST_BLOCK):
            block = part[begin : begin + _LARGEST_BLOCK]
            header = ((len(block) - 1) << 3 | 1 << 19) << window_bits
            yield header.to_bytes(3, "little") + block
            window_bits = 0
    yield b"\x03"
