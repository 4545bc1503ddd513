"""Many questions through one client: kept connections, and what can go wrong with one."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import socket
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import pytest
import zygote
from conftest import CAT, ROOT
from PIL import Image as Pillow
from sample_images import encoded

from reka_cli import Answer, Client, NetworkError, RekaError
from reka_cli.config import Config
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Notice, TextDelta

LISTS = {
    "GET /v1/models": b'{"data": [{"id": "m"}]}',
    "GET /bff/auth/access_token": b'{"accessToken": "token-1"}',
}
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
WAIT_S = 20.0  # for what happens at once on an idle machine
THREADS = 12


@dataclass
class Connection:
    """One connection that the service accepted, and the questions that came over it."""

    number: int
    questions: list[str] = field(default_factory=list)
    requests: int = 0
    client_closed: threading.Event = field(default_factory=threading.Event)
    server_closed: threading.Event = field(default_factory=threading.Event)


@dataclass
class Exchange:
    """One question on a connection, and how to respond to it."""

    peer: socket.socket
    connection: Connection
    question: str

    @property
    def is_on_kept_connection(self) -> bool:
        return self.connection.requests > 1

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)

    def respond(self) -> None:
        self.send(response_to(self.question))

    def reset(self) -> None:
        """Let closing the connection send a reset (RST) in place of an orderly end (FIN)."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Speak = Callable[[Exchange], bool]  # whether the connection is to stay open


class Service:
    """A chat service on loopback that keeps connections open, and leaves each question to `speak`.

    The first requests for anything else get `errors`, the others a list of models or a token. With
    `only_reads_heads_of_kept`, it closes a connection at the head of its second request.
    """

    def __init__(
        self,
        speak: Speak,
        *,
        errors: Sequence[bytes] = (),
        only_reads_heads_of_kept: bool = False,
    ) -> None:
        self._errors = [*errors]
        self._only_reads_heads_of_kept = only_reads_heads_of_kept
        self.connections: list[Connection] = []
        self.requests: list[str] = []
        self._speak = speak
        self._peers: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.api_base = f"{self.origin}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def questions(self) -> list[list[str]]:
        """The questions of each connection."""
        return [connection.questions for connection in self.connections]

    def close(self) -> None:
        for one in (self._listener, *self._peers):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                connection = Connection(len(self.connections) + 1)
                self.connections.append(connection)
                self._peers.append(peer)
                threading.Thread(target=self._serve, args=(peer, connection), daemon=True).start()

    def _serve(self, peer: socket.socket, connection: Connection) -> None:
        with peer, peer.makefile("rb") as stream:
            try:
                while self._handle(peer, stream, connection):
                    pass
            except OSError:
                connection.client_closed.set()
        connection.server_closed.set()

    def _handle(self, peer: socket.socket, stream: BinaryIO, connection: Connection) -> bool:
        """Respond to one request; return whether another may follow."""
        request = read_head(stream)
        if request is None:
            connection.client_closed.set()
            return False
        what, size = request
        with self._lock:
            self.requests.append(what)
        connection.requests += 1
        if connection.requests > 1 and self._only_reads_heads_of_kept:
            return False
        question = question_in(stream.read(size)) if size else ""
        if what.startswith("GET "):
            peer.sendall(
                self._errors.pop(0) if self._errors else response(LISTS[what], "application/json")
            )
            return True
        connection.questions.append(question)
        return self._speak(Exchange(peer, connection, question))


def read_head(stream: BinaryIO) -> tuple[str, int] | None:
    """Return method with path, and the size of the body; None if the connection was closed."""
    first = stream.readline()
    if not first:
        return None
    size = 0
    while (line := stream.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    return first.rpartition(b" ")[0].decode(), size


def question_in(body: bytes) -> str:
    asked = json.loads(body)
    content = (
        asked["messages"][-1]["content"] if "messages" in asked else asked["conversation_history"]
    )
    return str(content if isinstance(content, str) else content[-1]["text"])


def answer_to(question: str) -> str:
    return f"Answer to {question}"


def event(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def events_to(question: str) -> list[bytes]:
    words = answer_to(question).split(" ")
    texts = [words[0], *(f" {word}" for word in words[1:])]
    return [*map(event, texts), event("", "stop"), b"data: [DONE]\n\n"]


def head(*headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def response(body: bytes, media_type: str = "text/event-stream", *headers: str) -> bytes:
    fields = [f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode() + body


def response_to(question: str, *headers: str) -> bytes:
    return response(b"".join(events_to(question)), "text/event-stream", *headers)


def chunked_response_to(question: str) -> bytes:
    """Return each event as a chunk of its own, as most services do."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in events_to(question))
    return head("Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"


def keep(exchange: Exchange) -> bool:
    """Respond, and keep the connection open."""
    exchange.respond()
    return True


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    with contextlib.ExitStack() as stack:

        def start(speak: Speak = keep, **options: Any) -> Service:
            service = Service(speak, **options)
            stack.callback(service.close)
            return service

        yield start


@pytest.fixture
def connect(home: Path) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:

        def connect(service: Service, **options: Any) -> Client:
            config = Config(home, api_base=service.api_base)
            client = Client("api", model="m", config=config, timeout_s=WAIT_S, **options)
            return stack.enter_context(client)

        yield connect


Start = Callable[..., Service]
Connect = Callable[..., Client]


def read(answer: Answer) -> tuple[str, list[str], int]:
    """Return the text of an answer, its notices, and the attempts that it took."""
    notices = [one.text for one in answer if isinstance(one, Notice)]
    return answer.read(), notices, answer.attempts


def good(question: str) -> tuple[str, list[str], int]:
    return answer_to(question), [], 1


def all_at_once(threads: int, respond: Callable[[Exchange], None] = Exchange.respond) -> Speak:
    """Hold each question until so many are there."""
    together = threading.Barrier(threads)

    def speak(exchange: Exchange) -> bool:
        together.wait(WAIT_S)
        respond(exchange)
        return True

    return speak


def in_chunks(exchange: Exchange) -> None:
    exchange.send(chunked_response_to(exchange.question))


def ask_all(client: Client, questions: list[str]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return [*pool.map(lambda question: client.ask(question, images=[CAT]).read(), questions)]


def numbered(count: int) -> list[str]:
    return [f"question {number}" for number in range(count)]


class TestManyThreads:
    @pytest.mark.parametrize("respond", [Exchange.respond, in_chunks], ids=["length", "chunks"])
    def test_each_thread_needs_one_connection_and_the_models_are_listed_once(
        self, start: Start, connect: Connect, respond: Callable[[Exchange], None]
    ) -> None:
        service = start(all_at_once(THREADS, respond))
        client = connect(service)
        first, second = numbered(60), numbered(24)

        assert ask_all(client, first) == [*map(answer_to, first)]
        assert len(service.connections) == THREADS

        assert ask_all(client, second) == [*map(answer_to, second)]
        assert len(service.connections) == THREADS
        assert service.requests.count("GET /v1/models") == 1
        assert service.requests.count("POST /v1/chat/completions") == 84

    def test_a_list_that_cannot_be_had_is_asked_for_once(
        self, start: Start, connect: Connect
    ) -> None:
        service = start(errors=[BUSY] * THREADS)

        assert ask_all(connect(service), numbered(THREADS)) == [*map(answer_to, numbered(THREADS))]
        assert service.requests.count("GET /v1/models") == 1

    def test_closing_the_client_closes_every_connection(
        self,
        start: Start,
        connect: Connect,
    ) -> None:
        service = start(all_at_once(THREADS))
        client = connect(service)
        ask_all(client, numbered(THREADS))
        ends = [connection.client_closed for connection in service.connections]
        closed_before = [end.is_set() for end in ends]

        client.close()

        assert all(end.wait(WAIT_S) for end in ends)
        assert closed_before == [False] * THREADS


class TestKeptConnection:
    @pytest.mark.parametrize("respond", [Exchange.respond, in_chunks], ids=["length", "chunks"])
    def test_an_answer_that_is_read_returns_its_connection(
        self, start: Start, connect: Connect, respond: Callable[[Exchange], None]
    ) -> None:
        service = start(all_at_once(1, respond))
        client = connect(service)

        assert [read(client.ask(question)) for question in numbered(3)] == [*map(good, numbered(3))]
        assert service.questions == [numbered(3)]

    @pytest.mark.parametrize("is_sent", ["before", "after", "never"])
    def test_an_answer_that_is_closed_early_leaves_nothing_for_the_next(
        self, start: Start, connect: Connect, is_sent: str
    ) -> None:
        closed = threading.Event()

        def speak(exchange: Exchange) -> bool:
            if exchange.question != "first":
                exchange.respond()
                return True
            begin, *rest = events_to("first")
            exchange.send(head(f"Content-Length: {len(begin) + len(b''.join(rest))}") + begin)
            if is_sent == "after":
                closed.wait(WAIT_S)
            if is_sent != "never":
                exchange.send(b"".join(rest))
            return True

        service = start(speak)
        client = connect(service)
        answer = client.ask("first")
        assert next(one for one in answer if isinstance(one, TextDelta)) == TextDelta("Answer")
        answer.close()
        closed.set()

        assert read(client.ask("second")) == good("second")
        assert read(client.ask("third")) == good("third")
        if is_sent != "before":  # else the whole response may be there, and its connection be kept
            assert service.questions == [["first"], ["second", "third"]]
            assert service.connections[0].client_closed.wait(WAIT_S)

    def test_a_late_cancellation_leaves_the_next_question_alone(
        self, start: Start, connect: Connect
    ) -> None:
        is_canceled = threading.Event()

        def speak(exchange: Exchange) -> bool:
            if exchange.question == "second":
                begin, *rest = events_to("second")
                exchange.send(head(f"Content-Length: {len(begin) + len(b''.join(rest))}") + begin)
                is_canceled.wait(WAIT_S)
                exchange.send(b"".join(rest))
            else:
                exchange.respond()
            return True

        client = connect(start(speak))
        first, second = client.ask("first"), client.ask("second")
        for answer in (first, second):  # of the first everything is there, but nobody has read it
            assert next(one for one in answer if isinstance(one, TextDelta)) == TextDelta("Answer")
        first.cancel()
        is_canceled.set()

        assert second.read() == answer_to("second")

    @pytest.mark.slow
    def test_one_that_says_nothing_new_after_the_end_is_not_waited_for(
        self, start: Start, connect: Connect
    ) -> None:
        def speak(exchange: Exchange) -> bool:
            exchange.send(head() + b"".join(events_to(exchange.question)[:-1]))
            while True:
                exchange.send(b": still here\n\n")
                time.sleep(0.1)

        answer = connect(start(speak)).ask("hello")

        assert answer.read() == answer_to("hello")
        assert answer.total_s < WAIT_S / 2

    def test_stray_bytes_are_not_the_next_answer(self, start: Start, connect: Connect) -> None:
        idle = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        was_sent, is_read = threading.Event(), threading.Event()

        def speak(exchange: Exchange) -> bool:
            exchange.respond()
            if exchange.question == "first":
                is_read.wait(WAIT_S)
                exchange.send(idle)  # as a service does that closes what was idle for too long
                was_sent.set()
                return False
            return True

        service = start(speak)
        client = connect(service)
        assert read(client.ask("first")) == good("first")
        is_read.set()
        assert was_sent.wait(WAIT_S)

        assert read(client.ask("second")) == good("second")
        assert service.questions == [["first"], ["second"]]

    @pytest.mark.slow
    def test_the_time_of_one_question_ends_with_it(self, start: Start, connect: Connect) -> None:
        limit_s = 1.5
        is_past = threading.Event()

        def speak(exchange: Exchange) -> bool:
            if exchange.question == "second":
                is_past.wait(limit_s + 0.5)  # longer than the first was allowed to take
            exchange.respond()
            return True

        service = start(speak)
        client = connect(service, idle_timeout_s=limit_s)

        assert read(client.ask("first", deadline=Deadline.after(limit_s))) == good("first")
        assert read(client.ask("second")) == good("second")
        assert service.questions == [["first", "second"]]


class TestServerThatCloses:
    @pytest.mark.parametrize(
        "headers",
        [(), ("Connection: close",)],
        ids=["unannounced", "announced"],
    )
    def test_after_each_response_a_new_connection_is_used(
        self, start: Start, connect: Connect, headers: tuple[str, ...]
    ) -> None:
        def speak(exchange: Exchange) -> bool:
            exchange.send(response_to(exchange.question, *headers))
            return False

        service = start(speak)
        client = connect(service, retries=0)
        for question in numbered(3):
            assert read(client.ask(question)) == good(question)
            assert service.connections[-1].server_closed.wait(WAIT_S)

        assert service.questions == [[question] for question in numbered(3)]

    @pytest.mark.parametrize("end", [lambda _: None, Exchange.reset], ids=["end", "reset"])
    def test_a_kept_connection_without_a_response_is_retried_on_a_new_one(
        self, start: Start, connect: Connect, end: Callable[[Exchange], None]
    ) -> None:
        def speak(exchange: Exchange) -> bool:
            if exchange.is_on_kept_connection:
                end(exchange)
                return False
            exchange.respond()
            return True

        service = start(speak)
        client = connect(service, retries=0)

        assert [read(client.ask(question)) for question in numbered(3)] == [*map(good, numbered(3))]
        first, second, third = numbered(3)
        assert service.questions == [[first, second], [second, third], [third]]

    def test_an_image_that_only_part_of_was_sent_is_sent_again_as_a_whole(
        self, start: Start, connect: Connect, tmp_path: Path
    ) -> None:
        noise = Pillow.frombytes("RGB", (2_000, 1_500), random.Random(7).randbytes(9_000_000))
        image = tmp_path / "noise.png"
        image.write_bytes(encoded(noise, "PNG"))  # 12 MB as base64, more than two sockets buffer
        service = start(only_reads_heads_of_kept=True)
        client = connect(service, retries=0)
        client.ask("first").read()

        assert read(client.ask("second", images=[image])) == good("second")
        first, models, second = service.connections
        assert [first.requests, models.requests, second.requests] == [2, 2, 1]

    def test_the_retry_uses_no_other_kept_connection(self, start: Start, connect: Connect) -> None:
        together = threading.Barrier(3)

        def speak(exchange: Exchange) -> bool:
            if exchange.is_on_kept_connection:
                return False
            if exchange.question != "last":
                together.wait(WAIT_S)
            exchange.respond()
            return True

        service = start(speak)
        client = connect(service, retries=0)
        with ThreadPoolExecutor(3) as pool:
            answers = [*pool.map(lambda question: client.ask(question).read(), numbered(3))]

        assert answers == [*map(answer_to, numbered(3))]
        assert read(client.ask("last")) == good("last")
        *kept, new = service.questions
        assert len(kept) == 3
        assert ["last" in questions for questions in kept].count(True) == 1
        assert new == ["last"]

    @pytest.mark.parametrize("end", [lambda _: None, Exchange.reset], ids=["end", "reset"])
    def test_a_new_connection_without_a_response_is_an_error_and_not_retried(
        self, start: Start, connect: Connect, end: Callable[[Exchange], None]
    ) -> None:
        def speak(exchange: Exchange) -> bool:
            end(exchange)
            return False

        service = start(speak)
        with pytest.raises(NetworkError) as caught:
            connect(service).ask("hello").read()

        assert caught.value.exit_code == 9
        assert service.questions == [["hello"]]

    def test_a_retry_that_fails_likewise_is_the_last(self, start: Start, connect: Connect) -> None:
        def speak(exchange: Exchange) -> bool:
            if exchange.question == "second":
                return False
            exchange.respond()
            return True

        service = start(speak)
        client = connect(service)
        client.ask("first").read()
        with pytest.raises(NetworkError) as caught:
            client.ask("second").read()

        assert caught.value.exit_code == 9
        assert service.questions == [["first", "second"], ["second"]]
        assert read(client.ask("third")) == good("third")

    @pytest.mark.parametrize("end", [lambda _: None, Exchange.reset], ids=["end", "reset"])
    @pytest.mark.parametrize(
        "part",
        [
            b"H",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            head("Content-Length: 1000"),
            head("Content-Length: 1000") + event("Answer"),
            head("Transfer-Encoding: chunked") + b"5\r\ndata",
        ],
        ids=["one byte", "status", "informational", "head", "body", "chunk"],
    )
    def test_a_response_that_has_begun_is_not_asked_for_again(
        self, start: Start, connect: Connect, part: bytes, end: Callable[[Exchange], None]
    ) -> None:
        def speak(exchange: Exchange) -> bool:
            if exchange.question == "second":
                exchange.send(part)
                end(exchange)
                return False
            exchange.respond()
            return True

        service = start(speak)
        client = connect(service)
        client.ask("first").read()
        with pytest.raises(RekaError) as caught:
            client.ask("second").read()

        # as on a new connection: NetworkError, or IncompleteAnswer where something was to be read
        assert caught.value.exit_code in (9, 10)
        assert service.questions == [["first", "second"]]
        assert read(client.ask("third")) == good("third")


class TestAnswerThatIsNotReadOn:
    """Its question has asked for what others need too, and waits to ask for it again."""

    def test_another_question_lists_the_models(self, start: Start, home: Path) -> None:
        service = start(errors=[BUSY])
        with Client(
            "api", config=Config(home, api_base=service.api_base), timeout_s=WAIT_S
        ) as client:
            waiting, other = client.ask("waiting"), client.ask("other")
            assert isinstance(next(iter(waiting)), Notice)

            assert read(other) == good("other")
            assert waiting.read() == answer_to("waiting")

        assert service.requests == ["GET /v1/models"] * 2 + ["POST /v1/chat/completions"] * 2

    def test_another_question_gets_the_token(
        self, start: Start, home: Path, cookies_file: Path
    ) -> None:
        def speak(exchange: Exchange) -> bool:
            text = json.dumps(
                {"type": "model", "text": answer_to(exchange.question), "finish_reason": "stop"}
            )
            exchange.send(response(f"data: {text}\n\n".encode()))
            return True

        service = start(speak, errors=[BUSY])
        config = Config(home, web_base=service.origin, cookies_file=cookies_file)
        with Client("web", config=config, timeout_s=WAIT_S) as client:
            waiting, other = client.ask("waiting"), client.ask("other")
            assert any(isinstance(one, Notice) for one in waiting)

            assert read(other) == good("other")
            assert waiting.read() == answer_to("waiting")

        assert service.requests == ["GET /bff/auth/access_token"] * 2 + ["POST /api/chat"] * 2


@pytest.mark.parametrize("errors", [[], [BUSY]], ids=["stale connection", "retried list"])
def test_what_failed_on_the_way_is_dropped_without_the_garbage_collector(
    start: Start, home: Path, errors: list[bytes]
) -> None:
    def speak(exchange: Exchange) -> bool:
        if exchange.is_on_kept_connection and exchange.question == "second":
            return False
        exchange.respond()
        return True

    service = start(speak, errors=errors)
    client = Client("api", config=Config(home, api_base=service.api_base), timeout_s=WAIT_S)
    pool = weakref.ref(client._connections())
    gc.disable()
    try:
        assert [client.ask(one).read() for one in ("first", "second")] == [
            *map(answer_to, ("first", "second"))
        ]
        del client

        assert pool() is None
    finally:
        gc.enable()


_FORKS = """
import os
import sys

from reka_cli import Client

def ask(question):
    sys.stdout.write(f"{client.ask(question).read()}\\n")
    sys.stdout.flush()

with Client("api", model="m") as client:
    ask("before")
    child = os.fork()
    if child == 0:
        ask("child")
    else:
        ask("parent")
        assert os.waitpid(child, 0)[1] == 0
        ask("after")
"""


def test_a_forked_child_does_not_share_connections(start: Start, clean_env: dict[str, str]) -> None:
    together = threading.Barrier(2)

    def speak(exchange: Exchange) -> bool:
        if exchange.question in ("child", "parent"):
            together.wait(WAIT_S)
        exchange.respond()
        return True

    service = start(speak)
    ended = zygote.run(
        [sys.executable, "-c", _FORKS],
        env=clean_env | {"REKA_API_BASE": service.api_base},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert (lines[0], lines[-1]) == (answer_to("before"), answer_to("after"))
    assert sorted(lines[1:-1]) == [answer_to("child"), answer_to("parent")]
    assert service.questions == [["before", "parent", "after"], ["child"]]


def test_a_question_may_be_asked_at_any_moment_of_another(start: Start, connect: Connect) -> None:
    """As a signal handler may do, and what the garbage collector ends."""
    service = start()
    client = connect(service)
    client.ask("first").read()
    inner: list[str] = []

    def ask(frame: FrameType, what: str, _: object) -> None:
        if what in ("call", "return") and frame.f_code.co_filename.endswith(
            ("connections.py", "connectionpool.py", "queue.py")
        ):
            sys.setprofile(None)
            inner.append(client.ask("inner").read())
            sys.setprofile(ask)

    answer = client.ask("outer")
    sys.setprofile(ask)
    try:
        text = answer.read()
    finally:
        sys.setprofile(None)

    assert text == answer_to("outer")
    assert set(inner) == {answer_to("inner")}
