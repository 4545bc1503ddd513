"""HTTP to one origin, for as long as one question takes: deadlines, retries, errors as ours, bytes as they come.

The only module that knows `requests` and `urllib3`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HeaderParsingError,
    LocationValueError,
    NewConnectionError,
)

from reka_cli import __version__
from reka_cli.deadline import Limits
from reka_cli.errors import (
    BadInput,
    DeadlineExceeded,
    NetworkError,
    NotLoggedIn,
    RateLimited,
    Refused,
    RekaError,
    ServiceError,
    UsageError,
)
from reka_cli.escapes import clean
from reka_cli.messages import Notice
from reka_cli.session import is_loopback

Log = Callable[[str], None]
Body = Mapping[str, Any]

USER_AGENT = f"reka-cli/{__version__} (+https://pypi.org/project/reka-cli/)"

_RETRIED = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_READ_SIZE = 65_536
_LONGEST_JSON = 1 << 20  # bytes of an answer that is no stream
_SHORTEST_SECRET = 8  # characters; what is shorter would be found in ordinary words
_LONGEST_QUOTE = 300  # characters of a service's own words in one of our messages
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization", "location"})

# Every exception of the two libraries that can come out of a request is one of these; a test holds that.
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, urllib3.exceptions.TimeoutStateError)
_UNREADABLE = (
    requests.exceptions.ContentDecodingError,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.StreamConsumedError,
    requests.exceptions.TooManyRedirects,
    requests.exceptions.UnrewindableBodyError,
    requests.HTTPError,
    DecodeError,
    HeaderParsingError,
    urllib3.exceptions.BodyNotHttplibCompatible,
    urllib3.exceptions.InvalidHeader,
    urllib3.exceptions.ResponseError,
    urllib3.exceptions.UnrewindableBodyError,
)
_MISUSED = (
    requests.URLRequired,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    LocationValueError,
    urllib3.exceptions.ProxySchemeUnsupported,
)
_DISTURBED = (
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.RetryError,
    urllib3.exceptions.IncompleteRead,
    urllib3.exceptions.InvalidChunkLength,
    urllib3.exceptions.PoolError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.SSLError,
)
_LIBRARY_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, urllib3.exceptions.ProxySchemeUnsupported)


class Response:
    """An answer with status 2xx whose body has not been read; `close()` it, or read it to the end."""

    def __init__(self, raw: requests.Response, transport: Transport) -> None:
        self._raw = raw
        self._transport = transport
        self.status = raw.status_code
        self.media_type = raw.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def set_cookie(self) -> list[str]:
        return list(self._raw.raw.headers.getlist("Set-Cookie"))

    def chunks(self) -> Generator[bytes, None, None]:
        """Give the body as it arrives, never waiting to fill a buffer; raise NetworkError or DeadlineExceeded."""
        with contextlib.closing(self._raw), self._transport.translated():
            # iter_lines() and iter_content() hold back what has come of a body that ends by closing the connection
            while chunk := self._raw.raw.read1(_READ_SIZE, decode_content=True):
                self._transport.has_begun()
                yield chunk

    def json(self) -> Any:
        """Read the body as JSON; raise ServiceError if it is none, or too long for what it is."""
        body = self.body()
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ServiceError(f"{self._transport.host} answered with something that is not JSON") from error

    def body(self) -> bytes:
        """Read the body, which is no stream."""
        body = bytearray()
        with contextlib.closing(self.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_JSON:
                    raise ServiceError(f"{self._transport.host} answered with more than {_LONGEST_JSON} bytes")
        return bytes(body)

    def quote(self, error: object) -> str:
        """Put the service's own words (JSON of an error, or a text) into one short line that is safe to show."""
        return self._transport.redacted(" ".join(clean(_words(error)).split()))[:_LONGEST_QUOTE]

    def close(self) -> None:
        self._raw.close()


class Transport:
    """Requests to `base_url` and to no other place; close it, and every socket is closed."""

    def __init__(self, base_url: str, limits: Limits, log: Log | None = None) -> None:
        self._base_url = base_url
        self._limits = limits
        self._log = log
        self._secrets: set[str] = set()
        self._socket: socket.socket | None = None
        self._watch: threading.Timer | None = None
        self._cut = False
        self.host = urlsplit(base_url).netloc.rpartition("@")[2]
        self._session = self._open_session()

    def keep_secret(self, value: str) -> None:
        """Never let `value` out in a message or in the log, not even when the service repeats it."""
        if len(value) >= _SHORTEST_SECRET:
            self._secrets.add(value)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        json_body: Body | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
    ) -> Generator[Notice, None, Response]:
        """Send one request and return its answer; yield a Notice before each wait for another attempt.

        Only an answer of 2xx that is no web page is returned. The rest is raised: an error for its status (after the
        retries where it is worth one), NetworkError, DeadlineExceeded.
        """
        attempt = 1
        while True:
            try:
                response = self._attempt(method, path, headers, json_body, files)
            except (NetworkError, DeadlineExceeded) as error:
                failure: RekaError = error
                worth_another = isinstance(error, _NoConnection | _ConnectTimeout)
            else:
                answer = Response(response, self)
                if 200 <= answer.status < 300 and answer.media_type != "text/html":
                    return answer
                failure = self._error_of(answer, response.headers)
                worth_another = answer.status in _RETRIED
            wait_s = self._wait_s(attempt, failure) if worth_another else None
            if wait_s is None:
                raise failure
            yield Notice(f"{failure.message}; attempt {attempt + 1} of {self._limits.retries + 1} in {wait_s:.1f} s")
            time.sleep(wait_s)
            attempt += 1

    def close(self) -> None:
        if self._watch:
            self._watch.cancel()
        self._session.close()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what requests, urllib3 and sockets raise into our errors."""
        try:
            yield
        except _LIBRARY_ERRORS as error:
            self._raise_ours(error)
        except (OSError, ValueError) as error:
            # a socket that the deadline closed under a reader raises whatever the reader was doing
            if self._cut:
                raise self._limits.deadline.error() from error
            if isinstance(error, OSError):
                self._raise_ours(error)
            raise
        if self._cut:
            raise self._limits.deadline.error()

    def has_begun(self) -> None:
        """From the first byte of a body on it is silence that counts, no longer the total alone."""
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.settimeout(self._limits.idle_s)

    def redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    def _attempt(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        json_body: Body | None,
        files: Mapping[str, tuple[str, bytes, str]] | None,
    ) -> requests.Response:
        left_s = self._limits.deadline.remaining_s()
        url = self._base_url + path
        self._debug(f"> {method} {url}", headers)
        started = time.monotonic()
        with self.translated():
            response = self._session.request(
                method,
                url,
                headers=dict(headers),
                json=json_body,
                files=files,
                timeout=(min(self._limits.connect_s, left_s), left_s),
                allow_redirects=False,  # a redirect would carry the session to another place: it is an answer
                stream=True,
            )
            if self._cut:
                response.close()  # headers that the deadline cut off can look like a whole answer
        self._debug(f"< {response.status_code} after {time.monotonic() - started:.3f} s", response.headers)
        return response

    def _open_session(self) -> requests.Session:
        session = requests.Session()
        session.headers.clear()
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # what is sent is said by the caller
        session.auth = _as_it_is  # else a .netrc would replace our Authorization
        hostname = urlsplit(self._base_url).hostname or ""
        if is_loopback(hostname):
            session.trust_env = False  # a proxy of the environment cannot reach our loopback
            session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self._connected))
        return session

    def _connected(self, opened: socket.socket) -> None:
        # urllib3 leaves the time to connect on the socket while it sends, which cuts off a long upload
        opened.settimeout(self._limits.deadline.remaining_s())
        self._socket = opened
        if not self._watch:
            # Timeouts of a socket bound one read; only a clock of its own bounds headers that come byte by byte.
            self._watch = threading.Timer(self._limits.deadline.remaining_s(), self._cut_off)
            self._watch.daemon = True
            self._watch.start()

    def _cut_off(self) -> None:
        self._cut = True
        if self._socket:
            with contextlib.suppress(OSError):
                # not SSLSocket.shutdown, which takes the TLS state away from the thread that reads
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _wait_s(self, attempt: int, failure: RekaError) -> float | None:
        """How long to wait before the next attempt; None if there is to be none."""
        if attempt > self._limits.retries:
            return None
        backoff_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
        wait_s = max(random.uniform(0, backoff_s), failure.retry_after_s or 0)
        left_s = self._limits.deadline.ends_at - time.monotonic()
        return wait_s if wait_s < left_s else None

    def _raise_ours(self, error: Exception) -> NoReturn:
        if self._cut or self._limits.deadline.passed:
            raise self._limits.deadline.error() from error
        raise translate(error, self.host, self._limits) from error

    def _error_of(self, answer: Response, headers: Mapping[str, str]) -> RekaError:
        status = answer.status
        if status < 400:
            answer.close()
            where = urlsplit(headers.get("Location", "")).hostname
            what = f"a redirect to {clean(where)}" if where else "a redirect" if status >= 300 else "a web page"
            return Diverted(f"{self.host} answered with {what} ({status}) where an answer was due")
        try:
            said = answer.quote(json.loads(answer.body()))
        except (RekaError, ValueError, RecursionError):
            said = ""  # the status says enough
        retry_after_s = _retry_after_s(headers.get("Retry-After"))
        message = f"{self.host} answered {status}" + (f": {said}" if said else f" {_phrase(status)}".rstrip())
        if retry_after_s:
            message += f" (try again in {retry_after_s:.0f} s)"
        return _class_of(status)(message, retry_after_s=retry_after_s)

    def _debug(self, line: str, headers: Mapping[str, str]) -> None:
        if self._log:
            self._log(self.redacted(line))
            for name, value in headers.items():
                shown = "[redacted]" if name.lower() in _SECRET_HEADERS else self.redacted(value)
                self._log(f"  {name}: {shown}")


class Diverted(Refused):
    """A redirect or a web page where an answer was due."""


class _NoConnection(NetworkError):
    """The connection was never made, so that another attempt repeats nothing."""


class _ConnectTimeout(DeadlineExceeded):
    """Likewise."""


def translate(error: Exception, host: str, limits: Limits) -> RekaError:
    """Give our error for one of requests, urllib3 or a socket."""
    if _is_caused_by(error, NewConnectionError):
        return _NoConnection(f"cannot reach {host}: {_reason(error)}")
    if _is_caused_by(error, ConnectTimeoutError) or isinstance(error, requests.ConnectTimeout):
        return _ConnectTimeout(f"no connection to {host} within {limits.connect_s:g} s")
    if isinstance(error, _TIMEOUTS):
        return DeadlineExceeded(
            f"{host} was silent for {limits.idle_s:g} s", hint="--idle-timeout SECONDS allows longer silence"
        )
    if isinstance(error, _MISUSED):
        return UsageError(f"cannot ask {host}: {_reason(error)}")
    if isinstance(error, _UNREADABLE):
        return ServiceError(f"the answer of {host} cannot be read: {_reason(error)}")
    if isinstance(error, _DISTURBED):
        return NetworkError(f"the connection to {host} failed: {_reason(error)}")
    return NetworkError(f"the request to {host} failed: {type(error).__name__}")


def _is_caused_by(error: BaseException, kind: type[Exception]) -> bool:
    return any(isinstance(cause, kind) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to what is under it, through the ways the two libraries wrap one another."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and not any(cause is one for one in seen):
            seen.append(cause)
            yield cause
            context = None if cause.__suppress_context__ else cause.__context__
            waiting += [getattr(cause, "reason", None), *cause.args, cause.__cause__, context]


def _reason(error: Exception) -> str:
    """Put what is at the bottom of it in a few words, without URLs, addresses of objects or secrets."""
    causes = list(_causes(error))
    named = [words for cause in causes if (words := _name_of(cause, str(error)))]
    coded = [
        os.strerror(cause.errno).lower()
        for cause in causes
        if isinstance(cause, OSError) and isinstance(cause.errno, int)
    ]
    return next(iter(named + coded), type(error).__name__)


def _name_of(cause: BaseException, whole: str) -> str | None:
    match cause:
        case requests.exceptions.ProxyError() | urllib3.exceptions.ProxyError():
            answered = re.search(r"Tunnel connection failed: (\d{3})", whole)
            return f"the proxy answered {answered[1]}" if answered else "the proxy cannot be reached"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({cause.verify_message})"
        case ssl.SSLError():
            return f"no TLS ({(cause.reason or 'closed').replace('_', ' ').lower()})"
        case socket.gaierror():
            return "the name is not known"
        case http.client.IncompleteRead():  # which both of urllib3's are too
            return "it ended in the middle"
        case urllib3.exceptions.ProtocolError() if "prematurely" in str(cause):
            return "it ended in the middle"
        case http.client.RemoteDisconnected():
            return "it was closed without an answer"
        case DecodeError():
            return "its compression is broken"
        case _:
            return None


def _class_of(status: int) -> type[RekaError]:
    match status:
        case 401:
            return NotLoggedIn
        case 403:
            return Refused
        case 400 | 404 | 405 | 413 | 415 | 422:
            return BadInput
        case 402 | 429:
            return RateLimited
        case 407:
            return NetworkError
        case _:
            return ServiceError


def _phrase(status: int) -> str:
    from http import HTTPStatus

    try:
        return f"({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def _words(value: object) -> str:
    """Find the text in an error of any of the shapes that services send; "" if there is none."""
    for _ in range(4):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict):
            value = next((value[key] for key in ("error", "detail", "message", "msg", "text") if value.get(key)), "")
    return value if isinstance(value, str) else ""


def _retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date, as seconds from now."""
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Adapter(HTTPAdapter):
    """Tells of each connection that is made, which is where the socket can be had."""

    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        self._connected = connected
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._connected)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _pool_classes(self._connected)
        return manager


def _pool_classes(connected: Callable[[socket.socket], None]) -> dict[str, type[HTTPConnectionPool]]:
    def telling(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        class Connection(pool.ConnectionCls):  # type: ignore[name-defined,misc]
            def connect(self) -> None:
                super().connect()
                connected(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    return {"http": telling(HTTPConnectionPool), "https": telling(HTTPSConnectionPool)}
