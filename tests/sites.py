"""Web servers that have images, or do not."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PASSWORD = "canary-pw-5e1f"

Page = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        self.site.received.append((self.path, dict(self.headers)))
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.site.pages[self.path](self)

    def answer(self, status: int = 200, body: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Site:
    """A web server: what it has, and what it was asked."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    received: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def with_password(self, path: str, user: str = "user", password: str = PASSWORD) -> str:
        return f"{self.url.replace('//', f'//{user}:{password}@')}{path}"

    @property
    def authorizations(self) -> list[tuple[str, str | None]]:
        return [(path, headers.get("Authorization")) for path, headers in self.received]


@contextlib.contextmanager
def served() -> Iterator[Site]:
    site = Site()
    handler = type("Handler", (Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.stopping.set()
        server.shutdown()
        thread.join()


def image(handler: Handler) -> None:
    handler.answer(200, PIXEL, Content_Type="image/png")


def moved(to: str, status: int = 302) -> Page:
    return lambda handler: handler.answer(status, Location=to)


def locked(*challenges: str) -> Page:
    """A page that wants credentials, in any of the ways offered."""

    def page(handler: Handler) -> None:
        if handler.headers["Authorization"]:
            image(handler)
            return
        handler.send_response(401)
        for challenge in challenges:
            handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return page
