"""The server of the sandbox, on loopback: it reads requests, finds the protocol they speak, and sends what that replies.

How the protocols behave, and where that was seen, stands in `web_protocol.py` and `api_protocol.py`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self, assert_never

from reka_cli.sandbox import api_protocol, web_protocol
from reka_cli.sandbox.built_in_faults import FAULTS
from reka_cli.sandbox.fault import Fault
from reka_cli.sandbox.state import SandboxState
from reka_cli.sandbox.steps import BodyPart, Cut, Reply, Stream, Verbatim, Wait, WholeReply

_LARGEST_BODY = 80 << 20
_GLANCE_S = 0.05  # between two looks whether the client is still there


@dataclass(frozen=True)
class Received:
    """One request as it came in: the method and path, headers by lower-case name, and the body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server(ThreadingHTTPServer):
    """A running sandbox; a context manager that serves from a thread of its own.

    `url` is its origin, `token` a bearer token it takes; `on_request` sees each request. `faults` are the misbehaviors
    that can be asked for, by name.
    """

    daemon_threads = True

    def __init__(
        self,
        port: int = 0,
        on_request: Callable[[Received], None] | None = None,
        faults: Mapping[str, Fault] = FAULTS,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.on_request = on_request
        self.stopping = threading.Event()
        self.state = SandboxState(faults)
        self.token = self.state.mint()

    def __enter__(self) -> Self:
        # the poll interval is how long the end of a question may have to wait
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _is_cut = False
    server: Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._send(web_protocol.refusal(413, "the sandbox takes no body of this length"))
            return
        self._serve(self.rfile.read(int(length)))

    def log_message(self, *_: object) -> None:
        """Keep quiet: what comes in is told to `on_request`."""

    def version_string(self) -> str:
        return "reka-cli-sandbox"

    def _serve(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.server.on_request:
            self.server.on_request(Received(self.command, self.path, headers, body))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            match self._reply(headers, body):
                case WholeReply() as status:
                    self._send(status)
                case Stream() as stream:
                    self._stream(stream)
                case Verbatim(parts):
                    self.close_connection = True
                    for data in self._data(parts()):
                        self.wfile.write(data)
                case Cut() as cut:
                    self._cut(cut)
                case reply:
                    assert_never(reply)

    def _reply(self, headers: dict[str, str], body: bytes) -> Reply:
        state, authorization = self.server.state, headers.get("authorization", "")
        match self.command, self.path:
            case "GET", "/bff/auth/access_token":
                return web_protocol.access_token(state, headers.get("cookie", ""))
            case "GET", "/bff/auth/login":
                return web_protocol.LOGIN_PAGE
            case "POST", "/api/upload-image" | "/api/chat" if not web_protocol.is_authorized(
                state, authorization
            ):
                return web_protocol.refusal(401, "Unauthorized")
            case "POST", "/api/upload-image":
                return web_protocol.upload(state, headers.get("content-type", ""), body)
            case "POST", "/api/chat":
                return web_protocol.chat(state, body)
            case method, path if path.startswith("/v1/"):
                return api_protocol.reply(state, method, path, authorization, body)
        return web_protocol.refusal(404, "Not Found")

    def _stream(self, stream: Stream) -> None:
        """Send the parts as they come; the head goes with the first of them."""
        begun = False
        for data in self._data(stream.parts):
            if not begun:
                self._begin(stream)
                begun = True
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if stream.framed else data)
        if self._is_cut:
            return
        if not begun:
            self._begin(stream)
        if stream.framed:
            self.wfile.write(b"0\r\n\r\n")

    def _data(self, parts: Iterable[BodyPart]) -> Iterator[bytes]:
        """Give the bytes when they are due; end early where the connection breaks off or nobody is there."""
        for part in parts:
            match part:
                case bytes():
                    yield part
                case Wait(seconds) if self._wait(seconds):
                    pass
                case Wait():
                    self._cut(Cut())
                    return
                case Cut():
                    self._cut(part)
                    return

    def _wait(self, seconds: float) -> bool:
        """Wait, unless the client goes away or the server stops."""
        until = time.monotonic() + seconds
        while not self._client_is_gone():
            left_s = until - time.monotonic()
            if left_s <= 0:
                return True
            if self.server.stopping.wait(min(left_s, _GLANCE_S)):
                return False
        return False

    def _client_is_gone(self) -> bool:
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        return not self.connection.recv(1, socket.MSG_PEEK)

    def _cut(self, cut: Cut) -> None:
        self.close_connection = self._is_cut = True
        if cut.reset:
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            socket.close(
                self.connection.detach()
            )  # at once: what else holds the socket would end it in order first

    def _begin(self, stream: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", stream.media_type)
        if stream.framed:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, status: WholeReply) -> None:
        self.send_response(status.code, HTTPStatus(status.code).phrase)
        for name, value in status.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", status.media_type)
        self.send_header("Content-Length", str(len(status.body)))
        self.end_headers()
        self.wfile.write(status.body)
