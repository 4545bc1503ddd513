"""Connections of urllib3 that keep the deadline of each question, and that any thread can abort.

A connection outlives a question. Whichever question uses it is its `exchange`: each read and each
write asks that exchange how long it may take.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from reka_cli.call import Call
from reka_cli.errors import DeadlineExceeded

_MOST_ORIGINS = 32  # whose connections are kept; image URLs can name thousands
_MOST_IDLE = 256  # connections kept for one origin
_DISCARD = struct.pack("ii", 1, 0)  # what is not sent yet is not wanted any more

_current = threading.local()


class Exchange:
    """One request and its response: how long each read may take, and what became of the connection.

    `needs_new` asks for a connection that no request was sent on before.
    """

    def __init__(self, call: Call, host: str, *, needs_new: bool = False) -> None:
        self.call = call
        self.needs_new = needs_new
        self.is_reused = False
        self.received_bytes = 0
        self._host = host
        self._silence_s: float | None = None  # until the body begins, the deadline alone counts
        self._socket: socket.socket | None = None

    @property
    def may_be_stale(self) -> bool:
        """Whether a failure can mean that the server closed a kept connection before it was used again."""
        return self.is_reused and not self.received_bytes

    def allow_silence(self, seconds: float) -> None:
        """Allow no longer silence than this from now on."""
        self._silence_s = seconds

    def begin_body(self) -> None:
        """From the first byte of a body on it is silence that counts, no longer the deadline alone."""
        if self._silence_s is None:
            self._silence_s = self.call.limits.idle_s

    def remaining_s(self) -> float:
        """Return how long the next read or write may take; raise what ended the question."""
        self.call.cancellation.check()
        left_s = self.call.limits.deadline.remaining_s()
        return left_s if self._silence_s is None else min(left_s, self._silence_s)

    def connect_s(self) -> float:
        limits = self.call.limits
        return min(limits.connect_s, limits.deadline.remaining_s())

    def timeout(self) -> DeadlineExceeded:
        """Return the error for a read or write that took too long."""
        limits = self.call.limits
        if self._silence_s is None or limits.deadline.passed:
            return limits.deadline.error()
        return DeadlineExceeded(
            f"{self._host} was silent for {self._silence_s:g} s",
            hint="--idle-timeout SECONDS allows longer silence",
        )

    def use(self, opened: socket.socket | None) -> None:
        """Let a cancellation abort what blocks on this socket, from any thread."""
        self._socket = opened
        self.call.cancellation.on_cancel(self._abort)

    def end(self) -> None:
        self._socket = None
        self.call.cancellation.on_cancel(None)

    def _abort(self) -> None:
        opened = self._socket
        if opened is not None:
            with suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
                # not SSLSocket.shutdown, which takes the TLS state away from the thread that reads
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def use(exchange: Exchange | None) -> None:
    """Set the exchange that the connections of this thread work for."""
    _current.exchange = exchange


class Adapter(HTTPAdapter):
    """Makes connections that keep deadlines, and keeps as many as there are threads."""

    def __init__(self) -> None:
        super().__init__(pool_connections=_MOST_ORIGINS, pool_maxsize=_MOST_IDLE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Connection(HTTPConnection):
    """Asks the exchange it works for before it blocks."""

    _exchange: Exchange
    _is_used = False
    _handshake: socket.socket | None = None  # a second handle while TLS has the socket

    @property
    def response_class(self) -> Callable[..., http.client.HTTPResponse]:  # type: ignore[override]
        return functools.partial(_FinalResponse, self._exchange)

    def connect(self) -> None:
        self._work_for_current()
        self._is_used = False
        try:
            super().connect()
        except TimeoutError as error:  # of the lookup, a tunnel or TLS: urllib3 takes it for silence
            raise ConnectTimeoutError(self, "connecting took too long") from error
        finally:
            if self._handshake:
                self._handshake.close()
                self._handshake = None
        self._exchange.use(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._work_for_current()
        self._exchange.is_reused = self._is_used and self.sock is not None
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self._is_used = True
        self.sock.settimeout(self._exchange.remaining_s())
        try:
            super().send(data)
        except TimeoutError as error:
            raise self._exchange.timeout() from error

    def _new_conn(self) -> socket.socket:
        exchange, connect = self._exchange, super()._new_conn
        within_s = exchange.connect_s()

        def opened() -> socket.socket:
            found = _first_that_answers(self, connect, within_s)
            if exchange.call.cancellation.is_canceled:  # nobody waits for it any more
                found.close()
            return found

        # looks the name up, which no timeout bounds
        found = exchange.call.in_time(opened, within_s)
        if isinstance(self, HTTPSConnection):
            self._handshake = found.dup()
        exchange.use(self._handshake or found)
        return found

    def _work_for_current(self) -> None:
        self._exchange = _current.exchange
        self._exchange.use(self.sock)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        if _current.exchange.needs_new:
            connection.close()  # urllib3 opens it again, through a proxy's tunnel if there is one
        return connection


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _FinalResponse(http.client.HTTPResponse):
    """Reads as its exchange allows, and skips informational responses.

    RFC 9110 15.2 wants every one of those skipped; http.client takes all but 100 for the final one.
    """

    def __init__(self, exchange: Exchange, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        self.fp = None  # type: ignore[assignment]  # close() asks for it even if the next line fails
        super().__init__(_Readable(exchange, sock), *args, **kwargs)  # type: ignore[arg-type]

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _Readable:
    """What http.client wants of a socket that it reads a response from."""

    def __init__(self, exchange: Exchange, sock: socket.socket) -> None:
        self._exchange = exchange
        self._sock = sock

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._exchange, self._sock))


class _BoundedReader(io.RawIOBase):
    """The bytes of one response; each read keeps the limits of its exchange."""

    def __init__(self, exchange: Exchange, sock: socket.socket) -> None:
        self._exchange = exchange
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open until it is closed
        exchange.use(sock)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        exchange, sock = self._exchange, self._sock
        timeout_s = exchange.remaining_s()
        if sock.gettimeout() != timeout_s:  # to set it is a system call
            sock.settimeout(timeout_s)
        try:
            count = sock.recv_into(buffer)
        except TimeoutError as error:
            raise exchange.timeout() from error
        exchange.received_bytes += count
        if not count:
            exchange.call.cancellation.check()  # an aborted connection looks like one that ended
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Resolves(Protocol):
    """What is used here of urllib3's connection."""

    _dns_host: str
    port: int
    timeout: float | None


def _first_that_answers(connection: _Resolves, connect: Callable[[], socket.socket], within_s: float) -> socket.socket:
    """Try one address after the other, each for its share of the time.

    The first may lead nowhere, as IPv6 often does.
    """
    name, until = connection._dns_host, time.monotonic() + within_s  # noqa: SLF001 - what urllib3 itself looks up
    addresses = _addresses(connection, name)
    try:
        for left in range(len(addresses), 1, -1):
            connection._dns_host = addresses[-left]  # noqa: SLF001
            connection.timeout = max(0.0, until - time.monotonic()) / left
            with suppress(NewConnectionError, ConnectTimeoutError):
                return connect()
        connection._dns_host = addresses[-1]  # noqa: SLF001
        connection.timeout = max(0.001, until - time.monotonic())
        return connect()
    finally:
        connection._dns_host = name  # noqa: SLF001


def _addresses(connection: Any, name: str) -> list[str]:
    """Look a name up; return its addresses, IPv6 and IPv4 in turn, in the order of the resolver."""
    try:
        found = socket.getaddrinfo(name.strip("[]"), connection.port, allowed_gai_family(), socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(name, connection, error) from error
    except UnicodeError:
        return [name]  # urllib3 has an error for it
    ranks: dict[int, int] = {}
    ranked = []
    for family, *_, address in found:
        ranks[family] = ranks.get(family, 0) + 1
        ranked.append((ranks[family], str(address[0])))
    return list(dict.fromkeys(host for _, host in sorted(ranked, key=lambda one: one[0]))) or [name]
