"""The stand-in for Reka: a server on loopback, started by the first question and asked over HTTP."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator
from typing import ClassVar

from reka_cli.config import Config
from reka_cli.cookies.session import Cookie, Session
from reka_cli.credentials import ApiAccess, WebAccess
from reka_cli.hosts import HOSTS
from reka_cli.limits.call import Call
from reka_cli.messages import ChatRequest, Events, Notice
from reka_cli.providers import About, Log, Status
from reka_cli.providers._models import Model, ModelList
from reka_cli.providers.api import Api
from reka_cli.providers.web import Reka
from reka_cli.sandbox.built_in_faults import model_names
from reka_cli.sandbox.server import Server
from reka_cli.transport import ConnectionPool

_SESSION = Session(HOSTS[0], (Cookie(HOSTS[0], "appSession", "sandbox-session"),))


class Sandbox:
    """A stand-in that needs no account and says in every answer that it is one."""

    name: ClassVar[str] = "sandbox"
    about: ClassVar[About] = About(
        "a stand-in for Reka that measures images", "nothing", "`sandbox`"
    )
    default_model: str = "sandbox"

    def __init__(self, config: Config, pool: ConnectionPool, log: Log | None = None) -> None:
        self._config = config
        self._pool = pool
        self._log = log
        self._lock = threading.Lock()
        self._web: Reka | None = None
        self._api: Api | None = None
        self._stop: weakref.finalize[[Server, int], Sandbox] | None = None

    def events(self, request: ChatRequest, call: Call) -> Events:
        """See Provider.events."""
        if request.model.startswith("sandbox"):
            ModelList(tuple(map(Model, model_names())), 0.0).find(request.model)
        web, _ = self._start_server()
        yield from web.events(request, call)

    def check(self, call: Call) -> Generator[Notice, None, None]:  # noqa: ARG002
        """See Provider.check: there is nothing to log in to."""
        yield from ()

    def models(
        self, call: Call, *, refresh: bool = False
    ) -> Generator[Notice, None, tuple[Model, ...]]:
        """See Provider.models."""
        _, api = self._start_server()
        return (yield from api.models(call, refresh=refresh))

    def close(self) -> None:
        """See Provider.close."""
        with self._lock:
            if self._stop:
                self._stop()
            self._web = self._api = self._stop = None

    @classmethod
    def status(cls, config: Config) -> Status:  # noqa: ARG003
        """See Provider.status."""
        return Status(cls.name, ready=True, source="nothing needed")

    def _start_server(self) -> tuple[Reka, Api]:
        """Return what asks the server, which is started unless it runs."""
        with self._lock:
            if self._web is None or self._api is None:
                server = Server().__enter__()
                self._stop = weakref.finalize(self, _stop, server, os.getpid())
                self._web = Reka(
                    self._config, self._pool, self._log, WebAccess(server.url, session=_SESSION)
                )
                self._api = Api(self._config, self._pool, self._log, ApiAccess(f"{server.url}/v1"))
            return self._web, self._api


def _stop(server: Server, process: int) -> None:
    if process == os.getpid():  # the server of a forked child is its parent's
        server.__exit__()


PROVIDER = Sandbox
