"""What makes it fast, held without a clock: how often is read, how work grows; for imports see test_processes.py."""

from __future__ import annotations

import contextlib
import gc
import http.server
import json
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any, Self

import pytest
from conftest import CAT, Service, needs_limited_typer

from reka_cli import Client
from reka_cli.commands import _options, ask
from reka_cli.config import Config
from reka_cli.messages import TextDelta
from reka_cli.sandbox.server import Server

Python = Callable[[str], Any]


def test_typer_is_limited_to_what_does_without_pydantic() -> None:
    assert [one for one in requires("reka-cli") or [] if one.startswith("typer")] == [
        "typer<0.29,>=0.28"
    ]


@needs_limited_typer
def test_typer_does_without_pydantic() -> None:
    assert [one for one in requires("typer") or [] if one.startswith("pydantic")] == []


def test_the_options_of_a_question_are_no_texts_that_typer_must_evaluate() -> None:
    modules = [ask, _options]

    texts = "from __future__ import annotations makes texts of them"
    assert [one for one in modules if hasattr(one, "annotations")] == [], texts


class Counting(Server):
    """A sandbox that counts connections."""

    accepted = 0

    def get_request(self) -> Any:
        self.accepted += 1
        return super().get_request()


def test_token_image_and_question_share_one_connection(home: Path, cookies_file: Path) -> None:
    paths: list[str] = []
    with Counting(on_request=lambda request: paths.append(request.path)) as server:
        config = Config.read(
            {"REKA_HOME": str(home), "REKA_WEB_BASE": server.url, "REKA_COOKIES": str(cookies_file)}
        )
        Client("web", config=config).ask("hello", images=[CAT]).read()

        assert (paths, server.accepted) == (
            ["/bff/auth/access_token", "/api/upload-image", "/api/chat"],
            1,
        )


def test_a_kept_token_leaves_one_request(service: Service, home: Path, cookies_file: Path) -> None:
    config = Config.read(
        {"REKA_HOME": str(home), "REKA_WEB_BASE": service.url, "REKA_COOKIES": str(cookies_file)}
    )
    for _ in range(2):
        Client("web", config=config).ask("hello").read()

    assert service.paths == ["/bff/auth/access_token", "/api/chat", "/api/chat"]


@pytest.fixture
def one_by_one() -> Iterator[Callable[[list[bytes], bool], tuple[str, queue.SimpleQueue[None]]]]:
    """Serve events, each only when asked for by what is put into the queue; framed in chunks or not."""
    with contextlib.ExitStack() as stack:

        def serve(events: list[bytes], in_chunks: bool) -> tuple[str, queue.SimpleQueue[None]]:
            wanted: queue.SimpleQueue[None] = queue.SimpleQueue()

            class Handler(http.server.BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Transfer-Encoding", "chunked") if in_chunks else None
                    self.send_header("Connection", "close")
                    self.end_headers()
                    for event in events:
                        wanted.get(timeout=20)
                        self.wfile.write(
                            b"%x\r\n%s\r\n" % (len(event), event) if in_chunks else event
                        )
                    self.wfile.write(b"0\r\n\r\n" if in_chunks else b"")
                    self.close_connection = True

                def log_message(self, *_: object) -> None:
                    pass

            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            return f"http://127.0.0.1:{server.server_address[1]}", wanted

        yield serve


class Operations:
    """Counts the calls of a thread while it is active: of Python and C functions, or of those with one name."""

    def __init__(self, name: str | None = None) -> None:
        self.count = 0
        self._name = name

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()  # what was left over from before would be counted when it is found
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _note(self, frame: Any, event: str, called: Any) -> None:
        if event == "c_call":
            self.count += self._name in (None, called.__name__)
        elif event == "call":
            self.count += self._name in (None, frame.f_code.co_name)


def api_event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def web_event(text: str) -> bytes:
    return b"data: " + json.dumps({"type": "model", "text": text}).encode() + b"\n\n"


API_END = b"data: [DONE]\n\n"
WEB_END = b'data: {"type": "model", "text": "x1x2x3x4", "finish_reason": "stop"}\n\n'


@pytest.mark.parametrize("in_chunks", [True, False], ids=["in chunks", "until it closes"])
@pytest.mark.parametrize("protocol", ["api", "web"])
def test_each_event_is_passed_on_after_one_read_and_before_the_next_is_sent(
    protocol: str,
    in_chunks: bool,
    home: Path,
    one_by_one: Callable[[list[bytes], bool], tuple[str, queue.SimpleQueue[None]]],
) -> None:
    texts = [f"x{number}" for number in range(1, 5)]
    events = (
        [*map(api_event, texts), API_END]
        if protocol == "api"
        else [*(web_event("".join(texts[:length])) for length in range(1, 5)), WEB_END]
    )
    origin, wanted = one_by_one(events, in_chunks)
    env = {
        "REKA_HOME": str(home),
        "REKA_API_BASE": f"{origin}/v1",
        "REKA_WEB_BASE": origin,
        "REKA_TOKEN": "t",
    }
    answer = iter(Client(protocol, model="m", config=Config.read(env)).ask("hello"))
    next(answer)  # Start
    came = []
    wanted.put(None)
    came.append((next(answer), 1))  # and the head of the answer
    for _ in texts[1:]:
        wanted.put(None)
        with Operations("recv_into") as reads:
            event = next(answer)
        came.append((event, reads.count))
    wanted.put(None)
    for _ in answer:
        pass

    assert came == [(TextDelta(text), 1) for text in texts]


def events_of(size: int) -> tuple[bytes, list[Path]]:
    return b"".join([*(api_event("word ") for _ in range(size)), api_event("."), API_END]), []


def long_events_of(size: int) -> tuple[bytes, list[Path]]:
    return b"".join([*(api_event("word " * size) for _ in range(20)), api_event("."), API_END]), []


def lines_of(size: int) -> tuple[bytes, list[Path]]:
    return api_event("x").replace(b"data:", b": nothing\n" * size + b"data:") + API_END, []


def counted_events_of(size: int) -> tuple[bytes, list[Path]]:
    event = api_event("word ")
    return b"".join(
        event.replace(b'"index": 0', b'"index": %d' % at) for at in range(size)
    ) + API_END, []


def growing_messages_of(size: int) -> tuple[bytes, list[Path]]:
    event = api_event("word")
    parts = (
        event.replace(b"delta", b"message").replace(b"word", b"word" * (at + 1))
        for at in range(size)
    )
    return b"".join(parts) + API_END, []


def images_of(size: int) -> tuple[bytes, list[Path]]:
    return api_event("x") + API_END, [CAT] * size


@pytest.mark.parametrize(
    ("of", "size"),
    [
        (events_of, 200),
        (counted_events_of, 200),
        (growing_messages_of, 50),
        (long_events_of, 100),
        (lines_of, 1_000),
        (images_of, 4),
    ],
)
def test_work_grows_no_faster_than_what_there_is_to_do(
    of: Callable[[int], tuple[bytes, list[Path]]],
    size: int,
    home: Path,
    serve_stream: Callable[..., str],
) -> None:
    def operations(times: int) -> int:
        body, images = of(times * size)
        config = Config.read({"REKA_HOME": str(home), "REKA_API_BASE": f"{serve_stream(body)}/v1"})
        with Operations() as counted:
            Client("api", model="m", config=config).ask("hello", images=images).read()
        return counted.count

    operations(1)  # what is done once, such as to import
    one, two, four = operations(1), operations(2), operations(4)

    assert (four - two) <= 2 * (two - one) * 1.05 + 300  # what the sizes of reads leave open
