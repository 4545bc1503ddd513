"""The stand-in for Reka: started on loopback for one question, asked over the real wire."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import ClassVar

from reka_cli.call import Limits
from reka_cli.catalogue import Model
from reka_cli.config import Config
from reka_cli.credentials import ApiAccess, WebAccess
from reka_cli.hosts import HOSTS
from reka_cli.messages import ChatRequest, Events, Notice
from reka_cli.providers.api import Api
from reka_cli.providers.web import Reka
from reka_cli.sandbox.server import Server
from reka_cli.session import Cookie, Session

_SESSION = Session(HOSTS[0], (Cookie(HOSTS[0], "appSession", "sandbox-session"),))


class Sandbox:
    """A stand-in that needs no account and says in every answer that it is one."""

    name: ClassVar[str] = "sandbox"
    default_model: str = "sandbox"

    def __init__(self, config: Config, limits: Limits, log: Callable[[str], None] | None = None) -> None:
        self._config = config
        self._limits = limits
        self._log = log

    def events(self, request: ChatRequest) -> Events:
        """See Provider.events."""
        with Server() as server:
            access = WebAccess(server.url, session=_SESSION)
            yield from Reka(self._config, self._limits, self._log, access).events(request)

    def check(self) -> Generator[Notice, None, None]:
        """See Provider.check: there is nothing to log in to."""
        yield from ()

    def models(self, *, refresh: bool = False) -> Generator[Notice, None, tuple[Model, ...]]:
        """See Provider.models."""
        with Server() as server:
            access = ApiAccess(f"{server.url}/v1")
            return (yield from Api(self._config, self._limits, self._log, access).models(refresh=refresh))
