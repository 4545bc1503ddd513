"""An answer that nobody wants any more: canceled from another thread, closed, dropped, or left open."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zygote
from conftest import ROOT, Service
from sites import Handler, Site, image, moved
from test_signals import full

from reka_cli import Answer, Client, IncompleteAnswer
from reka_cli.config import Config
from reka_cli.messages import Notice, Start, TextDelta

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
DELTA = (
    b'data: {"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": null}]}\n\n'
)
SLOW = b"HTTP/1.1 429 Slow\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
LONG_S = 20.0  # what is waited for takes milliseconds


@dataclass
class Peer:
    """A server that says `words` once it was asked, and reads on when it may until the connection is closed."""

    words: bytes = b""
    port: int = 0
    asked: threading.Event = field(default_factory=threading.Event)
    may_read_on: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(LONG_S)
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        if not connection.recv(1):
            return
        connection.sendall(self.words)
        self.asked.set()
        self.may_read_on.wait(LONG_S)
        with contextlib.suppress(ConnectionError):
            while connection.recv(1 << 20):
                pass
        self.closed.set()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    with contextlib.ExitStack() as stack:

        def peer(words: bytes = b"", *, reads_on: bool = True) -> Peer:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            found = Peer(words, listener.getsockname()[1])
            if reads_on:
                found.may_read_on.set()
            thread = threading.Thread(target=found.serve, args=(listener,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return found

        yield peer


@pytest.fixture
def client(home: Path) -> Iterator[Callable[..., Client]]:
    """Make a client of a server on loopback; it is closed at the end."""
    with contextlib.ExitStack() as stack:

        def client(port: int, scheme: str = "http", host: str = "127.0.0.1") -> Client:
            config = Config(home, api_base=f"{scheme}://{host}:{port}/v1")
            return stack.enter_context(Client("api", model="m", config=config, timeout_s=120))

        yield client


class Reader:
    """A thread that reads an answer; what it came to."""

    def __init__(self, answer: Answer) -> None:
        self.failure: BaseException | None = None
        self.began = threading.Event()
        self._answer = answer
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        try:
            for event in self._answer:
                if isinstance(event, TextDelta | Notice):
                    self.began.set()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            self.failure = error

    def outcome(self) -> tuple[type[BaseException], str]:
        self.thread.join(LONG_S)
        assert not self.thread.is_alive()
        return type(self.failure), str(self.failure)


CANCELED = (IncompleteAnswer, "the question was canceled")


@pytest.mark.parametrize(
    "words", [b"", HEAD[:20], HEAD, HEAD + DELTA], ids=["silent", "head", "body", "middle"]
)
def test_a_silent_answer_is_canceled(
    peer: Callable[..., Peer], client: Callable[..., Client], words: bytes
) -> None:
    service = peer(words)
    answer = client(service.port).ask("hello")
    reader = Reader(answer)
    assert service.asked.wait(LONG_S)
    answer.cancel()

    assert reader.outcome() == CANCELED
    assert service.closed.wait(LONG_S)
    assert answer.is_canceled


def test_closing_from_another_thread_cancels(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    service = peer(HEAD + DELTA)
    answer = client(service.port).ask("hello")
    reader = Reader(answer)
    assert reader.began.wait(LONG_S)
    answer.close()

    assert reader.outcome() == CANCELED
    assert service.closed.wait(LONG_S)
    assert answer.text == "half"


def test_an_answer_that_another_thread_closed_between_two_events_does_not_seem_complete(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    answer = client(peer(HEAD + DELTA).port).ask("hello")
    events = iter(answer)
    assert [next(events), next(events)] == [Start("m"), TextDelta("half")]
    closing = threading.Thread(target=answer.close)
    closing.start()
    closing.join()

    for iterator in (events, iter(answer)):
        with pytest.raises(IncompleteAnswer, match=r"^the answer was closed before its end$"):
            next(iterator)


def test_closing_the_client_cancels(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    service = peer(HEAD + DELTA)
    asking = client(service.port)
    reader = Reader(asking.ask("hello"))
    assert reader.began.wait(LONG_S)
    asking.close()

    assert reader.outcome() == CANCELED
    assert service.closed.wait(LONG_S)


def test_closing_the_client_cancels_a_request_for_its_models(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    service = peer()
    asking = client(service.port)
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(asking.models)
        assert service.asked.wait(LONG_S)
        asking.close()

        with pytest.raises(IncompleteAnswer, match=r"^the question was canceled$"):
            listing.result(LONG_S)


def test_closing_the_client_ends_a_download_at_its_next_request(
    client: Callable[..., Client], site: Site
) -> None:
    asking = client(9)

    def page(handler: Handler) -> None:
        asking.close()
        moved("/image.png")(handler)

    site.pages = {"/": page, "/image.png": image}
    with pytest.raises(IncompleteAnswer, match=r"^the question was canceled$"):
        asking.load([f"{site.url}/"])

    assert [path for path, _ in site.received] == ["/"]


def test_the_wait_for_another_attempt_is_canceled(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    service = peer(SLOW)
    answer = client(service.port).ask("hello")
    reader = Reader(answer)
    assert reader.began.wait(LONG_S)  # the notice
    answer.cancel()

    assert reader.outcome() == CANCELED


def test_the_wait_for_a_rate_limit_is_canceled(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    service = peer(SLOW)
    asking = client(service.port)
    first, second = asking.ask("hello"), asking.ask("hello")
    readers = [Reader(first)]
    assert readers[0].began.wait(LONG_S)
    readers.append(Reader(second))
    assert readers[1].began.wait(LONG_S)
    second.cancel()
    first.cancel()

    assert [reader.outcome() for reader in readers] == [CANCELED, CANCELED]


def test_an_upload_is_canceled(peer: Callable[..., Peer], client: Callable[..., Client]) -> None:
    service = peer(reads_on=False)
    answer = client(service.port).ask("x" * (9 << 20))
    reader = Reader(answer)
    assert service.asked.wait(LONG_S)
    answer.cancel()

    assert reader.outcome() == CANCELED
    service.may_read_on.set()
    assert service.closed.wait(LONG_S)


def test_a_tls_handshake_is_canceled(
    peer: Callable[..., Peer], client: Callable[..., Client]
) -> None:
    service = peer()
    answer = client(service.port, "https").ask("hello")
    reader = Reader(answer)
    assert service.asked.wait(LONG_S)
    answer.cancel()

    assert reader.outcome() == CANCELED
    assert service.closed.wait(LONG_S)


def test_connecting_is_canceled(client: Callable[..., Client]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        full(listener.getsockname()),
    ):
        answer = client(listener.getsockname()[1]).ask("hello")
        assert next(iter(answer)) == Start("m")
        reader = Reader(answer)
        answer.cancel()

        assert reader.outcome() == CANCELED


def test_a_name_lookup_is_canceled(
    client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, over = threading.Event(), threading.Event()

    def getaddrinfo(*_: object) -> list[object]:
        asked.set()
        over.wait(LONG_S)
        raise socket.gaierror(socket.EAI_AGAIN, "x")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    answer = client(9, host="localhost").ask("hello")
    reader = Reader(answer)
    assert asked.wait(LONG_S)
    answer.cancel()

    assert reader.outcome() == CANCELED
    over.set()


def test_the_wait_for_the_token_of_another_question_is_canceled(
    peer: Callable[..., Peer], home: Path, cookies_file: Path
) -> None:
    service = peer()  # takes the request for a token, and says nothing
    env = {
        "REKA_HOME": str(home),
        "REKA_WEB_BASE": f"http://127.0.0.1:{service.port}",
        "REKA_COOKIES": str(cookies_file),
    }
    with Client("web", config=Config.read(env)) as asking:
        first, second = asking.ask("hello"), asking.ask("hello")
        readers = [Reader(first), Reader(second)]
        assert service.asked.wait(LONG_S)
        second.cancel()
        first.cancel()

        assert [reader.outcome() for reader in readers] == [CANCELED, CANCELED]


def test_an_answer_that_was_canceled_before_it_began_asks_nothing(
    client: Callable[..., Client], service: Service
) -> None:
    answer = client(service.server.server_address[1]).ask("hello")
    answer.cancel()

    with pytest.raises(IncompleteAnswer, match=r"^the question was canceled$"):
        answer.read()
    assert service.paths == []


def test_a_complete_answer_stays_complete(client: Callable[..., Client], service: Service) -> None:
    asking = client(service.server.server_address[1])
    answer = asking.ask("hello", model="sandbox")
    text = answer.read()
    answer.cancel()
    answer.close()

    assert answer.read() == text
    assert asking.ask("hello", model="sandbox").read() == text


def test_the_next_question_of_the_client_is_answered(
    client: Callable[..., Client], service: Service
) -> None:
    asking = client(service.server.server_address[1])
    with asking.ask("hello", model="sandbox-stall") as answer:
        reader = Reader(answer)
        assert reader.began.wait(LONG_S)
        answer.cancel()
        assert reader.outcome() == CANCELED

    assert asking.ask("hello", model="sandbox").read().endswith("Your question was: hello")


def test_a_closed_client_says_so(client: Callable[..., Client]) -> None:
    asking = client(9)
    asking.close()
    asking.close()

    with pytest.raises(Exception, match=r"^the client is closed$"):
        asking.ask("hello")


@pytest.mark.parametrize("model", ["sandbox-stall", "sandbox-cut", "sandbox-500"])
def test_what_is_dropped_is_closed_without_the_garbage_collector(model: str) -> None:
    client = Client("sandbox", retries=0)
    pool = weakref.ref(client._connections())
    gc.disable()
    try:
        answer = client.ask("hello", model=model)
        with contextlib.suppress(Exception):
            for event in answer:
                if isinstance(event, TextDelta) and model == "sandbox-stall":
                    break
        del answer, client

        assert pool() is None
    finally:
        gc.enable()


def test_a_signal_handler_may_cancel(clean_env: dict[str, str]) -> None:
    code = """
import os, signal, threading
from reka_cli import Client, IncompleteAnswer
from reka_cli.messages import TextDelta
client = Client("sandbox")
answer = client.ask("hello", model="sandbox-stall")
signal.signal(signal.SIGUSR1, lambda *_: answer.cancel())
try:
    for event in answer:
        if isinstance(event, TextDelta):
            threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
except IncompleteAnswer as error:
    print(error)
print(client.ask("again").read()[-5:])
"""
    ended = zygote.run(
        [sys.executable, "-c", code],
        env=clean_env,
        cwd=ROOT,
        capture_output=True,
        timeout=LONG_S,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (
        0,
        "the question was canceled\nagain\n",
        "",
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_end_the_sandbox_of_its_parent(clean_env: dict[str, str]) -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads and fork
from reka_cli import Client
client = Client("sandbox")
client.ask("hello").read()
child = os.fork()
text = client.ask("hello").read()
if child:
    print(os.waitpid(child, 0)[1], client.ask("hello").read() == text)
"""
    ended = zygote.run(
        [sys.executable, "-c", code],
        env=clean_env,
        cwd=ROOT,
        capture_output=True,
        timeout=LONG_S,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0 True\n", "")
