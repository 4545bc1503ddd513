"""Connections of urllib3 that keep our deadlines while a name is looked up, a tunnel or TLS is made, a body is sent."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from reka_cli.call import Limits
from reka_cli.interruption import in_time


@dataclass(frozen=True)
class Hooks:
    """What a connection tells and asks while it is made."""

    opened: Callable[[socket.socket], None]
    limits: Limits

    def connect_s(self) -> float:
        return min(self.limits.connect_s, self.limits.deadline.remaining_s())


class Adapter(HTTPAdapter):
    """Makes connections that keep our deadlines."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._hooks)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _pool_classes(self._hooks)
        return manager


def _pool_classes(hooks: Hooks) -> dict[str, type[HTTPConnectionPool]]:
    def in_time_for(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        class Connection(pool.ConnectionCls):  # type: ignore[name-defined,misc]
            response_class = _FinalResponse

            def _new_conn(self) -> socket.socket:
                connect = super()._new_conn
                # looks the name up, which no timeout bounds
                opened = in_time(lambda: _first_that_answers(self, connect, hooks.connect_s()), hooks.connect_s())
                hooks.opened(opened)
                return opened

            def connect(self) -> None:
                try:
                    super().connect()
                except TimeoutError as error:  # of the lookup, a tunnel or TLS: urllib3 takes it for silence
                    raise ConnectTimeoutError(self, "connecting took too long") from error
                self.sock.settimeout(hooks.limits.deadline.remaining_s())

            def request(self, *args: Any, **kwargs: Any) -> None:
                if self.sock is not None:  # else the time to connect would bound what is sent, a long upload too
                    self.timeout = hooks.limits.deadline.remaining_s()
                super().request(*args, **kwargs)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    return {"http": in_time_for(HTTPConnectionPool), "https": in_time_for(HTTPSConnectionPool)}


class _FinalResponse(http.client.HTTPResponse):
    """Skips every informational answer, as RFC 9110 15.2 wants it; http.client takes all but 100 for the final one."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _first_that_answers(connection: Any, connect: Callable[[], socket.socket], within_s: float) -> socket.socket:
    """Try one address after the other, each for its share of the time: the first may lead nowhere (IPv6 often does)."""
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
    """Look a name up; give its addresses, those of IPv6 and IPv4 in turn, in the order of the resolver."""
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
