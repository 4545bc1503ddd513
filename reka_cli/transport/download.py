"""A file from an http(s) URL: redirects followed, credentials for its own origin alone, bounded in time and size."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.auth import HTTPDigestAuth
from requests.utils import parse_dict_header

from reka_cli.call import Limits
from reka_cli.deadline import Deadline
from reka_cli.errors import BadInput, DeadlineExceeded, RateLimited, RekaError, ServiceError, UsageError
from reka_cli.escapes import one_line
from reka_cli.transport import Response, Transport
from reka_cli.transport.failures import ConnectTimeout, phrase, retry_after_s

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = {"Accept": "image/png, image/jpeg, image/webp, image/gif, image/*;q=0.8, */*;q=0.5"}
_LIVE = "multipart/x-mixed-replace"  # pictures without end, as cameras send them

Log = Callable[[str], None]


@dataclass(frozen=True)
class _Address:
    """A URL taken apart: `target` is path and query, `shown` has neither credentials nor the values of a query."""

    scheme: str
    authority: str
    target: str
    shown: str
    origin: tuple[str, str, int]
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def download(url: str, deadline: Deadline, largest: int, log: Log | None = None) -> bytes:
    """Give what is at `url`, at most `largest` bytes.

    A user name and a password in it are sent when its own origin asks for them (Basic or Digest), to no other. Raises
    BadInput if it is not to be had, RateLimited and ServiceError if it is not to be had now, DeadlineExceeded,
    NetworkError.
    """
    first = address = _address(url)
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            with closing(_Site(address, deadline, log)) as site:
                response = site.get(address, first)
                if response.status not in _REDIRECTS:
                    return _body(response, address, largest)
                address = _redirected(address, response)
    except ConnectTimeout:
        raise
    except DeadlineExceeded as error:
        error.message = f"{first.shown} did not come within {deadline.total_s:g} s"
        raise
    raise BadInput(f"{first.shown} redirects more than {_MOST_REDIRECTS} times")


def shown(url: str) -> str:
    """Give a URL as it may be shown; raise BadInput if it is none."""
    return _address(url).shown


class _Site(Transport):
    """Requests to the origin of one address, whose answers are judged by the caller."""

    def __init__(self, address: _Address, deadline: Deadline, log: Log | None) -> None:
        super().__init__(f"{address.scheme}://{address.authority}", Limits(deadline, deadline.total_s), log)
        self.keep_secret(address.target.partition("?")[2])  # a signature, a token

    def get(self, address: _Address, first: _Address) -> _Answer:
        """Ask for `address`, once more with the credentials of `first` if it wants them and is of the same origin."""
        response = self._get(address, {})
        if response.status != 401:
            return response
        response.close()
        has_credentials = bool(first.user or first.password) and address.origin == first.origin
        header = response.authorization(first.user, first.password) if has_credentials else None
        if header is None:
            raise _unauthorized(address, has_credentials=has_credentials)
        response = self._get(address, {"Authorization": header})
        if response.status == 401:
            response.close()
            raise _unauthorized(address, has_credentials=True)
        return response

    def _get(self, address: _Address, headers: dict[str, str]) -> _Answer:
        try:
            return _Answer(self._attempt("GET", address.target, {**_HEADERS, **headers}, None), self)
        except UsageError as error:  # what requests makes of a URL that is none
            raise BadInput(f"{address.shown} is no URL that can be asked") from error


class _Answer(Response):
    """An answer of any status."""

    def header(self, name: str) -> str:
        return self._raw.headers.get(name, "")

    def authorization(self, user: str, password: str) -> str | None:
        """Give the header that the challenges of a 401 ask for, Digest if it can be; None if they ask for another."""
        challenges = self._raw.raw.headers.getlist("WWW-Authenticate")
        for challenge in challenges:
            scheme, _, parameters = challenge.partition(" ")
            if scheme.lower() == "digest" and (header := _digest(parameters, user, password, self._raw.request)):
                return header
        if any(re.search(r"(?:^|,)\s*basic\b", challenge, re.IGNORECASE) for challenge in challenges):
            return "Basic " + base64.b64encode(f"{user}:{password}".encode("utf-8", "replace")).decode()
        return None


def _digest(parameters: str, user: str, password: str, request: requests.PreparedRequest) -> str | None:
    challenge: dict[str, str] = parse_dict_header(parameters)  # type: ignore[no-untyped-call]
    if not challenge.get("realm") or not challenge.get("nonce"):
        return None
    auth = HTTPDigestAuth(user, password)
    auth.init_per_thread_state()
    # its own hook reads the body of the 401 to the end, however long that is
    auth._thread_local.chal = challenge  # type: ignore[attr-defined]  # noqa: SLF001
    header: str | None = auth.build_digest_header(request.method, request.url)  # type: ignore[no-untyped-call]
    return header.encode("utf-8", "replace").decode("latin-1") if header else None


def _unauthorized(address: _Address, *, has_credentials: bool) -> RekaError:
    if has_credentials:
        return BadInput(f"{address.shown} does not take this user name and password")
    url = f"{address.scheme}://USER:PASSWORD@{address.authority}{address.target.partition('?')[0]}"
    return BadInput(f"{address.shown} wants a user name and a password", hint=f"-i {one_line(url, 200)}")


def _redirected(address: _Address, response: _Answer) -> _Address:
    response.close()
    location = response.header("Location").encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return _address(urljoin(address.url, location), without_credentials=True)
    except (BadInput, ValueError) as error:
        to = location.partition(":")[0] if ":" in location else location
        raise BadInput(f"{address.shown} redirects to what is no http(s) URL: {one_line(to, 40)}") from error


def _body(response: _Answer, address: _Address, largest: int) -> bytes:
    with closing(response):
        _check(response, address, largest)
        body = bytearray()
        with closing(response.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > largest:
                    raise _too_large(address, largest)
        return bytes(body)


def _check(response: _Answer, address: _Address, largest: int) -> None:
    """Raise an error for an answer that is not worth reading."""
    status = response.status
    if not 200 <= status < 300:
        raise _refused(status, response, address)
    length = response.header("Content-Length")
    if length.isdecimal() and len(length) < 20 and int(length) > largest:
        raise _too_large(address, largest)
    if response.media_type == _LIVE:
        raise BadInput(f"{address.shown} is a live stream, not a file", hint="-i with the camera's snapshot URL")
    if "," in response.header("Content-Encoding"):  # a few bytes, packed twice, can become all of memory
        raise ServiceError(f"{address.shown} came packed more than once")


def _refused(status: int, response: _Answer, address: _Address) -> RekaError:
    message = f"{address.shown} answered {status} {phrase(status)}".rstrip()
    if status == 429:
        return RateLimited(message, retry_after_s=retry_after_s(response.header("Retry-After")))
    return ServiceError(message) if status >= 500 else BadInput(message)


def _too_large(address: _Address, largest: int) -> BadInput:
    return BadInput(f"{address.shown} is larger than {largest >> 20} MB")


def _address(url: str, *, without_credentials: bool = False) -> _Address:
    """Take a URL apart; raise BadInput, without the URL's secrets, if it is none of http or https."""
    try:
        parts = urlsplit(url)
        scheme, hostname = parts.scheme.lower(), (parts.hostname or "").lower()
        port = parts.port or _DEFAULT_PORTS[scheme]
    except (ValueError, KeyError) as error:
        raise BadInput("this is no http(s) URL") from error
    authority = parts.netloc.rpartition("@")[2]
    if not hostname or not authority.isprintable() or set(authority) & set(" \\"):
        raise BadInput("there is no host in the URL")
    query = f"?{parts.query}" if parts.query else ""
    seen = one_line(f"{scheme}://{authority}{unquote(parts.path)}{'?…' if query else ''}", 200)
    address = _Address(scheme, authority, (parts.path or "/") + query, seen, (scheme, hostname, port))
    if without_credentials:
        return address
    return replace(address, user=unquote(parts.username or ""), password=unquote(parts.password or ""))
