"""Server-sent events: wherever the bytes are cut, they are the same."""

from __future__ import annotations

import random

from fuzz._draw import cut, joined
from reka_cli.transport.sse import events

PARTS = (
    *(b"\n", b"\n", b"\r", b"\r\n", b"data: a", b"data:", b"data", b"event: x", b"event:", b"event: error", b"error: a", b"id: 1", b"retry: 5", b": c"),
    *(b'{"a": 1}', b" ", b":", b"\xef\xbb\xbf", b"\xef", "é🐈".encode(), "\u2028".encode(), b"\xff", b"\0", b"x" * 300),
)  # fmt: skip


def once(data: random.Random) -> None:
    stream = joined(data, PARTS)
    whole, pieces = list(events([stream])), list(events(cut(data, stream)))
    assert pieces == whole, stream
