"""Which secret there is for which service: the environment before what `login` stored."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from reka_cli.config import NOWHERE, Config
from reka_cli.cookies.session import Session
from reka_cli.cookies.tokens import is_bearer
from reka_cli.credentials.store import Store
from reka_cli.errors import NotLoggedIn
from reka_cli.hosts import HOSTS, is_loopback, is_reka_host

API_BASE = "https://api.reka.ai/v1"

_DAY_S = 86_400


@dataclass(frozen=True)
class WebAccess:
    """How to get into the web session at `base_url`: a `token` as it is, or a `session` to mint one from.

    `store` keeps what is minted; `session_is_stored` says that the session itself came from there too.
    """

    base_url: str
    token: str | None = field(default=None, repr=False)
    session: Session | None = None
    store: Store | None = None
    session_is_stored: bool = False


@dataclass(frozen=True)
class ApiAccess:
    """How to get into the OpenAI-compatible API at `base_url`; a server of one's own may want no `key`."""

    base_url: str
    key: str | None = field(default=None, repr=False)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(urlsplit(self.base_url).hostname or "")


def api_access(config: Config) -> ApiAccess | None:
    """Give the credentials of the API; None if there are none and the base wants some."""
    base_url = config.api_base or API_BASE
    if config.api_key:
        _check_header_value("REKA_API_KEY", config.api_key)
        return ApiAccess(base_url, config.api_key)
    hostname = urlsplit(base_url).hostname or ""
    private = base_url.startswith("https:") or is_loopback(hostname)
    if private and (key := Store(config.state_dir).key(base_url)):
        return ApiAccess(base_url, key)
    own_server = not is_reka_host(hostname)
    return ApiAccess(base_url) if own_server else None


def web_access(config: Config) -> WebAccess | None:
    """Give the credentials of the web session, environment before store; None if there are none.

    Raises BadInput or NotLoggedIn for a cookie file that does not help, NotLoggedIn for a store others can read.
    """
    if config.token:
        _check_header_value("REKA_TOKEN", config.token)
        return WebAccess(config.web_base or f"https://{HOSTS[0]}", token=config.token)
    store = Store(config.state_dir)
    if config.cookies_file:
        from reka_cli.cookies.files import read_session

        session: Session | None = read_session(config.cookies_file, config.web_host)
        stored = False
    else:
        session, stored = store.session(), True
    if session is None:
        bearer = store.bearer()
        return WebAccess(config.web_base or f"https://{HOSTS[0]}", token=bearer) if bearer else None
    base_url = config.web_base or f"https://{session.host}"
    kept_in = None if config.state_dir == NOWHERE else store
    return WebAccess(base_url, None, session, kept_in, stored)


def _check_header_value(variable: str, secret: str) -> None:
    if not is_bearer(secret):
        raise NotLoggedIn(
            f"{variable} holds what no header can carry", hint=f"export {variable}=... once more"
        )


def stored_source(config: Config, what: str) -> str:
    """Return where `login` took "session", "bearer" or "api_key" from, and when."""
    origin = Store(config.state_dir).origin(what)
    if origin is None:
        return "stored"
    source, saved_at_s = origin
    if saved_at_s is None:
        return source
    try:
        day = time.strftime("%Y-%m-%d", time.localtime(saved_at_s))
    except (OverflowError, OSError, ValueError):  # a time that the system's calendar lacks
        return source
    return f"{source}, stored {day}"


def format_relative_time(moment_s: float) -> str:
    """Return a moment (seconds since the epoch) as people say it: in 6 days, 3 hours ago."""
    left_s = moment_s - time.time()
    size_s = abs(left_s)
    for unit, seconds in (("day", _DAY_S), ("hour", 3600), ("minute", 60)):
        if size_s >= seconds:
            count = int(size_s // seconds)
            amount = f"{count} {unit}{'s' if count != 1 else ''}"
            return f"in {amount}" if left_s > 0 else f"{amount} ago"
    return "now"
