"""HTTP to one origin, for as long as one question takes: deadlines, retries, errors as ours, bytes as they come.

The only module that knows `requests` and `urllib3`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests

from reka_cli import __version__
from reka_cli.call import Limits
from reka_cli.errors import BadInput, DeadlineExceeded, NetworkError, RateLimited, RekaError, ServiceError
from reka_cli.escapes import clean
from reka_cli.hosts import is_loopback
from reka_cli.messages import Notice
from reka_cli.transport.bodies import Body, DataUrl, form_body, json_body
from reka_cli.transport.connections import Adapter, Hooks
from reka_cli.transport.failures import (
    LIBRARY_ERRORS,
    ConnectTimeout,
    Diverted,
    NoConnection,
    class_of,
    phrase,
    retry_after_s,
    translate,
    words,
)

__all__ = ["Body", "DataUrl", "Diverted", "Response", "Transport", "form_body", "json_body"]

Log = Callable[[str], None]

USER_AGENT = f"reka-cli/{__version__} (+https://pypi.org/project/reka-cli/)"

_GOOD = frozenset(range(200, 300)) - {206}  # which is a part, and was not asked for
_RETRIED = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_READ_SIZE = 65_536
_LONGEST_JSON = 1 << 20  # bytes of an answer that is no stream
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERROR_IDLE_S = 3.0  # silence in the body of an error
_ERROR_S = 3.0  # from its begin to its end: the status says enough
_SHORTEST_SECRET = 8  # characters; what is shorter would be found in ordinary words
_LONGEST_QUOTE = 300  # characters of a service's own words in one of our messages
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization", "location"})


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
        compressed = self._is_compressed()
        with contextlib.closing(self._raw), self._transport.translated():
            # iter_lines() and iter_content() hold back what has come of a body that ends by closing the connection
            while chunk := self._raw.raw.read1(_READ_SIZE, decode_content=compressed):
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

    def body(self, within_s: float = math.inf) -> bytes:
        """Read the body, which is no stream; raise ServiceError if it is too long, or takes too long."""
        body = bytearray()
        until = time.monotonic() + within_s
        with contextlib.closing(self.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_JSON:
                    raise ServiceError(f"{self._transport.host} answered with more than {_LONGEST_JSON} bytes")
                if time.monotonic() > until:
                    raise ServiceError(f"{self._transport.host} took longer than {within_s:g} s")
        return bytes(body)

    def quote(self, error: object) -> str:
        """Put the service's own words (JSON of an error, or a text) into one short line that is safe to show."""
        return self._transport.redacted(" ".join(clean(words(error)).split()))[:_LONGEST_QUOTE]

    def hurry(self, idle_s: float) -> None:
        """Allow no longer silence than this from now on: what is still due is not worth waiting for."""
        self._transport.allow_silence(idle_s)

    def close(self) -> None:
        self._raw.close()

    def _is_compressed(self) -> bool:
        """Whether there is something to decompress; raise ServiceError for what urllib3 would pass on as it is."""
        asked = self._raw.headers.get("Content-Encoding", "").lower().split(",")
        known = {"", "identity", *self._raw.raw.CONTENT_DECODERS}
        if unknown := next((one for one in map(str.strip, asked) if one not in known), None):
            self._raw.close()
            raise ServiceError(
                f"the answer of {self._transport.host} cannot be read: "
                f"it is compressed ({clean(unknown)[:20]}), which nobody asked for"
            )
        return asked != [""]


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
        body: Body | None = None,
    ) -> Generator[Notice, None, Response]:
        """Send one request and return its answer; yield a Notice before each wait for another attempt.

        `body` is read anew for each attempt; what it raises is raised as it is.

        Only an answer of 2xx that is no web page and no part is returned. The rest is raised: an error for its status
        (after the retries where it is worth one), NetworkError, DeadlineExceeded.
        """
        attempt = 1
        has_turn = False
        while True:
            yield from self._turn(taken=has_turn)
            try:
                response = self._attempt(method, path, headers, body)
            except (NetworkError, DeadlineExceeded) as error:
                failure: RekaError = error
                worth_another = isinstance(error, NoConnection | ConnectTimeout)
            else:
                answer = Response(response, self)
                if answer.status in _GOOD and answer.media_type != "text/html":
                    return answer
                failure = self._error_of(answer, response.headers)
                worth_another = answer.status in _RETRIED and not isinstance(failure, BadInput)
            wait_s = self._wait_s(attempt, failure) if worth_another else None
            if isinstance(failure, RateLimited) and self._limits.pace:
                wait_s, has_turn = self._learn(failure, wait_s), True
            if wait_s is None:
                raise failure
            which = f"attempt {attempt + 1} of {self._limits.retries + 1}"
            yield Notice(f"{failure.message}; {which} in {wait_s:.1f} s", is_retry=True)
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
        except LIBRARY_ERRORS as error:
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
        if self._socket and self._socket.gettimeout() != self._idle_s:  # to set it is a system call
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
        body: Body | None,
    ) -> requests.Response:
        left_s = self._limits.deadline.remaining_s()
        url = self._base_url + path
        self._debug(f"> {method} {url}", headers)
        started = time.monotonic()
        with self.translated():
            response = self._session.request(
                method,
                url,
                headers={**headers, **({"Content-Type": body.content_type} if body else {})},
                data=body,
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
            session.mount(scheme, Adapter(Hooks(self._opened, self._limits)))
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
        return wait_s if self._deadline_allows(wait_s) else None

    def _turn(self, *, taken: bool) -> Generator[Notice, None, None]:
        """Wait while the service is known to want no request, from this process or another."""
        pace, url = self._limits.pace, self._base_url
        while pace and (not taken or pace.limited_s(url)):
            limited_s = pace.limited_s(url)
            if limited_s and not (self._limits.waits_for_limits and self._deadline_allows(limited_s)):
                message = f"{self.host} limits how often it is asked (try again in {max(1.0, limited_s):.0f} s)"
                raise RateLimited(message, retry_after_s=limited_s)
            wait_s, taken = pace.turn_s(url), True
            if wait_s and self._deadline_allows(wait_s):
                yield Notice(f"{self.host} limits how often it is asked: waiting {wait_s:.1f} s")
                time.sleep(wait_s)

    def _learn(self, failure: RateLimited, wait_s: float | None) -> float | None:
        """Tell the others what was told us, and give the wait for a turn after it; None if there is to be none."""
        pace = self._limits.pace
        asked_s = failure.retry_after_s or wait_s
        if not pace or not asked_s:
            return wait_s
        pace.learn(self._base_url, asked_s)
        if wait_s is None or not self._limits.waits_for_limits:
            return None
        turn_s = pace.turn_s(self._base_url)
        return turn_s if self._deadline_allows(turn_s) else None

    def _deadline_allows(self, wait_s: float) -> bool:
        return time.monotonic() + wait_s < self._limits.deadline.ends_at

    def _raise_ours(self, error: Exception) -> NoReturn:
        if self._cut or self._limits.deadline.passed:
            raise self._limits.deadline.error() from error
        raise translate(error, self.host, self._limits) from error

    def _error_of(self, answer: Response, headers: Mapping[str, str]) -> RekaError:
        status = answer.status
        if status in _GOOD | _REDIRECTS:
            answer.close()
            what = "a web page" if status in _GOOD else self._redirect(headers.get("Location", ""))
            return Diverted(f"{self.host} answered with {what} ({status}) where an answer was due")
        said = self._said(answer)
        wait_s = retry_after_s(headers.get("Retry-After"))
        message = f"{self.host} answered {status}" + (f": {said}" if said else f" {phrase(status)}".rstrip())
        if wait_s:
            message += f" (try again in {wait_s:.0f} s)"
        return class_of(status, said)(message, retry_after_s=wait_s)

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
            return answer.quote(json.loads(answer.body(_ERROR_S)))
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


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
