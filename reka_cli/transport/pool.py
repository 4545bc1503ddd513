"""The connections of one client: kept open between questions, to each origin as many as are used at once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests

from reka_cli import __version__
from reka_cli.errors import IncompleteAnswer
from reka_cli.hosts import is_loopback
from reka_cli.transport import connections
from reka_cli.transport.bodies import Body
from reka_cli.transport.connections import Adapter, Exchange
from reka_cli.transport.rate_limit import SharedRateLimits

USER_AGENT = f"reka-cli/{__version__}"


class ConnectionPool:
    """Sends requests over kept connections; safe from many threads, and in the child of a fork.

    `close()` closes the connections that are idle; those in use are closed as soon as their
    responses end. What is not closed is closed when the pool is collected. `pace` is the rate limits
    that its requests keep.
    """

    def __init__(self, rate_limits: SharedRateLimits | None = None) -> None:
        self.rate_limits = rate_limits
        self._lock = threading.Lock()
        self._sessions: dict[bool, requests.Session] = {}  # by whether the host is this machine
        self._process = os.getpid()
        self._closing = weakref.finalize(self, _close, self._sessions)

    def request(
        self,
        exchange: Exchange,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> requests.Response:
        """Send one request; return its response as soon as the headers are there.

        Raises what requests, urllib3 and sockets raise.
        """
        session = self._session(is_loopback(urlsplit(url).hostname or ""))
        with connections.use_exchange(exchange):
            return session.request(
                method,
                url,
                headers={**headers, **({"Content-Type": body.content_type} if body else {})},
                data=body,
                timeout=(exchange.connect_s(), exchange.remaining_s()),
                allow_redirects=False,  # a redirect would carry the session to another place: it is an answer
                stream=True,
            )

    def close(self) -> None:
        with self._lock:
            self._closing()

    def _session(self, is_local: bool) -> requests.Session:
        if self._process != os.getpid():  # a forked child must not use its parent's connections
            self._forget()
        session = self._sessions.get(is_local)
        if session is None:
            with self._lock:
                if not self._closing.alive:
                    raise IncompleteAnswer("the question was canceled")  # by closing the client
                session = self._sessions.get(is_local) or _open_session(is_local)
                self._sessions[is_local] = session
        return session

    def _forget(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it at the fork
        if self._closing.alive:
            self._closing()
            self._sessions = {}
            self._closing = weakref.finalize(self, _close, self._sessions)
        self._process = (
            os.getpid()
        )  # last: another thread of the child must not see the old sessions


def _close(sessions: dict[bool, requests.Session]) -> None:
    for session in sessions.values():
        session.close()
    sessions.clear()


def _open_session(is_local: bool) -> requests.Session:
    session = requests.Session()
    session.headers.clear()
    session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    session.cookies.set_policy(
        DefaultCookiePolicy(allowed_domains=[])
    )  # the caller says what is sent
    session.auth = _leave_unchanged  # else a .netrc would replace our Authorization
    # requests reads the whole body of a redirect, and chokes on a bad Location, even where none is followed
    session.get_redirect_target = lambda _: None  # type: ignore[assignment, method-assign]
    if is_local:
        session.trust_env = False  # a proxy of the environment cannot reach our loopback
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session


def _leave_unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
