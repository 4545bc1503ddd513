"""A file from an http(s) URL: redirects followed, credentials for its own origin alone, bounded in time and size."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urljoin, urlsplit

from requests.auth import HTTPDigestAuth
from requests.utils import parse_dict_header

from reka_cli.errors import BadInput, RateLimited, RekaError, ServiceError, UsageError
from reka_cli.escapes import one_line
from reka_cli.limits.call import Call, Limits
from reka_cli.limits.deadline import Deadline
from reka_cli.transport import ConnectionPool, Response, Transport
from reka_cli.transport.failures import retry_after_s, status_phrase

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = {"Accept": "image/png, image/jpeg, image/webp, image/gif, image/*;q=0.8, */*;q=0.5"}
_LIVE = "multipart/x-mixed-replace"  # images without end, as cameras send them

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


def download(
    url: str,
    deadline: Deadline,
    largest: int,
    log: Log | None = None,
    pool: ConnectionPool | None = None,
) -> bytes:
    """Return what is at `url`, at most `largest` bytes, over the connections of `pool` if there is one.

    A user name and a password in it are sent when its own origin asks for them (Basic or Digest), to no other. Raises
    BadInput if it is not to be had, RateLimited and ServiceError if it is not to be had now, DeadlineExceeded,
    NetworkError.
    """
    first = address = _address(url)
    call = Call(Limits(deadline.with_message(f"{first.shown} did not come"), deadline.total_s))
    connections = pool or ConnectionPool()
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            transport = Transport(f"{address.scheme}://{address.authority}", connections, log)
            transport.keep_secret(address.target.partition("?")[2])  # a signature, a token
            response = _get(transport, call, address, first)
            if response.status not in _REDIRECTS:
                return _body(response, address, largest)
            address = _redirect_address(address, response)
    finally:
        if pool is None:
            connections.close()
    raise BadInput(f"{first.shown} redirects more than {_MOST_REDIRECTS} times")


def display_url(url: str) -> str:
    """Give a URL as it may be shown; raise BadInput if it is none."""
    return _address(url).shown


def _get(transport: Transport, call: Call, address: _Address, first: _Address) -> Response:
    """Ask for `address`, once more with the credentials of `first` if it wants them and is of the same origin."""
    response = _ask(transport, call, address, {})
    if response.status != 401:
        return response
    response.close()
    has_credentials = bool(first.user or first.password) and address.origin == first.origin
    header = _authorization(response, address, first) if has_credentials else None
    if header is None:
        raise _unauthorized_error(address, has_credentials=has_credentials)
    response = _ask(transport, call, address, {"Authorization": header})
    if response.status == 401:
        response.close()
        raise _unauthorized_error(address, has_credentials=True)
    return response


def _ask(transport: Transport, call: Call, address: _Address, headers: dict[str, str]) -> Response:
    try:
        return transport.request(call, "GET", address.target, {**_HEADERS, **headers})
    except UsageError as error:  # what requests makes of a URL that is none
        raise BadInput(f"{address.shown} is no URL that can be asked") from error


def _authorization(response: Response, address: _Address, first: _Address) -> str | None:
    """Return the header that the challenges of a 401 ask for, Digest if possible; None if they ask for another."""
    challenges = response.header_values("WWW-Authenticate")
    for challenge in challenges:
        scheme, _, parameters = challenge.partition(" ")
        if scheme.lower() == "digest" and (header := _digest(parameters, address, first)):
            return header
    if any(re.search(r"(?:^|,)\s*basic\b", challenge, re.IGNORECASE) for challenge in challenges):
        credentials = f"{first.user}:{first.password}".encode("utf-8", "replace")
        return "Basic " + base64.b64encode(credentials).decode()
    return None


def _digest(parameters: str, address: _Address, first: _Address) -> str | None:
    challenge: dict[str, str] = parse_dict_header(parameters)  # type: ignore[no-untyped-call]
    if not challenge.get("realm") or not challenge.get("nonce"):
        return None
    auth = HTTPDigestAuth(first.user, first.password)
    auth.init_per_thread_state()
    # its own hook reads the body of the 401 to the end, however long that is
    auth._thread_local.chal = challenge  # type: ignore[attr-defined]  # noqa: SLF001
    header: str | None = auth.build_digest_header("GET", address.url)  # type: ignore[no-untyped-call]
    return header.encode("utf-8", "replace").decode("latin-1") if header else None


def _unauthorized_error(address: _Address, *, has_credentials: bool) -> RekaError:
    if has_credentials:
        return BadInput(f"{address.shown} does not take this user name and password")
    url = f"{address.scheme}://USER:PASSWORD@{address.authority}{address.target.partition('?')[0]}"
    return BadInput(
        f"{address.shown} wants a user name and a password", hint=f"-i {one_line(url, 200)}"
    )


def _redirect_address(address: _Address, response: Response) -> _Address:
    response.close()
    location = (
        response.headers.get("Location", "").encode("latin-1", "replace").decode("utf-8", "replace")
    )
    try:
        return _address(urljoin(address.url, location), without_credentials=True)
    except (BadInput, ValueError) as error:
        to = location.partition(":")[0] if ":" in location else location
        raise BadInput(
            f"{address.shown} redirects to what is no http(s) URL: {one_line(to, 40)}"
        ) from error


def _body(response: Response, address: _Address, largest: int) -> bytes:
    with closing(response):
        _check_response(response, address, largest)
        body = bytearray()
        with closing(response.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > largest:
                    raise _too_large_error(address, largest)
        return bytes(body)


def _check_response(response: Response, address: _Address, largest: int) -> None:
    """Raise an error for an answer that is not worth reading."""
    status = response.status
    if not 200 <= status < 300:
        raise _status_error(status, response, address)
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > largest:
        raise _too_large_error(address, largest)
    if response.media_type == _LIVE:
        raise BadInput(
            f"{address.shown} is a live stream, not a file",
            hint="-i with the camera's snapshot URL",
        )
    if "," in response.headers.get(
        "Content-Encoding", ""
    ):  # a few bytes, packed twice, can become all of memory
        raise ServiceError(f"{address.shown} came packed more than once")


def _status_error(status: int, response: Response, address: _Address) -> RekaError:
    message = f"{address.shown} answered {status} {status_phrase(status)}".rstrip()
    if status == 429:
        return RateLimited(
            message, retry_after_s=retry_after_s(response.headers.get("Retry-After"))
        )
    return ServiceError(message) if status >= 500 else BadInput(message)


def _too_large_error(address: _Address, largest: int) -> BadInput:
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
    address = _Address(
        scheme, authority, (parts.path or "/") + query, seen, (scheme, hostname, port)
    )
    if without_credentials:
        return address
    return replace(
        address, user=unquote(parts.username or ""), password=unquote(parts.password or "")
    )
