"""What can be in the way of a connection: names, addresses, listeners, TLS, proxies; with real sockets."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from conftest import Service
from misbehaviors import WHOLE

from reka_cli import Client, DeadlineExceeded, IncompleteAnswer, NetworkError, UsageError
from reka_cli.config import Config
from reka_cli.credentials.store import Store
from reka_cli.limits.call import Call, Limits
from reka_cli.limits.deadline import Deadline
from reka_cli.transport import ConnectionPool, Transport

Speak = Callable[[socket.socket], None]
Addresses = list[tuple[str, int]]
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
CANARY = "canary-token-5e55104"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def listen() -> Iterator[Callable[..., socket.socket]]:
    """Start a listener that treats each connection as told."""
    with contextlib.ExitStack() as stack:

        def listen(
            speak: Speak | None = None,
            backlog: int = 16,
            address: tuple[str, int] = ("127.0.0.1", 0),
        ) -> socket.socket:
            listener = stack.enter_context(socket.create_server(address, backlog=backlog))
            if speak is not None:
                thread = threading.Thread(target=_serve, args=(listener, speak))
                thread.start()
                stack.callback(thread.join)
                stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return listener

        yield listen


def _serve(listener: socket.socket, speak: Speak) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(20)
                speak(connection)


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def secured(service: Service, certificate: trustme.LeafCert | trustme.CA) -> str:
    """Put the service behind TLS; give the base of its API."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if isinstance(certificate, trustme.CA):
        with (
            certificate.private_key_pem.tempfile() as key,
            certificate.cert_pem.tempfile() as chain,
        ):
            context.load_cert_chain(chain, key)
    else:
        certificate.configure_cert(context)
    service.server.socket = context.wrap_socket(service.server.socket, server_side=True)
    return f"https://{service.host}/v1"


@contextlib.contextmanager
def full(listener: socket.socket) -> Iterator[None]:
    """Fill the backlog of a listener, which then answers nobody."""
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield


def failure(base: str, home: Path) -> str:
    """Ask a server of one's own; give what kept it from answering."""
    with pytest.raises(NetworkError) as caught:
        Client("api", model="sandbox", config=Config(home, api_base=base), retries=0).ask(
            "hello"
        ).read()
    assert caught.value.exit_code == 9
    return caught.value.message


def fetch(url: str, limits: Limits) -> int:
    with closing(ConnectionPool()) as pool:
        headers = {"Cookie": "appSession=sandbox"}
        asking = Transport(url, pool).send(
            Call(limits), "GET", "/bff/auth/access_token", headers=headers
        )
        try:
            next(asking)
        except StopIteration as end:
            end.value.close()
            return int(end.value.status)
    raise AssertionError("it was tried again")


class TestTls:
    def test_a_certificate_that_is_trusted_is_taken(
        self,
        service: Service,
        authority: trustme.CA,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        base = secured(service, authority.issue_cert("127.0.0.1"))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))

        assert (
            Client("api", model="sandbox", config=Config(home, api_base=base)).ask("hello").read()
            + "\n"
            == WHOLE
        )

    def test_silence_in_the_middle_ends_at_the_idle_timeout(
        self,
        service: Service,
        authority: trustme.CA,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        base = secured(service, authority.issue_cert("127.0.0.1"))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        config = Config(home, api_base=base)
        with Client("api", model="sandbox-stall", config=config, idle_timeout_s=0.2) as client:
            answer = client.ask("hello")
            with pytest.raises(DeadlineExceeded) as caught:
                answer.read()

        assert caught.value.message == f"{service.host} was silent for 0.2 s"
        assert answer.text == "This is the sandbox of reka-cli: a stand-in for Reka,"

    def test_an_answer_is_canceled_and_the_next_one_comes(
        self,
        service: Service,
        authority: trustme.CA,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        base = secured(service, authority.issue_cert("127.0.0.1"))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        with Client("api", config=Config(home, api_base=base)) as client:
            answer = client.ask("hello", model="sandbox-stall")
            events = iter(answer)
            while not answer.text:
                next(events)
            threading.Timer(0.05, answer.cancel).start()
            with pytest.raises(IncompleteAnswer, match=r"^the question was canceled$"):
                list(events)

            assert client.ask("hello", model="sandbox").read() + "\n" == WHOLE

    @pytest.mark.parametrize(
        ("names", "until", "message"),
        [
            (
                ["other.example"],
                None,
                "its certificate is not trusted (IP address mismatch, certificate is not valid for '127.0.0.1')",
            ),
            (["127.0.0.1"], YESTERDAY, "its certificate is not trusted (certificate has expired)"),
        ],
    )
    def test_a_certificate_for_another_name_or_time_is_not_taken(
        self,
        service: Service,
        authority: trustme.CA,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        names: list[str],
        until: datetime.datetime | None,
        message: str,
    ) -> None:
        base = secured(service, authority.issue_cert(*names, not_after=until))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))

        assert failure(base, home) == f"the connection to {service.host} failed: {message}"
        assert service.received == []

    def test_a_certificate_of_nobody_is_not_taken(
        self, service: Service, authority: trustme.CA, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        told = failure(secured(service, authority.issue_cert("127.0.0.1")), home)

        expected = "its certificate is not trusted (unable to get local issuer certificate)"
        assert told == f"the connection to {service.host} failed: {expected}"

    def test_a_certificate_that_signs_itself_is_not_taken(
        self, service: Service, authority: trustme.CA, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        told = failure(secured(service, authority), home)

        expected = "its certificate is not trusted (self-signed certificate)"
        assert told == f"the connection to {service.host} failed: {expected}"

    def test_a_bundle_that_is_missing_is_told(
        self, service: Service, authority: trustme.CA, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = secured(service, authority.issue_cert("127.0.0.1"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(home / "missing.pem"))

        with pytest.raises(UsageError, match=r"^REQUESTS_CA_BUNDLE names no certificates$"):
            Client("api", model="sandbox", config=Config(home, api_base=base)).ask("hello").read()

    @pytest.mark.parametrize(
        ("speak", "message"),
        [
            (lambda connection: None, "no TLS (it was closed)"),
            (lambda connection: connection.recv(65_536) and None, "no TLS (it was closed)"),
            (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no TLS (wrong version number)"),
            (lambda connection: connection.sendall(b"\x15\x03\x01\x00\x02\x02\x28"), "no TLS (sslv3 alert handshake failure)"),
        ],
        ids=["closed", "closed after hello", "http", "alert"],
    )  # fmt: skip
    def test_a_handshake_that_fails_is_told(
        self, listen: Callable[..., socket.socket], home: Path, speak: Speak, message: str
    ) -> None:
        address = address_of(listen(speak))

        assert (
            failure(f"https://{address}/v1", home)
            == f"the connection to {address} failed: {message}"
        )


class TestProxies:
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered 407"),
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "the proxy answered 503"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "what answers there does not speak HTTP"),
            (b"", "it was closed without an answer"),
            (b"HTTP/1.1 200 OK\r\n\r\nno TLS at all", "no TLS (it was closed)"),
        ],
    )
    def test_one_that_lets_nothing_through_is_told_and_gets_no_secret(
        self,
        listen: Callable[..., socket.socket],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        answer: bytes,
        message: str,
    ) -> None:
        came: list[bytes] = []

        def speak(connection: socket.socket) -> None:
            came.append(connection.recv(65_536))
            connection.sendall(answer)

        monkeypatch.setenv("HTTPS_PROXY", f"http://{address_of(listen(speak))}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        client = Client(
            "web", config=Config(home, web_base="https://space.reka.ai", token=CANARY), retries=0
        )
        with pytest.raises(NetworkError) as caught:
            client.ask("hello").read()

        assert caught.value.message.partition(": ")[2] == message
        asked = rb"CONNECT space\.reka\.ai:443 HTTP/1\.[01]\r\n(Host: space\.reka\.ai:443\r\n)?\r\n"  # with Python 3.12
        assert [bool(re.fullmatch(asked, one)) for one in came] == [True]

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["tunnel", "TLS"])
    def test_one_that_falls_silent_is_given_up_after_the_time_for_connecting(
        self, listen: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch, answer: bytes
    ) -> None:
        over = threading.Event()

        def speak(connection: socket.socket) -> None:
            connection.recv(65_536)
            connection.sendall(answer)
            over.wait(20)

        monkeypatch.setenv("HTTPS_PROXY", f"http://{address_of(listen(speak))}")
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(
            DeadlineExceeded, match=r"^no connection to space\.reka\.ai within 0\.3 s$"
        ):
            fetch("https://space.reka.ai", Limits(Deadline.after(20), connect_s=0.3, retries=0))
        over.set()

    def test_one_is_not_blamed_for_what_happens_behind_it(
        self,
        listen: Callable[..., socket.socket],
        authority: trustme.CA,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("space.reka.ai").configure_cert(context)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")

        def speak(connection: socket.socket) -> None:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with context.wrap_socket(connection, server_side=True) as tunnel:
                tunnel.recv(65_536)

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address_of(listen(speak))}")
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(NetworkError) as caught:
            fetch("https://space.reka.ai", Limits(Deadline.after(20), retries=0))

        assert (
            caught.value.message
            == "the connection to space.reka.ai failed: it was closed without an answer"
        )

    def test_one_of_plain_http_gets_no_stored_key(
        self, listen: Callable[..., socket.socket], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        came: list[bytes] = []

        def speak(connection: socket.socket) -> None:
            came.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

        base = "http://192.0.2.1/v1"
        Store(home).save_key(CANARY, base, "test")
        monkeypatch.setenv("HTTP_PROXY", f"http://{address_of(listen(speak))}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        config = Config.read({"REKA_HOME": str(home), "REKA_API_BASE": base}, insecure_http=True)
        with pytest.raises(Exception, match="answered 503"):
            Client("api", model="m", config=config, retries=0).ask("hello").read()

        assert came[0].startswith(b"POST http://192.0.2.1/v1/chat/completions HTTP/1.1\r\n")
        assert CANARY.encode() not in b"".join(came)


class TestAddresses:
    @pytest.fixture
    def names(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Addresses], None]:
        """Let every name have these addresses."""

        def names(addresses: Addresses) -> None:
            families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in addresses]
            found = [
                (family, socket.SOCK_STREAM, 6, "", one)
                for family, one in zip(families, addresses, strict=True)
            ]
            lookup = socket.getaddrinfo
            monkeypatch.setattr(
                socket,
                "getaddrinfo",
                lambda name, *more: found if name == "localhost" else lookup(name, *more),
            )

        return names

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            (socket.EAI_NONAME, "the name is not known"),
            (socket.EAI_AGAIN, "the name cannot be looked up now"),
        ],
    )
    def test_a_name_that_is_not_found_is_told(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
    ) -> None:
        def getaddrinfo(*_: object, **__: object) -> None:
            raise socket.gaierror(code, "x")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setenv("NO_PROXY", "*")
        config = Config(home, web_base="https://does-not-exist.reka.ai", token=CANARY)
        with pytest.raises(NetworkError) as caught:
            Client("web", config=config, retries=0).ask("hello").read()

        assert caught.value.message == f"cannot reach does-not-exist.reka.ai: {message}"

    def test_the_next_address_is_tried_where_nobody_listens_at_the_first(
        self, service: Service, names: Callable[[Addresses], None]
    ) -> None:
        port = service.server.server_address[1]
        names([("::1", port), ("127.0.0.1", port)])

        assert fetch(f"http://localhost:{port}", Limits(Deadline.after(20))) == 200

    def test_the_next_address_is_tried_where_the_first_says_nothing(
        self,
        service: Service,
        listen: Callable[..., socket.socket],
        names: Callable[[Addresses], None],
    ) -> None:
        port = service.server.server_address[1]
        listener = listen(backlog=0, address=("127.0.0.2", port))
        with full(listener):
            names([("127.0.0.2", port), ("127.0.0.1", port)])

            assert (
                fetch(f"http://localhost:{port}", Limits(Deadline.after(20), connect_s=1.0)) == 200
            )

    def test_a_listener_that_never_accepts_is_given_up(
        self, listen: Callable[..., socket.socket]
    ) -> None:
        listener = listen(backlog=0)
        with (
            full(listener),
            pytest.raises(
                DeadlineExceeded, match=r"^no connection to 127.0.0.1:\d+ within 0\.3 s$"
            ),
        ):
            fetch(
                f"http://{address_of(listener)}",
                Limits(Deadline.after(20), connect_s=0.3, retries=0),
            )
