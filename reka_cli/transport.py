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
from dataclasses import dataclass
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
from reka_cli.deadline import Limits, in_time
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
# llama.cpp without mmproj (measured 2026-11-22), vLLM with a text model (its source, 2026)
_TAKES_NO_IMAGE = re.compile(
    r"image input is not supported|not a multimodal model|does not support image", re.IGNORECASE
)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_READ_SIZE = 65_536
_LONGEST_JSON = 1 << 20  # bytes of an answer that is no stream
_ERROR_IDLE_S = 3.0  # silence in the body of an error
_SHORTEST_SECRET = 8  # characters; what is shorter would be found in ordinary words
_LONGEST_QUOTE = 300  # characters of a service's own words in one of our messages
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization", "location"})

# Every exception of the two libraries that can come out of a request is one of these; a test holds that.
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, urllib3.exceptions.TimeoutStateError)
_UNREADABLE = (
    requests.exceptions.ContentDecodingError,
    requests.exceptions.InvalidHeader,  # the service's: ours are checked
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
            if body.lstrip().startswith(b"<"):
                raise Diverted(f"{self._transport.host} answered with a web page where an answer was due") from error
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

    def hurry(self, idle_s: float) -> None:
        """Allow no longer silence than this from now on: what is still due is not worth waiting for."""
        self._transport.allow_silence(idle_s)

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
        self._idle_s = limits.idle_s
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
                worth_another = answer.status in _RETRIED and not isinstance(failure, BadInput)
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
            # a socket that the deadline closed under a reader raises whatever it was reading for
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
                self._socket.settimeout(self._idle_s)

    def allow_silence(self, idle_s: float) -> None:
        self._idle_s = min(idle_s, self._limits.idle_s)
        self.has_begun()

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
        # requests reads the whole body of a redirect, and chokes on a bad Location, even where none is followed
        session.get_redirect_target = lambda _: None  # type: ignore[assignment, method-assign]
        hostname = urlsplit(self._base_url).hostname or ""
        if is_loopback(hostname):
            session.trust_env = False  # a proxy of the environment cannot reach our loopback
            session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(_Hooks(self._opened, self._limits)))
        return session

    def _opened(self, opened: socket.socket) -> None:
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
        backoff_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt - 1, 10))
        wait_s = max(random.uniform(0, backoff_s), failure.retry_after_s or 0)
        left_s = self._limits.deadline.ends_at - time.monotonic()
        return wait_s if wait_s < left_s else None

    def _raise_ours(self, error: Exception) -> NoReturn:
        if self._cut or self._limits.deadline.passed:
            raise self._limits.deadline.error() from error
        raise translate(error, self.host, self._limits) from error

    def _error_of(self, answer: Response, headers: Mapping[str, str]) -> RekaError:
        status = answer.status
        if 200 <= status < 400:
            answer.close()
            what = "a web page" if status < 300 else self._redirect(headers.get("Location", ""))
            return Diverted(f"{self.host} answered with {what} ({status}) where an answer was due")
        said = self._said(answer)
        retry_after_s = _retry_after_s(headers.get("Retry-After"))
        message = f"{self.host} answered {status}" + (f": {said}" if said else f" {_phrase(status)}".rstrip())
        if retry_after_s:
            message += f" (try again in {retry_after_s:.0f} s)"
        kind = BadInput if status >= 500 and _TAKES_NO_IMAGE.search(said) else _class_of(status)
        return kind(message, retry_after_s=retry_after_s)

    def _redirect(self, location: str) -> str:
        try:
            hostname = urlsplit(location).hostname
        except ValueError:
            hostname = None
        return f"a redirect to {self.redacted(clean(hostname))}" if hostname else "a redirect"

    def _said(self, answer: Response) -> str:
        """Give the service's own words for an error, without waiting long: the status says enough."""
        before, self._idle_s = self._idle_s, min(self._idle_s, _ERROR_IDLE_S)
        self.has_begun()
        try:
            return answer.quote(json.loads(answer.body()))
        except (RekaError, ValueError, RecursionError):
            return ""
        finally:
            self._idle_s = before

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


@dataclass(frozen=True)
class _Hooks:
    """What a connection tells and asks while it is made."""

    opened: Callable[[socket.socket], None]
    limits: Limits

    def connect_s(self) -> float:
        return min(self.limits.connect_s, self.limits.deadline.remaining_s())


class _Adapter(HTTPAdapter):
    """Makes connections that keep our deadlines."""

    def __init__(self, hooks: _Hooks) -> None:
        self._hooks = hooks
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._hooks)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _pool_classes(self._hooks)
        return manager


def _pool_classes(hooks: _Hooks) -> dict[str, type[HTTPConnectionPool]]:
    def in_time_for(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        class Connection(pool.ConnectionCls):  # type: ignore[name-defined,misc]
            def _new_conn(self) -> socket.socket:
                # looks the name up, which no timeout bounds, and tries one address after the other, each for its time
                opened: socket.socket = in_time(super()._new_conn, hooks.connect_s())
                hooks.opened(opened)
                return opened

            def connect(self) -> None:
                try:
                    super().connect()
                except TimeoutError as error:  # of the lookup, a tunnel or TLS: urllib3 takes it for silence
                    raise ConnectTimeoutError(self, "connecting took too long") from error
                self.sock.settimeout(hooks.limits.deadline.remaining_s())

            def request(self, *args: Any, **kwargs: Any) -> None:
                if self.sock is not None:  # else the time to connect would bound what is sent, a long upload too
                    self.timeout = hooks.limits.deadline.remaining_s()
                super().request(*args, **kwargs)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    return {"http": in_time_for(HTTPConnectionPool), "https": in_time_for(HTTPSConnectionPool)}
