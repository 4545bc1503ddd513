"""What a provider is, which there are, and which one a question goes to.

Each provider is one file of this package, called like the provider; its class is `PROVIDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, cast

from reka_cli import discovery
from reka_cli.config import Config
from reka_cli.errors import NotLoggedIn, UsageError

if TYPE_CHECKING:
    from reka_cli.limits.call import Call
    from reka_cli.messages import ChatRequest, Events, Notice
    from reka_cli.providers._models import Model
    from reka_cli.transport import ConnectionPool

Log = Callable[[str], None]

WEB_MODELS = ("reka-core", "reka-flash", "reka-edge")


# NamedTuple: a dataclass takes 0.5 ms at every start
class Status(NamedTuple):
    """What is known of one provider without asking it; nothing in it is a secret.

    `holds` is names and lengths of credentials, `expires_s` seconds since the epoch, `account`
    what no service tells yet.
    """

    provider: str
    ready: bool
    source: str | None = None
    holds: tuple[str, ...] = ()
    expires_s: float | None = None
    account: str | None = None
    problem: str | None = None


class About(NamedTuple):
    """A provider in the words of the documents, in Markdown."""

    what: str
    needs: str
    default_model: str = ""


class Provider(Protocol):
    """One service that answers questions, for as long as a client lives; safe from many threads.

    Creating one reads credentials and raises NotLoggedIn without them; it sends nothing. What it
    keeps between questions (tokens, model lists, a process) ends with `close()`, or when it is
    collected; the connections belong to `pool`.
    """

    name: ClassVar[str]
    about: ClassVar[About]
    default_model: str  # "" where the provider finds out for itself

    def __init__(self, config: Config, pool: ConnectionPool, log: Log | None) -> None: ...

    def events(self, request: ChatRequest, call: Call) -> Events:
        """Ask, and yield what comes; closing the iterator ends the request.

        Raises BadInput, before anything is sent, for what the protocol cannot carry.
        """
        ...

    def check(self, call: Call) -> Generator[Notice, None, None]:
        """Make one cheap request that shows whether the credentials still work; raise NotLoggedIn if not."""
        ...

    def models(
        self, call: Call, *, refresh: bool = False
    ) -> Generator[Notice, None, tuple[Model, ...]]:
        """Return the models; with `refresh` not from a list that was kept."""
        ...

    def close(self) -> None:
        """End what the provider started; it may be called more than once."""
        ...

    @classmethod
    def status(cls, config: Config) -> Status:
        """Return whether the provider is ready, and with whose credentials."""
        ...


def names() -> tuple[str, ...]:
    """Return the names of all providers."""
    return discovery.names_in(sys.modules[__name__])


def load(name: str) -> type[Provider]:
    """Import the provider called `name`; raise UsageError if there is none."""
    if name not in names():
        raise UsageError(
            f"there is no provider {name!r}", hint=f"--provider auto|{'|'.join(names())}"
        )
    return cast("type[Provider]", discovery.load(sys.modules[__name__], name).PROVIDER)


def choose(config: Config, model: str | None) -> str:
    """Give the name of the provider that `auto` means; raise NotLoggedIn if none can be used."""
    from reka_cli.credentials import api_access, web_access

    api = api_access(config)
    if model in WEB_MODELS and web_access(config):
        return "web"
    if api and (api.key or api.is_loopback):
        return "api"
    if web_access(config):
        return "web"
    if api:
        return "api"
    raise NotLoggedIn(
        "no API key or web session found",
        hint="reka-cli login --api-key, or reka-cli login; to try without: --provider sandbox",
    )
