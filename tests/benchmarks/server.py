"""A service on loopback that is told by its URL how to answer, in OpenAI's form and in that of Reka's web session.

    http://127.0.0.1:PORT/c/n=200,rate=0,te=chunked,size=4,text=words/v1/chat/completions
    http://127.0.0.1:PORT/c/n=200,rate=0,te=chunked,size=4,text=words/api/chat

`n` events of `size` characters, `rate` a second (0: as fast as they are taken), framed in chunks or ended by closing
(`te=close`); with `text=times`, each event tells when it was sent (nanoseconds of the monotonic clock, and `;`), with
`text=markdown` they are an answer with headings, lists, tables and code.
Each whole POST is a line of the log: the time and the path.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.markdown import answer

_WORDS = "The quick brown fox jumps over the lazy dog; naïve café déjà vu 日本語 text. " * 40
_BLOCK = 65_536  # bytes that are sent at once where no rate is asked for
_HEAD = {
    "id": "chatcmpl-0123456789abcdefghijklmn",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
}


@dataclass(frozen=True)
class Course:
    """How to answer."""

    n: int = 200
    rate: float = 0.0
    te: str = "chunked"
    size: int = 4
    text: str = "words"
    is_web: bool = False

    @classmethod
    def of(cls, path: str) -> Course:
        """Read it from a path."""
        told = dict(
            pair.split("=", 1)
            for part in path.split("/")
            if "=" in part
            for pair in part.split(",")
        )
        return cls(
            int(told.get("n", 200)),
            float(told.get("rate", 0)),
            told.get("te", "chunked"),
            int(told.get("size", 4)),
            told.get("text", "words"),
            path.endswith("/api/chat"),
        )

    def deltas(self) -> Iterator[str]:
        """Give the new text of each event."""
        whole = answer(self.n * self.size) if self.text == "markdown" else ""
        for index in range(self.n):
            if self.text == "times":
                yield f"{time.monotonic_ns()};"
            elif whole:
                yield whole[index * self.size : (index + 1) * self.size]
            else:
                begin = index * self.size % (len(_WORDS) // 2)
                yield (_WORDS[begin:] * (1 + self.size // len(_WORDS) * 2))[: self.size]

    def events(self) -> Iterator[bytes]:
        """Give the answer in frames, each made when it is asked for."""
        for event in self._web_events() if self.is_web else self._api_events():
            yield b"%x\r\n%s\r\n" % (len(event), event) if self.te == "chunked" else event
        if self.te == "chunked":
            yield b"0\r\n\r\n"

    def _api_events(self) -> Iterator[bytes]:
        yield _chunk({"role": "assistant", "content": ""})
        for delta in self.deltas():
            yield _chunk({"content": delta})
        usage = {"prompt_tokens": 3, "completion_tokens": self.n, "total_tokens": self.n + 3}
        yield _chunk({}, "stop", usage)
        yield b"data: [DONE]\n\n"

    def _web_events(self) -> Iterator[bytes]:
        so_far = ""
        for delta in self.deltas():
            so_far += delta
            yield _event({"type": "model", "text": so_far})
        yield _event(
            {
                "type": "model",
                "text": so_far,
                "finish_reason": "stop",
                "metadata": {"input_tokens": 3},
            }
        )


def _chunk(delta: dict[str, str], reason: str | None = None, usage: object = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return _event(
        {**_HEAD, "model": "m", "choices": [choice], **({"usage": usage} if usage else {})}
    )


def _event(value: dict[str, object]) -> bytes:
    return b"data: %s\n\n" % json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(4)
def _blocks(course: Course) -> list[bytes]:
    """Give the whole answer, ready to be sent: the server is not what is to be measured."""
    blocks, block = [], bytearray()
    for event in course.events():
        block += event
        if len(block) >= _BLOCK:
            blocks.append(bytes(block))
            block.clear()
    return [*blocks, bytes(block)]


def _stream(connection: socket.socket, course: Course) -> None:
    framing = "Transfer-Encoding: chunked" if course.te == "chunked" else "Connection: close"
    connection.sendall(
        f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n".encode()
    )
    if not course.rate:
        for block in _blocks(course):
            connection.sendall(block)
        return
    started = time.monotonic()
    events = course.events()
    for index in range(sys.maxsize):
        time.sleep(max(0.0, started + index / course.rate - time.monotonic()))
        event = next(events, None)  # not before its time: it may tell when that was
        if event is None:
            return
        connection.sendall(event)


def _reply(connection: socket.socket, value: object) -> None:
    body = json.dumps(value).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


def _token() -> str:
    claims = {"exp": int(time.time()) + 86_400}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({}, claims)
    ]
    return ".".join([*parts, "bench"])


def _requests(connection: socket.socket) -> Iterator[tuple[str, str]]:
    """Give method and path of each request once it is whole; what it holds is thrown away."""
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            got = connection.recv(_BLOCK)
            if not got:
                return
            held += got
        head, _, held = held.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
        }
        if "100-continue" in headers.get("expect", ""):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding") == "chunked":
            while not held.endswith(b"0\r\n\r\n"):
                held = held[-8:] + connection.recv(1 << 20)
            held = b""
        left = int(headers.get("content-length", 0)) - len(held)
        held = held[left:] if left < 0 else b""
        while left > 0:
            left -= len(connection.recv(min(left, 1 << 20)))
        method, path, _ = first.split(" ", 2)
        yield method, path


def _serve(connection: socket.socket, log: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for method, path in _requests(connection):
            if method == "POST":
                os.write(log, b"%d %s\n" % (time.monotonic_ns(), path.encode()))
            if path.endswith("/models"):
                _reply(connection, {"object": "list", "data": [{"id": "m", "object": "model"}]})
            elif path.endswith("/access_token"):
                _reply(connection, {"accessToken": _token()})
            elif path.endswith("/upload-image"):
                _reply(connection, {"media_url": "https://bench.invalid/image"})
            else:
                course = Course.of(path)
                _stream(connection, course)
                if course.te != "chunked":
                    return
    except OSError:
        pass  # the client went away
    finally:
        connection.close()


def main() -> None:
    """Serve until killed; the first line of stdout is the origin, the one argument is the path of the log."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, log), daemon=True).start()


if __name__ == "__main__":
    main()
