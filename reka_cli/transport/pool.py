"""The connections of one client: kept open between questions, to each origin as many as are used at once."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies

from reka_cli import __version__
from reka_cli.errors import IncompleteAnswer
from reka_cli.hosts import is_loopback
from reka_cli.transport import connections
from reka_cli.transport.bodies import Body
from reka_cli.transport.connections import Adapter, Exchange
from reka_cli.transport.failures import ca_bundle
from reka_cli.transport.rate_limit import SharedRateLimits

USER_AGENT = f"reka-cli/{__version__}"

_HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}


class ConnectionPool:
    """Sends requests over kept connections; safe from many threads, and in the child of a fork.

    `close()` closes the connections that are idle; those in use are closed as soon as their
    responses end. What is not closed is closed when the pool is collected. `pace` is the rate limits
    that its requests keep.
    """

    def __init__(self, rate_limits: SharedRateLimits | None = None) -> None:
        self.rate_limits = rate_limits
        self._adapter = Adapter()
        self._process = os.getpid()
        self._closing = weakref.finalize(self, self._adapter.close)

    def request(
        self,
        exchange: Exchange,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> requests.Response:
        """Send one request; return its response as soon as the headers are there.

        Redirects are not followed: they would carry the credentials to another host. Raises what
        requests, urllib3 and sockets raise.
        """
        # a session would add cookies, credentials of .netrc and a search for redirects
        request = requests.Request(
            method, url, headers={**_HEADERS, **headers}, auth=_leave_unchanged
        ).prepare()
        if body:
            request.body = body  # type: ignore[assignment]  # urllib3 takes any iterable of bytes
            request.headers["Content-Type"] = body.content_type
            exchange.body_bytes = len(body)
            request.headers["Content-Length"] = str(exchange.body_bytes)
        timeout_s = exchange.remaining_s()
        is_local = is_loopback(urlsplit(url).hostname or "")
        with connections.use_exchange(exchange):
            return self._open_adapter().send(
                request,
                stream=True,
                timeout=(timeout_s, timeout_s),  # connections bound themselves
                verify=ca_bundle()[1] or True,
                # a proxy of the environment cannot reach our loopback
                proxies={} if is_local else _proxies(url),
            )

    def close(self) -> None:
        self._closing()

    def _open_adapter(self) -> Adapter:
        if self._process != os.getpid():  # a forked child must not use its parent's connections
            self._forget()
        if not self._closing.alive:
            raise IncompleteAnswer("the question was canceled")  # by closing the client
        return self._adapter

    def _forget(self) -> None:
        if self._closing.alive:
            self._closing()
            self._adapter = Adapter()
            self._closing = weakref.finalize(self, self._adapter.close)
        self._process = os.getpid()  # last: other threads of the child must not see the old adapter


def _proxies(url: str) -> dict[str, str]:
    """Return the proxies that the environment names for a URL."""
    found = get_environ_proxies(url)
    # GNOME writes socks://, which means SOCKS 5 and names that the proxy looks up
    return {
        scheme: re.sub("^socks://", "socks5h://", proxy, flags=re.IGNORECASE)
        for scheme, proxy in found.items()
    }


def _leave_unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep our Authorization, which credentials in the URL would replace."""
    return request
