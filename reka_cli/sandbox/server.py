"""The server of the sandbox: the wire of Reka's web session, as others' clients show it, on loopback.

Behaviour, and where it was seen (docs/protocols.md, A) or that it is assumed:

- `GET /bff/auth/access_token` with a cookie `appSession` or `appSession.0`: `{"accessToken": JWT}`, 24 h (seen, A3).
  Without a session: a redirect to the login page (assumed). The cookie's value asks for more: `sandbox-expired`
  redirects to the login page, `sandbox-login-page` serves it with status 200 (both assumed), a value that begins
  with `sandbox-rotate` is refreshed by `Set-Cookie` (seen, A2).
- `POST /api/upload-image`, multipart, part `image`: `{"media_url": URL}`; the URL has a raw `|` and `=` (seen, A4).
  What is no picture is refused with 400 (assumed).
- `POST /api/chat`: server-sent events with the text so far, `finish_reason` and `metadata` on the last one, the
  separator letter by letter before it (seen, A6 and A7); with `stream: false` one JSON object (seen, A6). Turns that
  do not alternate, media on a later turn, media that was never uploaded: 400 (rules of API v0; that the web session
  has them is assumed).
- A bearer token that the server did not mint: 401 (seen, A8).
"""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from reka_cli.sandbox.answers import Picture, answer, measure, texts_so_far
from reka_cli.sandbox.faults import BareLine, Cut, End, Fault, Raw, Say, Status, Step, Wait, find, whole

_TOKEN_LIFE_S = 86_400
_LARGEST_BODY = 80 << 20
_MOST_PICTURES = 200  # kept by a server that runs for long
_LOGIN_PAGE = b"<!doctype html><title>Log in</title><p>sandbox: this stands for a login page"


@dataclass(frozen=True)
class Received:
    """One request as it came in: the method and path, headers by lower-case name, and the body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server(ThreadingHTTPServer):
    """A running sandbox; a context manager that serves from a thread of its own.

    `url` is its origin, `token` a bearer token it takes; `on_request` sees each request.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, on_request: Callable[[Received], None] | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.on_request = on_request
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._tokens: set[str] = set()
        self._pictures: dict[str, Picture] = {}
        self._asked: dict[str, int] = {}
        self.token = self.mint()

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

    def mint(self) -> str:
        claims = {"iss": "reka-cli sandbox", "exp": int(time.time()) + _TOKEN_LIFE_S, "jti": secrets.token_hex(8)}
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
        token = ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "sandbox"])
        with self._lock:
            self._tokens.add(token)
        return token

    def takes(self, token: str) -> bool:
        return token in self._tokens

    def keep(self, picture: Picture) -> str:
        """Keep what was measured of a picture and give the URL that refers to it."""
        url = f"https://sandbox.invalid/sandbox|user/vlm/{picture.sha256[:24]}=="
        with self._lock:
            self._pictures[url] = picture
            while len(self._pictures) > _MOST_PICTURES:
                del self._pictures[next(iter(self._pictures))]
        return url

    def picture(self, url: object) -> Picture | None:
        return self._pictures.get(url) if isinstance(url, str) else None

    def is_due(self, model: str, fault: Fault) -> bool:
        """Whether the fault strikes this time."""
        with self._lock:
            self._asked[model] = self._asked.get(model, 0) + 1
            return not fault.once or self._asked[model] % 2 == 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self._refuse(413, "the sandbox takes no body of this length")
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
            match self.command, self.path:
                case "GET", "/bff/auth/access_token":
                    self._access_token()
                case "GET", "/bff/auth/login":
                    self._send(Status(200, _LOGIN_PAGE, "text/html"))
                case "POST", "/api/upload-image" | "/api/chat" if not self._is_authorized():
                    self._refuse(401, "Unauthorized")
                case "POST", "/api/upload-image":
                    self._upload(body)
                case "POST", "/api/chat":
                    self._chat(body)
                case _:
                    self._refuse(404, "Not Found")

    def _is_authorized(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and self.server.takes(token)

    def _access_token(self) -> None:
        cookies = {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("Cookie", "")).items()}
        value = cookies.get("appSession") or cookies.get("appSession.0")
        if value == "sandbox-login-page":
            self._send(Status(200, _LOGIN_PAGE, "text/html"))
        elif not value or value == "sandbox-expired":
            self._send(Status(302, headers={"Location": "/bff/auth/login"}))
        else:
            headers = {}
            if value.startswith("sandbox-rotate"):
                headers["Set-Cookie"] = f"appSession={value}x; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=86400"
            self._send(Status(200, json.dumps({"accessToken": self.server.mint()}).encode(), headers=headers))

    def _upload(self, body: bytes) -> None:
        head = f"Content-Type: {self.headers.get('Content-Type', '')}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        for part in form.iter_parts() if form.is_multipart() else ():
            if part.get_param("name", header="content-disposition") == "image":
                payload = part.get_payload(decode=True)
                picture = measure(payload) if isinstance(payload, bytes) else None
                if picture:
                    self._send(Status(200, json.dumps({"media_url": self.server.keep(picture)}).encode()))
                else:
                    self._refuse(400, "the part named image is no picture")
                return
        self._refuse(400, "there is no part named image")

    def _chat(self, body: bytes) -> None:
        try:
            request = json.loads(body)
            model, turns = str(request["model_name"]), _checked(request["conversation_history"])
            pictures = [self._picture_of(turn) for turn in turns if "image_url" in turn]
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(400, f"malformed request: {error}")
            return
        fault = find(model)
        if fault and not self.server.is_due(model, fault):
            fault = None
        text = answer(turns[-1]["text"], pictures, len(turns))
        if fault and fault.hang_up:
            self.close_connection = True
        elif fault and fault.status:
            self._send(fault.status)
        elif request.get("stream") is not True:
            self._send(Status(200, _event(text, "stop")))
        else:
            texts = texts_so_far(text)
            steps = fault.course(texts) if fault and fault.course else whole(texts)
            self._stream(steps, chunked=not (fault and fault.close_framing))

    def _picture_of(self, turn: dict[str, str]) -> Picture:
        picture = self.server.picture(turn["image_url"])
        if picture is None:
            raise ValueError("this image_url was not uploaded here")
        if turn.get("media_type") != "image":
            raise ValueError("media_type is missing, or not one the sandbox can measure")
        return picture

    def _stream(self, steps: Iterable[Step], *, chunked: bool) -> None:
        begun = False

        def begin() -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked") if chunked else self.send_header("Connection", "close")
            self.end_headers()

        for data in self._wire(steps):
            if not begun:
                begin()
                begun = True
            if data is None:
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
        if not begun:
            begin()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _wire(self, steps: Iterable[Step]) -> Iterator[bytes | None]:
        """Turn steps into bytes of this wire; None is where the connection breaks off."""
        for step in steps:
            match step:
                case Say(text):
                    yield b"event: message\ndata: %s\n\n" % _event(text)
                case End(finish_reason, text):
                    yield b"event: message\ndata: %s\n\n" % _event(text, finish_reason)
                case BareLine(text):
                    yield _event(text, "stop") + b"\n"
                case Raw(data):
                    yield data
                case Cut():
                    yield None
                case Wait(seconds):
                    if self.server.stopping.wait(seconds):
                        yield None

    def _refuse(self, code: int, message: str) -> None:
        self._send(Status(code, json.dumps({"error": {"message": message}}).encode()))

    def _send(self, status: Status) -> None:
        self.send_response(status.code, HTTPStatus(status.code).phrase)
        for name, value in status.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", status.media_type)
        self.send_header("Content-Length", str(len(status.body)))
        self.end_headers()
        self.wfile.write(status.body)


def _checked(turns: Any) -> Sequence[dict[str, str]]:
    """Hold a history against the documented rules of API v0; raise ValueError where it breaks one."""
    if not isinstance(turns, list) or not turns:
        raise ValueError("conversation_history is empty")
    for index, turn in enumerate(turns):
        if turn["type"] != ("model" if index % 2 else "human"):
            raise ValueError("turns must alternate, human first")
        if not isinstance(turn["text"], str):
            raise TypeError("text is no text")
        if index and ("image_url" in turn or "media_type" in turn):
            raise ValueError("media is allowed on the first turn only")
    if len(turns) % 2 == 0:
        raise ValueError("the last turn must be human")
    return turns


def _event(text: str, finish_reason: str | None = None) -> bytes:
    event: dict[str, object] = {"type": "model", "text": text}
    if finish_reason:
        words = len(text.split())
        event |= {"metadata": {"input_tokens": words, "generated_tokens": words}, "finish_reason": finish_reason}
    return json.dumps(event, ensure_ascii=False).encode()
