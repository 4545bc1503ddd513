"""Connections of urllib3 that keep the deadline of each question, and that any thread can abort.

A connection outlives a question. Whichever question uses it is its `exchange`: each read and each
write asks that exchange how long it may take.
"""

from __future__ import annotations

import errno
import functools
import http.client
import io
import math
import os
import queue
import re
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from reka_cli.errors import DeadlineExceeded
from reka_cli.limits.call import Call
from reka_cli.messages import BLOCK_BYTES

_MOST_ORIGINS = 32  # whose connections are kept; image URLs can name thousands
_MOST_IDLE = 256  # connections kept for one origin
_SLACK_S = 0.02
_DISCARD = struct.pack("ii", 1, 0)  # what is not sent yet is not wanted any more

_INFORMATIONAL = re.compile(rb"HTTP/1\.[01] 1\d\d")

_current = threading.local()


class Exchange:
    """One request and its response: how long each read may take, and what became of the connection.

    `needs_new` asks for a connection that no request was sent on before.
    """

    def __init__(self, call: Call, host: str, *, needs_new: bool = False) -> None:
        self.call = call
        self.needs_new = needs_new
        self.is_reused = False
        self.body_bytes = 0  # of the request
        self.received_bytes = 0
        self.is_upload_cut = False  # the server stopped reading before it had the whole request
        self._host = host
        self._silence_s = math.inf  # until the body begins, the deadline alone counts
        self._ends_at = (
            math.inf
        )  # of the monotonic clock, where there is less time than for the question
        self._is_connecting = False
        # only the thread that takes the socket out may use it: taking is atomic and needs no lock
        self._in_use: deque[socket.socket] = deque(maxlen=1)

    @property
    def may_be_stale(self) -> bool:
        """Whether a failure can mean that the server closed a kept connection before it was used again."""
        return self.is_reused and not self.received_bytes

    def end_within(self, seconds: float) -> None:
        """Allow no more time than this for all that is still to be read."""
        self._ends_at = time.monotonic() + seconds

    def begin_body(self) -> None:
        """From the first byte of a body on it is silence that counts, no longer the deadline alone."""
        self._silence_s = self.call.limits.idle_s

    def remaining_s(self) -> float:
        """Return how long the next read or write may take; raise what ended the question."""
        self.call.cancellation.raise_if_canceled()
        left_s = min(self.call.limits.deadline.remaining_s(), self._ends_at - time.monotonic())
        if left_s <= 0:
            raise self.timeout()
        return min(left_s, self._silence_s)

    def connect_s(self) -> float:
        limits = self.call.limits
        return min(limits.connect_s, limits.deadline.remaining_s())

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Allow no more than the time for connecting, for a proxy's tunnel and TLS too."""
        self._is_connecting, self._ends_at = True, time.monotonic() + self.connect_s()
        try:
            yield
        finally:
            self._is_connecting, self._ends_at = False, math.inf

    def timeout(self) -> DeadlineExceeded | TimeoutError:
        """Return the error for a read or write that took too long."""
        if self._is_connecting:
            return TimeoutError()
        limits = self.call.limits
        if self._silence_s == math.inf or limits.deadline.has_passed:
            return limits.deadline.error()
        return DeadlineExceeded(
            f"{self._host} was silent for {self._silence_s:g} s",
            hint="--idle-timeout SECONDS allows longer silence",
        )

    def use(self, opened: socket.socket | None) -> None:
        """Let a cancellation abort what blocks on this socket, from any thread."""
        self._in_use.clear()
        if opened is not None:
            self._in_use.append(opened)
        self.call.cancellation.on_cancel(self._abort)

    def end(self) -> bool:
        """Let go of the socket; return whether no cancellation took it before."""
        self.call.cancellation.on_cancel(None)
        return self._take() is not None

    def _take(self) -> socket.socket | None:
        try:
            return self._in_use.pop()
        except IndexError:
            return None

    def _abort(self) -> None:
        opened = self._take()
        if opened is not None:
            with suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
                # not SSLSocket.shutdown, which takes the TLS state away from the thread that reads
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


@contextmanager
def use_exchange(exchange: Exchange) -> Iterator[None]:
    """Let the connections of this thread work for an exchange; a signal handler may send a request meanwhile."""
    before = getattr(_current, "exchange", None)
    _current.exchange = exchange
    try:
        yield
    finally:
        _current.exchange = before


class Adapter(HTTPAdapter):
    """Makes connections that keep deadlines, and keeps as many as there are threads."""

    def __init__(self) -> None:
        super().__init__(pool_connections=_MOST_ORIGINS, pool_maxsize=_MOST_IDLE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _socks_pools() if _is_socks(proxy) else _POOLS
        return manager


class _Connection(HTTPConnection):
    """Asks the exchange it works for before it blocks."""

    _exchange: Exchange
    _is_used = False
    _is_made = False
    _is_cut = False
    _unsent: bytearray | None = None  # of the request that is being sent
    _looks_up = True  # the name of the host; a SOCKS proxy does that itself
    _handshake: socket.socket | None = None  # a second handle while TLS has the socket

    @property
    def response_class(self) -> Callable[..., http.client.HTTPResponse]:  # type: ignore[override]
        return self._open_response

    @property
    def has_connected_to_proxy(self) -> bool:
        # urllib3 forgets it when http.client closes a connection that failed
        return self._is_made or super().has_connected_to_proxy

    def connect(self) -> None:
        self._work_for_current()
        self._is_used = self._is_made = self._is_cut = False
        unsent, self._unsent = self._unsent, None  # a proxy's tunnel comes first
        try:
            with self._exchange.connecting():
                super().connect()
        except (
            TimeoutError
        ) as error:  # of the lookup, a tunnel or TLS: urllib3 takes it for silence
            raise ConnectTimeoutError(self, "connecting took too long") from error
        finally:
            self._unsent = unsent
            if self._handshake:
                self._handshake.close()
                self._handshake = None
        self._is_made = True
        self._exchange.use(self.sock)

    def release(self) -> None:
        """End the work for an exchange. A connection that was aborted or cut serves no other."""
        if not self._exchange.end() or self._is_cut:
            self.close()

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._work_for_current()
        self._exchange.is_reused = self._is_used and self.sock is not None
        self._unsent = bytearray()
        try:
            super().request(*args, **kwargs)
            if self._unsent:
                self._send_now(self._unsent)
        finally:
            self._unsent = None

    def send(self, data: Any) -> None:
        """Send bytes; the head and small parts of a request are sent together."""
        if self._unsent is None:
            self._send_now(data)
            return
        if len(self._unsent) + len(data) < BLOCK_BYTES:
            self._unsent += data
            return
        if self._unsent:
            self._send_now(self._unsent)
            self._unsent = bytearray()
        self._send_now(data)

    def _send_now(self, data: bytes | bytearray) -> None:
        if self.sock is None:
            self.connect()
        self._is_used = True
        exchange = self._exchange
        _bound(self.sock, exchange.remaining_s())
        try:
            if len(data) < BLOCK_BYTES or isinstance(self.sock, ssl.SSLSocket):
                super().send(data)
            else:
                _send_block(self.sock, data, exchange)
        except TimeoutError as error:
            raise exchange.timeout() from error
        except OSError:
            exchange.is_upload_cut = self._is_cut = True
            raise

    def _new_conn(self) -> socket.socket:
        exchange = self._exchange
        found = self._open()
        try:
            found.settimeout(exchange.remaining_s())
            if isinstance(self, HTTPSConnection):
                self._handshake = found.dup()
            exchange.use(self._handshake or found)
        except BaseException:
            found.close()
            raise
        return found

    def _open(self) -> socket.socket:
        """Look the name up, which no timeout bounds, and connect; a socket that comes too late is closed."""
        exchange, connect = self._exchange, super()._new_conn
        within_s = exchange.connect_s()
        opened: deque[socket.socket] = deque()
        is_too_late = threading.Event()

        def close() -> None:
            with suppress(IndexError):  # the other thread did
                opened.pop().close()

        def work() -> None:
            opened.append(
                _first_that_answers(self, connect, within_s) if self._looks_up else connect()
            )
            if is_too_late.is_set():
                close()

        try:
            exchange.call.run_in_thread(work, within_s)
        except BaseException:
            is_too_late.set()
            close()
            raise
        return opened.pop()

    def _open_response(self, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        self._exchange.use(self.sock)  # here: what it raises would leave half a response
        return _FinalResponse(self._exchange, *args, **kwargs)

    def _work_for_current(self) -> None:
        self._exchange = _current.exchange
        self._exchange.use(self.sock)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same with TLS."""


class _Idle:
    """What urllib3 wants of a queue.LifoQueue, without its lock.

    A signal handler may send a request while the same thread is at the pool, and a fork happen
    while another thread is.
    """

    def __init__(self, maxsize: int) -> None:
        self._connections: deque[Any] = deque()
        self._most = maxsize

    def qsize(self) -> int:
        return len(self._connections)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ARG002
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = True) -> None:  # noqa: ARG002
        if len(self._connections) >= self._most:
            raise queue.Full
        self._connections.append(connection)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Idle  # type: ignore[assignment]

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        if _current.exchange.needs_new:
            connection.close()  # urllib3 opens it again, through a proxy's tunnel if there is one
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn:
            conn.release()  # before another thread can take it: a late cancellation would abort its question
        super()._put_conn(conn)


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def _is_socks(proxy: str) -> bool:
    return proxy.lower().startswith("socks")


@functools.cache
def _socks_pools() -> dict[str, type[HTTPConnectionPool]]:
    """Return pools whose connections go through a SOCKS proxy; PySocks is there by now."""
    from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

    class SocksConnection(_Connection, SOCKSConnection):
        _looks_up = False

    class SocksTlsConnection(_TlsConnection, SOCKSHTTPSConnection):
        _looks_up = False

    class SocksPool(_Pool):
        ConnectionCls = SocksConnection  # type: ignore[assignment]

    class SocksTlsPool(_TlsPool):
        ConnectionCls = SocksTlsConnection  # type: ignore[assignment]

    return {"http": SocksPool, "https": SocksTlsPool}


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

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        exchange, sock = self._exchange, self._sock
        timeout_s = exchange.remaining_s()
        _bound(sock, timeout_s)
        try:
            count = sock.recv_into(buffer)
        except TimeoutError as error:
            raise exchange.timeout() from error
        exchange.received_bytes += count
        if not count:
            exchange.call.cancellation.raise_if_canceled()  # an aborted connection looks like one that ended
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _bound(sock: socket.socket, timeout_s: float) -> None:
    """Let a socket block for `timeout_s` at most, or a hair longer: to set it is a system call."""
    present = sock.gettimeout()
    if present is None or not timeout_s <= present <= timeout_s + _SLACK_S:
        sock.settimeout(timeout_s)


def _send_block(sock: socket.socket, block: bytes | bytearray, exchange: Exchange) -> None:
    """Send a block; raise BrokenPipeError, as for a closed connection, if the server has answered.

    A server that rejects a request need not read the rest of it, nor close the connection. urllib3
    reads the response after a BrokenPipeError.
    """
    rest = memoryview(block)
    while rest:
        _bound(sock, exchange.remaining_s())
        if _has_final_response(sock):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        rest = rest[sock.send(rest) :]


def _has_final_response(sock: socket.socket) -> bool:
    """Wait until the socket can be written to, or has a response. Raises TimeoutError."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        ready = selector.select(sock.gettimeout())
        if not ready:
            raise TimeoutError
        if not ready[0][1] & selectors.EVENT_READ:
            return False
        # an informational response (RFC 9110 15.2) does not end the upload
        if not _INFORMATIONAL.match(sock.recv(12, socket.MSG_PEEK)):
            return True
        selector.modify(sock, selectors.EVENT_WRITE)
        selector.select(sock.gettimeout())
        return False


class _Resolves(Protocol):
    """What is used here of urllib3's connection."""

    _dns_host: str
    port: int
    timeout: float | None


def _first_that_answers(
    connection: _Resolves, connect: Callable[[], socket.socket], within_s: float
) -> socket.socket:
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
        found = socket.getaddrinfo(
            name.strip("[]"), connection.port, allowed_gai_family(), socket.SOCK_STREAM
        )
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
