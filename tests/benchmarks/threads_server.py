"""A loopback service that answers each question after a latency and keeps its connections open.

    python -m benchmarks.threads_server [RATE]

`GET /stats` returns how many connections it accepted, how many requests of each kind it got and how
many it rejected with 429: with a RATE, those beyond so many a second, from a bucket of one second.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter

ANSWER = "A cat sits on a mat and looks at you with green eyes while rain falls outside the window."
LATENCY_S = 0.2

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _answer() -> bytes:
    """Return the answer as an event stream, with one event for each word."""
    events = [_event({"content": word}) for word in re.findall(r"\S+ ?", ANSWER)]
    return b"".join([*events, _event({}, "stop"), b"data: [DONE]\n\n"])


def _response(media_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ANSWER = _response("text/event-stream", _answer())
_MODELS = _response("application/json", b'{"object": "list", "data": [{"id": "m"}]}')
_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
    b'Content-Length: 33\r\n\r\n{"error":{"message":"slow down"}}'
)


class _Bucket:
    """A token bucket that holds what is allowed in one second; a rate of 0 allows everything."""

    def __init__(self, rate: float) -> None:
        self._rate = self._tokens = rate
        self._at_s = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at_s) * self._rate)
        self._at_s = now
        if self._rate and self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Connection(asyncio.Protocol):
    def __init__(self, counts: Counter[str], bucket: _Bucket) -> None:
        self._counts = counts
        self._bucket = bucket
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._counts["connections"] += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while request := self._next_request():
            self._respond(request)

    def _next_request(self) -> str | None:
        """Return method and path of the next request, or None if it is not complete yet."""
        head_end = self._received.find(_HEAD_END)
        if head_end < 0:
            return None
        head = bytes(self._received[:head_end])
        length = _LENGTH.search(head)
        end = head_end + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._received) < end:
            return None
        del self._received[:end]
        return head.split(b" HTTP/", 1)[0].decode()

    def _respond(self, request: str) -> None:
        if request == "GET /stats":
            self._send(_response("application/json", json.dumps(self._counts).encode()))
            return
        self._counts[request] += 1
        if request.endswith("/models"):
            self._send(_MODELS)
        elif not self._bucket.take():
            self._counts["429"] += 1
            self._send(_TOO_MANY)
        else:
            asyncio.get_running_loop().call_later(LATENCY_S, self._send, _ANSWER)

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)


async def _serve() -> None:
    counts: Counter[str] = Counter()
    bucket = _Bucket(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(counts, bucket), "127.0.0.1", 0, backlog=1024
    )
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
