"""Connections of urllib3 that keep our deadlines while a name is looked up, a tunnel or TLS is made, a body is sent."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError

from reka_cli.deadline import Limits, in_time


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
            def _new_conn(self) -> socket.socket:
                # looks the name up, which no timeout bounds, and tries one address after the other, each for its time
                opened: socket.socket = in_time(super()._new_conn, hooks.connect_s())
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
