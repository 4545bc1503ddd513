"""Deadlines, retries and errors of the transport, against servers that speak bytes."""

from __future__ import annotations

import contextlib
import gc
import inspect
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator
from email.utils import formatdate
from typing import Any

import pytest
import requests.exceptions
import urllib3.exceptions

from reka_cli import transport
from reka_cli.errors import (
    BadInput,
    DeadlineExceeded,
    NetworkError,
    Refused,
    RekaError,
    ServiceError,
    UsageError,
)
from reka_cli.limits.call import Call, Limits
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Encoded, Notice
from reka_cli.transport import (
    Body,
    ConnectionPool,
    DataUrl,
    Response,
    Transport,
    failures,
    json_body,
)

Speak = Callable[[socket.socket, threading.Event], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@pytest.fixture
def serve() -> Iterator[Callable[[Speak], str]]:
    """Start a server that treats each connection as told, and give its URL; told to stop by an event."""
    stopping = threading.Event()
    with contextlib.ExitStack() as stack:

        def serve(speak: Speak) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        with connection, contextlib.suppress(OSError):
                            speak(connection, stopping)

            thread = threading.Thread(target=accept)
            thread.start()
            stack.callback(thread.join)
            stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            stack.callback(stopping.set)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield serve


def limits(total_s: float = 20, **more: float) -> Limits:
    return Limits(Deadline.after(total_s), **more)  # type: ignore[arg-type]


def finish(generator: Iterator[Notice]) -> tuple[list[str], Response]:
    """Run a request to its answer; give the notices and the answer."""
    notices = []
    while True:
        try:
            notices.append(next(generator).text)
        except StopIteration as end:
            return notices, end.value


class Opened:
    """A transport, and the limits of what is sent over it."""

    def __init__(self, transport: Transport, call: Call) -> None:
        self.transport = transport
        self._call = call

    def send(self, method: str, path: str, **more: Any) -> Generator[Notice, None, Response]:
        return self.transport.send(
            self._call, method, path, headers=more.pop("headers", {}), **more
        )


@contextlib.contextmanager
def connected(
    url: str, allowed: Limits, log: Callable[[str], None] | None = None
) -> Iterator[Opened]:
    with contextlib.closing(ConnectionPool()) as pool:
        yield Opened(Transport(url, pool, log), Call(allowed))


def fetch(url: str, allowed: Limits) -> bytes:
    with connected(url, allowed) as opened:
        _, response = finish(opened.send("GET", "/"))
        return b"".join(response.chunks())


def test_every_exception_of_the_libraries_is_one_of_ours() -> None:
    unmapped = []
    bases = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError)
    known = failures.TIMEOUTS + failures.UNREADABLE + failures.MISUSED + failures.DISTURBED
    for module in (requests.exceptions, urllib3.exceptions):
        for _, cls in inspect.getmembers(module, inspect.isclass):
            is_one = (
                issubclass(cls, Exception)
                and not issubclass(cls, Warning)
                and cls.__module__ == module.__name__
            )
            if is_one and cls not in bases and not issubclass(cls, known):
                unmapped.append(cls.__name__)

    assert unmapped == []


@pytest.mark.parametrize(
    ("error", "ours", "message"),
    [
        (requests.exceptions.SSLError("x"), NetworkError, "the connection to HOST failed: SSLError"),
        (requests.exceptions.InvalidURL("x"), UsageError, "cannot ask HOST: InvalidURL"),
        (requests.exceptions.ContentDecodingError("x"), ServiceError, "the response of HOST cannot be read: ContentDecodingError"),
        (requests.exceptions.ConnectTimeout("x"), DeadlineExceeded, "no connection to HOST within 10 s"),
        (requests.exceptions.RequestException("x"), NetworkError, "the request to HOST failed: RequestException"),
        (requests.ConnectionError(ConnectionResetError(104, "x")), NetworkError, "the connection to HOST failed: connection reset by peer"),
        (
            requests.ConnectionError(urllib3.exceptions.NewConnectionError(None, "x"), socket.gaierror(-2, "x")),  # type: ignore[arg-type]
            NetworkError,
            "cannot reach HOST: the name is not known",
        ),
        (
            requests.exceptions.ProxyError(urllib3.exceptions.ProxyError("x", OSError("Tunnel connection failed: 407 Proxy Authentication Required"))),
            NetworkError,
            "the connection to HOST failed: the proxy answered 407",
        ),
    ],
)  # fmt: skip
def test_an_error_is_put_in_words_of_ours(
    error: Exception, ours: type[RekaError], message: str
) -> None:
    translated = failures.translate(error, "HOST", limits())

    assert isinstance(translated, ours)
    assert translated.message == message


def test_headers_that_come_byte_by_byte_end_at_the_deadline(serve: Callable[[Speak], str]) -> None:
    def speak(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(OK + b"X-Long: ")
        while not stopping.wait(0.02):
            connection.sendall(b"x")

    url = serve(speak)
    with pytest.raises(DeadlineExceeded, match=r"no whole answer within 0\.4 s"):
        fetch(url, limits(0.4))


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"])
def test_a_body_that_comes_byte_by_byte_ends_at_the_deadline(
    serve: Callable[[Speak], str], framing: bytes
) -> None:
    def speak(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(OK + framing)
        while not stopping.wait(0.02):
            connection.sendall(b"1\r\nx\r\n")

    url = serve(speak)
    with pytest.raises(DeadlineExceeded, match=r"no whole answer within 0\.4 s"):
        fetch(url, limits(0.4, idle_s=0.2))


def test_silence_before_the_answer_is_bounded_by_the_total_alone(
    serve: Callable[[Speak], str],
) -> None:
    def speak(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(65_536)
        stopping.wait(0.3)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\nhi")

    assert fetch(serve(speak), limits(20, idle_s=0.05)) == b"hi"


def test_an_upload_may_take_longer_than_connecting(serve: Callable[[Speak], str]) -> None:
    size = 20 << 20

    def speak(connection: socket.socket, stopping: threading.Event) -> None:
        stopping.wait(0.5)  # the sender's buffer is full by now
        received = 0
        while received < size:
            received += len(connection.recv(1 << 20))
        connection.sendall(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi")

    with connected(serve(speak), limits(connect_s=0.1)) as opened:
        _, response = finish(opened.send("POST", "/", body=Body("image/png", (bytes(size),))))
        assert response.body() == b"hi"


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_bytes_are_given_as_they_come(serve: Callable[[Speak], str], framing: str) -> None:
    seen = threading.Event()

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(
            OK + (b"Transfer-Encoding: chunked\r\n\r\n5\r\n" if framing == "chunked" else b"\r\n")
        )
        connection.sendall(b"first" + (b"\r\n" if framing == "chunked" else b""))
        assert seen.wait(10)
        connection.sendall(b"4\r\nlast\r\n0\r\n\r\n" if framing == "chunked" else b"last")

    with connected(serve(speak), limits()) as opened:
        _, response = finish(opened.send("GET", "/"))
        chunks = response.chunks()
        first = next(chunks)
        seen.set()
        rest = list(chunks)

    assert (first, rest) == (b"first", [b"last"])


def test_compression_that_nobody_asked_for_is_undone(serve: Callable[[Speak], str]) -> None:
    import gzip

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        body = gzip.compress(b"hello")
        connection.sendall(
            OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )

    assert fetch(serve(speak), limits()) == b"hello"


def test_a_reset_in_the_middle_is_a_network_error(serve: Callable[[Speak], str]) -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(OK + b"Content-Length: 100\r\n\r\nhi")

    url = serve(speak)
    with pytest.raises(NetworkError, match=r"failed: it ended in the middle$"):
        fetch(url, limits())


def test_what_is_no_http_is_a_network_error(serve: Callable[[Speak], str]) -> None:
    url = serve(lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"))
    with pytest.raises(NetworkError):
        fetch(url, limits())


def test_a_redirect_is_an_answer(serve: Callable[[Speak], str]) -> None:
    came: list[bytes] = []

    def speak(connection: socket.socket, _: threading.Event) -> None:
        came.append(connection.recv(65_536))
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
        )

    url = serve(speak)
    with pytest.raises(Refused, match=r"answered with a redirect \(302\) where an answer was due"):
        fetch(url, limits())
    assert len(came) == 1


def test_a_secret_that_the_service_repeats_is_redacted(serve: Callable[[Speak], str]) -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        body = b'{"detail": "the token canary-token-123 is not known"}'
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nX-Echo: canary-token-123\r\n")
        connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    lines: list[str] = []
    with connected(serve(speak), limits(), lines.append) as opened:
        opened.transport.keep_secret("canary-token-123")
        with pytest.raises(RekaError, match=r"answered 401: the token \[redacted\] is not known$"):
            finish(
                opened.send(
                    "GET", "/canary-token-123", headers={"Authorization": "Bearer canary-token-123"}
                )
            )

    assert [line for line in lines if "canary" in line] == []
    assert "  X-Echo: [redacted]" in lines


def test_retry_after_is_a_floor_for_the_wait(serve: Callable[[Speak], str]) -> None:
    answers = iter([b"503 Busy\r\nRetry-After: 1", b"200 OK"])

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(
            b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % next(answers)
        )

    started = time.monotonic()
    with connected(serve(speak), limits()) as opened:
        notices, response = finish(opened.send("GET", "/"))
        response.close()

    assert time.monotonic() - started >= 1
    assert [notice.rpartition("answered ")[2] for notice in notices] == [
        "503 (Service Unavailable) (try again in 1 s); attempt 2 of 3 in 1.0 s"
    ]


def test_attempts_end_when_the_retries_do(serve: Callable[[Speak], str]) -> None:
    came: list[bytes] = []

    def speak(connection: socket.socket, _: threading.Event) -> None:
        came.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    url = serve(speak)
    with pytest.raises(ServiceError):
        fetch(url, limits(retries=1))
    assert len(came) == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("9" * 400, 1e9),
        ("１", None),
    ],
)
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    assert failures.retry_after_s(header) == seconds


@pytest.mark.parametrize(
    ("statuses", "exit_code"),
    [
        ((401,), 3),
        ((403,), 4),
        ((400, 404, 405, 413, 415, 422), 5),
        ((402, 429), 6),
        ((408, 409, 418, 451, 500, 501, 502, 503, 504, 520, 599), 7),
        ((407,), 9),
    ],
)
def test_every_status_of_an_error_has_its_exit_code(
    statuses: tuple[int, ...], exit_code: int
) -> None:
    assert {failures.error_class(status, "").exit_code for status in statuses} == {exit_code}


def test_retry_after_as_a_date() -> None:
    seconds = failures.retry_after_s(formatdate(time.time() + 100, usegmt=True))

    assert seconds is not None
    assert 90 < seconds <= 100
    assert failures.retry_after_s(formatdate(0, usegmt=True)) == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"type": "x", "message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"detail": [{"loc": ["body"], "msg": "no", "type": "x"}]}, "no"),
        ({"message": "no"}, "no"),
        ({"err": "no"}, "no"),
        ({"ERROR": {"Message": "no"}}, "no"),
        ({"errors": ["no", {"message": "not so"}]}, "no; not so"),
        ({"error": True, "message": "no"}, "no"),
        ({"error": "Bad Request", "message": ["no"], "statusCode": 400}, "Bad Request: no"),
        ({"title": "Bad Request", "detail": "no", "status": 400}, "Bad Request: no"),
        ({"error": "invalid_request", "error_description": "no"}, "invalid_request: no"),
        ({"error": "no", "message": "no"}, "no"),
        ({"error": {"message": "Provider error", "metadata": {"raw": "no"}}}, "Provider error: no"),
        ({"error": {"message": '{"error": {"message": "no"}}'}}, "no"),
        ({"error": {"message": "[no"}}, "[no"),
        ({"detail": [{"loc": ["body", "top", 0], "msg": "no"}]}, "no: top.0"),
        ([{"error": {"message": "no", "code": 400}}], "no"),
        ({"error": {"code": "no", "message": ""}}, "no"),
        ({"error": "no", "text": "half an answer"}, "no"),
        ({"error": {"code": 5}}, ""),
        ({"error": {}}, ""),
        ([], ""),
        (5, ""),
        ("no", "no"),
    ],
)
def test_the_words_of_an_error_are_found_in_every_shape(body: object, words: str) -> None:
    assert failures.error_text(body) == words


@pytest.mark.parametrize(
    ("media_type", "body", "words"),
    [
        (b"text/plain; charset=utf-8", b"model file\nnot found", ": model file not found"),
        (b"application/json", b"upstream timed out", ": upstream timed out"),
        (b"text/plain", b'{"error": "no"}', ": no"),
        (b"text/event-stream", b'event: error\ndata: {"error": {"message": "no"}}\n\n', ": no"),
        (b"text/plain", b'error: {"message": "no"}', ": no"),
        (b"text/html", b"bad gateway", " (Internal Server Error)"),
        (b"text/plain", b"<html><h1>bad gateway", " (Internal Server Error)"),
        (b"application/octet-stream", b"\xff\xfe\x00\x80", " (Internal Server Error)"),
        (b"text/plain", b"\x1b]0;x\x07no", ": no"),
    ],
)
def test_the_words_of_an_error_are_found_in_every_body(
    serve: Callable[[Speak], str], media_type: bytes, body: bytes, words: str
) -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(
            b"HTTP/1.1 500 X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (media_type, len(body), body)
        )

    url = serve(speak)
    with pytest.raises(ServiceError) as caught:
        fetch(url, limits(retries=0))

    assert caught.value.message == f"{url.removeprefix('http://')} answered 500{words}"


@pytest.mark.parametrize("coding", ["none", "binary", "Identity", "UTF-8", "iso-8859-1", "8bit"])
def test_a_content_encoding_that_is_none_is_skipped(
    serve: Callable[[Speak], str], coding: str
) -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        head = OK + f"Content-Encoding: {coding}\r\n".encode()
        connection.sendall(head + b"Content-Length: 2\r\n\r\nhi")

    assert fetch(serve(speak), limits()) == b"hi"


def test_a_content_encoding_beside_one_that_is_none_is_decoded(
    serve: Callable[[Speak], str],
) -> None:
    import gzip

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65_536)
        body = gzip.compress(b"hello")
        head = OK + b"Content-Encoding: aws-chunked, gzip\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)

    assert fetch(serve(speak), limits()) == b"hello"


REJECTED = b"HTTP/1.1 413 X\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\ntoo large"
RESET = struct.pack("ii", 1, 0)


def _reject_and_close(connection: socket.socket, _: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(REJECTED)


def _reject_and_wait(connection: socket.socket, stopping: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(REJECTED)
    stopping.wait(20)


def _reset(connection: socket.socket, _: threading.Event) -> None:
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.parametrize(
    ("speak", "message"),
    [
        (_reject_and_close, "HOST answered 413: too large"),
        (_reject_and_wait, "HOST answered 413: too large"),
        (_reset, "HOST closed the connection during the upload: it may accept less at once"),
    ],
)
def test_an_upload_that_is_rejected_early_is_bad_input(
    serve: Callable[[Speak], str], speak: Speak, message: str
) -> None:
    url = serve(speak)
    image = Encoded(bytes(20 << 20), "image/png", 1, 1)
    with connected(url, limits()) as opened, pytest.raises(BadInput) as caught:
        finish(opened.send("POST", "/", body=json_body({"image": DataUrl(image)})))

    assert caught.value.message.replace(url.removeprefix("http://"), "HOST") == message
    assert caught.value.hint == "--max-side 1024 sends smaller images"


def test_an_informational_response_does_not_end_an_upload(serve: Callable[[Speak], str]) -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        received = connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        while not received.endswith(b"}"):
            received = connection.recv(1 << 20)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\nhi")

    image = Encoded(bytes(20 << 20), "image/png", 1, 1)
    with connected(serve(speak), limits()) as opened:
        _, response = finish(opened.send("POST", "/", body=json_body({"image": DataUrl(image)})))
        assert response.body() == b"hi"


class _Talk:
    """A server whose connections stay open: it reads one request after the other and answers each as told."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def __call__(self, connection: socket.socket, stopping: threading.Event) -> None:
        for answer in self.answers:
            connection.recv(65_536)
            connection.sendall(answer)
        stopping.wait(20)


def test_an_upload_on_a_connection_that_was_used_may_take_longer_than_connecting(
    serve: Callable[[Speak], str],
) -> None:
    size = 20 << 20

    def speak(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        stopping.wait(0.5)  # the sender's buffer is full by now
        received = 0
        while received < size:
            received += len(connection.recv(1 << 20))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho")

    with connected(serve(speak), limits(connect_s=0.1)) as opened:
        _, first = finish(opened.send("GET", "/"))
        assert first.body() == b"hi"
        _, second = finish(opened.send("POST", "/", body=Body("image/png", (bytes(size),))))
        assert second.body() == b"ho"


@pytest.mark.parametrize(
    "location", [b"http://[bad", b"\xff\xfe", b"http://elsewhere.example/" + b"x" * 5000]
)
def test_a_redirect_may_lead_anywhere_and_never_end(
    serve: Callable[[Speak], str], location: bytes
) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 99999999\r\n\r\n"
    url = serve(_Talk(head))
    started = time.monotonic()

    with pytest.raises(
        Refused, match=r"answered with a redirect.* \(302\) where an answer was due"
    ):
        fetch(url, limits(10))
    assert time.monotonic() - started < 9


# Where the deadline closes a connection just before TLS begins, ssl makes a socket of it that nobody gets hold of.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_proxy_that_answers_byte_by_byte_ends_at_the_deadline(
    serve: Callable[[Speak], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak(connection: socket.socket, stopping: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stopping.wait(0.02):
            connection.sendall(b"x")

    monkeypatch.setenv("HTTPS_PROXY", serve(speak))
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(DeadlineExceeded):
        fetch("https://space.reka.ai", limits(0.5, retries=0))
    gc.collect()


def test_tls_that_never_comes_is_a_connection_that_is_not_made(
    serve: Callable[[Speak], str],
) -> None:
    url = serve(lambda _, stopping: stopping.wait(20) and None)
    with pytest.raises(DeadlineExceeded, match=r"^no connection to 127.0.0.1:\d+ within 0.2 s$"):
        fetch(url.replace("http:", "https:"), limits(20, connect_s=0.2, retries=0))


def test_a_name_that_is_never_found_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found.wait(20))

    with pytest.raises(DeadlineExceeded, match=r"^no connection to localhost:9 within 0.2 s$"):
        fetch("http://localhost:9", limits(20, connect_s=0.2, retries=0))
    found.set()


def test_an_error_is_told_though_its_body_never_comes(
    serve: Callable[[Speak], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_ERROR_S", 0.1)
    url = serve(_Talk(b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n"))

    with pytest.raises(ServiceError, match=r"answered 500 \(Internal Server Error\)$"):
        fetch(url, limits(20, retries=0))


@pytest.mark.parametrize(
    "words",
    [
        "image input is not supported - hint: mmproj",
        "m is not a multimodal model",
        "This model does not support image input",
    ],
)
def test_a_500_for_an_image_is_bad_input_and_not_tried_again(
    serve: Callable[[Speak], str], words: str
) -> None:
    body = b'{"error": {"message": "%s"}}' % words.encode()
    url = serve(_Talk(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)))

    with pytest.raises(BadInput, match=words[:20]):
        fetch(url, limits(5))


def test_two_lengths_are_an_answer_that_cannot_be_read(serve: Callable[[Speak], str]) -> None:
    url = serve(_Talk(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi"))

    with pytest.raises(ServiceError):
        fetch(url, limits(5))
