"""Answers of a service, damaged from the status line on: an answer, or an error of ours."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import threading
from pathlib import Path

from fuzz._draw import cut, mutated
from reka_cli import Client, RekaError
from reka_cli.config import Config

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
EVENTS = {
    "web": (
        {"type": "model", "text": "hello"},
        {"type": "model", "text": "hello you\n <sep>"},
        {"type": "model", "text": "hello you", "finish_reason": "stop", "metadata": {"input_tokens": 1, "generated_tokens": 2}},
    ),
    "api": (
        {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]},
        {"model": "m", "choices": [{"index": 0, "delta": {"reasoning": "why", "content": "<think>a</think>hi"}}]},
        {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
    ),
}  # fmt: skip
WORDS = (
    *(b"\r\n", b"\n\n", b"\r\n\r\n", b"data: ", b"data: [DONE]\n\n", b"event: error\n", b"0\r\n\r\n", b"ffff\r\n", b": c\n\n"),
    *(b"Content-Length: 5\r\n", b"Content-Encoding: gzip\r\n", b"Transfer-Encoding: chunked\r\n", b"Location: //x\r\n"),
    *(b"null", b"{", b"[", b'"', b"1e999", b"\xff", b"\0", b"\\ud800", b"<html>", b" <sep>", b"<think>", b"429", b"HTTP/1.1 100 \r\n\r\n"),
)  # fmt: skip


class _Service:
    """A listener that answers every request with the same bytes, in pieces."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.pieces: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(65_536)
                for piece in self.pieces:
                    connection.sendall(piece)


_service: _Service | None = None


def once(data: random.Random) -> None:
    global _service  # noqa: PLW0603 - started where it is needed, once
    service = _service = _service or _Service()
    protocol = data.choice(("web", "api"))
    service.pieces = cut(data, mutated(data, _answer(data, protocol), WORDS))
    home = Path("/nonexistent")
    config = Config(
        home,
        provider=protocol,
        model="m",
        web_base=service.url,
        token="t",
        api_base=f"{service.url}/v1",
    )
    with contextlib.suppress(RekaError):
        Client(config=config, retries=0, timeout_s=2.0, idle_timeout_s=1.0).ask("hello").read()


def _answer(data: random.Random, protocol: str) -> bytes:
    body = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in EVENTS[protocol])
    media_type = b"text/event-stream"
    if data.random() < 0.2:
        body, media_type = json.dumps(data.choice(EVENTS[protocol])).encode(), b"application/json"
    head = HEAD % media_type
    match data.randrange(4):
        case 0:
            return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        case 1:
            return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
                len(body),
                body,
            )
        case 2:
            return head + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(body)
        case _:
            return head + b"\r\n" + body
