"""The ways to a model: what a provider is, which there are, and which one a question takes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from reka_cli.call import Call
from reka_cli.catalogue import Model
from reka_cli.config import Config
from reka_cli.errors import NotLoggedIn, UsageError
from reka_cli.messages import ChatRequest, Events, Notice

if TYPE_CHECKING:
    from reka_cli.transport import ConnectionPool

Log = Callable[[str], None]

_CLASSES = {"web": "Reka", "api": "Api", "local": "Local", "sandbox": "Sandbox"}
WEB_MODELS = ("reka-core", "reka-flash", "reka-edge")
NAMES = tuple(_CLASSES)


class Provider(Protocol):
    """One service that answers questions, for as long as a client lives; safe from many threads.

    Creating one reads credentials and raises NotLoggedIn without them; it sends nothing. What it
    keeps between questions (tokens, model lists, a process) ends with `close()`, or when it is
    collected; the connections belong to `pool`.
    """

    name: ClassVar[str]
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

    def models(self, call: Call, *, refresh: bool = False) -> Generator[Notice, None, tuple[Model, ...]]:
        """Return the models; with `refresh` not from a list that was kept."""
        ...

    def close(self) -> None:
        """End what the provider started; it may be called more than once."""
        ...


def load(name: str) -> type[Provider]:
    """Import the provider called `name`; raise UsageError if there is none."""
    if name not in _CLASSES:
        raise UsageError(f"there is no provider {name!r}", hint=f"--provider auto|{'|'.join(NAMES)}")
    module = import_module(f"reka_cli.providers.{name}")
    return cast("type[Provider]", getattr(module, _CLASSES[name]))


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
        "there is neither an API key nor a web session to ask with",
        hint="reka-cli login --api-key, or reka-cli login; to try without: --provider sandbox",
    )
