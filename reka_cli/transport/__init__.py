"""HTTP to one origin: deadlines, retries, errors as ours, bytes as they come, connections kept.

The only package that imports `requests` and `urllib3`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from urllib.parse import urlsplit

from reka_cli.errors import (
    BadInput,
    DeadlineExceeded,
    NetworkError,
    NotLoggedIn,
    RateLimited,
    Refused,
    RekaError,
    release_frames,
)
from reka_cli.escapes import clean
from reka_cli.limits.call import Call
from reka_cli.messages import Notice
from reka_cli.transport.bodies import Body, DataUrl, form_body, json_body
from reka_cli.transport.connections import Exchange
from reka_cli.transport.failures import (
    TOO_LARGE_HINT,
    ConnectTimeout,
    NoConnection,
    UnexpectedRedirect,
    error_class,
    retry_after_s,
    status_phrase,
)
from reka_cli.transport.pool import USER_AGENT, ConnectionPool
from reka_cli.transport.response import Response, translate_errors

__all__ = [
    "USER_AGENT",
    "Body",
    "ConnectionPool",
    "DataUrl",
    "Response",
    "Transport",
    "UnexpectedRedirect",
    "form_body",
    "json_body",
]

Log = Callable[[str], None]

_GOOD = frozenset(range(200, 300)) - {206}  # which is a part, and was not asked for
_RETRIED = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERROR_S = 3.0  # for the body of an error: the status says enough
_SHORTEST_SECRET = 8  # characters; what is shorter would be found in ordinary words
_SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization", "location"}
)


class Transport:
    """Requests to `base_url` and to no other place, over the connections of `pool`; safe from many threads.

    `login_hint` is what to do about a 401.
    """

    def __init__(
        self,
        base_url: str,
        pool: ConnectionPool,
        log: Log | None = None,
        login_hint: str | None = None,
    ) -> None:
        self._base_url = base_url
        self._pool = pool
        self._log = log
        self._login_hint = login_hint
        self._secrets: frozenset[str] = frozenset()
        self._secret_headers = _SECRET_HEADERS
        self.host = urlsplit(base_url).netloc.rpartition("@")[2]

    def keep_secret(self, value: str) -> None:
        """Never let `value` out in a message or in the log, not even when the service repeats it."""
        if len(value) >= _SHORTEST_SECRET:
            self._secrets |= {value}

    def hide_headers(self, names: Iterable[str]) -> None:
        """Never show the values of these headers in the log."""
        self._secret_headers |= {name.lower() for name in names}

    def send(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        model: str = "",
    ) -> Generator[Notice, None, Response]:
        """Send one request and return its response; yield a Notice before each wait for another attempt.

        A rate limit holds for `model` alone if the service names it, else for every request. `body` is read anew for each attempt; what it raises is raised as it is. Only a response of
        2xx that is neither a web page nor a part is returned. The rest is raised: an error for its
        status (after the retries where it is worth one), NetworkError, DeadlineExceeded, and
        IncompleteAnswer when the question is canceled.
        """
        attempt = 1
        has_turn = False
        limits = call.limits
        while True:
            yield from self._wait_for_turn(call, model, has_turn=has_turn)
            try:
                response = self.request(call, method, path, headers, body)
            except (NetworkError, DeadlineExceeded) as error:
                failure: RekaError = error
                worth_another = isinstance(error, NoConnection | ConnectTimeout)
            else:
                if response.status in _GOOD and response.media_type != "text/html":
                    return response
                failure = self._response_error(response)
                worth_another = response.status in _RETRIED and not isinstance(failure, BadInput)
            wait_s = _wait_s(call, attempt, failure) if worth_another else None
            if isinstance(failure, RateLimited) and limits.is_scheduled:
                wait_s = None
            elif isinstance(failure, RateLimited) and self._pool.rate_limits:
                wait_s, has_turn = self._share_rate_limit(call, model, failure, wait_s), True
            if wait_s is None:
                raise failure
            which = f"attempt {attempt + 1} of {limits.retries + 1}"
            notice = Notice(f"{failure.message}; {which} in {wait_s:.1f} s", is_retry=True)
            release_frames(failure)
            del failure  # its traceback leads back to this frame
            yield notice
            call.cancellation.sleep(wait_s)
            attempt += 1

    def redact(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):  # one may be a part of another
            text = text.replace(secret, "[redacted]")
        return text

    def request(
        self,
        call: Call,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Body | None = None,
    ) -> Response:
        """Send a request and return its response, whatever its status.

        It is sent once more, on a new connection, if the server had closed the kept one.

        A server may close a kept connection at any moment (RFC 9112, 9.3.1); if no byte of a
        response came, nothing was lost but the connection, so this does not count as a retry.
        """
        exchange = Exchange(call, self.host)
        try:
            return self._exchange(exchange, method, path, headers, body)
        except NetworkError as error:
            if not exchange.may_be_stale:
                raise
            release_frames(error)
        self._debug("* the server had closed the kept connection", {})
        return self._exchange(
            Exchange(call, self.host, needs_new=True), method, path, headers, body
        )

    def _exchange(
        self,
        exchange: Exchange,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Body | None,
    ) -> Response:
        exchange.remaining_s()
        url = self._base_url + path
        self._debug(f"> {method} {url}", headers)
        started = time.monotonic()
        try:
            with translate_errors(exchange, self.host):
                raw = self._pool.request(exchange, method, url, headers, body)
        except BaseException:
            exchange.end()
            raise
        self._debug(f"< {raw.status_code} after {time.monotonic() - started:.3f} s", raw.headers)
        return Response(raw, exchange, self.host, self.redact)

    def _wait_for_turn(
        self, call: Call, model: str, *, has_turn: bool
    ) -> Generator[Notice, None, None]:
        """Wait while the service is known to want no request, from this process or another."""
        rate_limits = self._pool.rate_limits
        if call.limits.is_scheduled or rate_limits is None or rate_limits.is_empty:
            return
        keys = self._limit_keys(model)
        deadline = call.limits.deadline
        while not has_turn or rate_limits.remaining_wait_s(keys):
            wait_s = rate_limits.remaining_wait_s(keys)
            if not wait_s or (call.limits.waits_for_limits and _deadline_allows(call, wait_s)):
                wait_s, has_turn = rate_limits.take_turn_s(keys, deadline), True
                if not wait_s:
                    return
                if _deadline_allows(call, wait_s):
                    yield Notice(f"{self.host} limits the rate of requests: waiting {wait_s:.1f} s")
                    call.cancellation.sleep(wait_s)
                    continue
            message = f"{self.host} limits the rate of requests"
            message += f" (try again in {max(1.0, wait_s):.0f} s)"
            raise RateLimited(message, retry_after_s=wait_s)

    def _share_rate_limit(
        self, call: Call, model: str, failure: RateLimited, wait_s: float | None
    ) -> float | None:
        """Share a rate limit with other processes.

        Returns the seconds until the next turn, which `wait_s` is a minimum for, or None to give up.
        """
        rate_limits = self._pool.rate_limits
        limited_s = failure.retry_after_s or wait_s
        if not rate_limits or not limited_s:
            return wait_s
        keys = self._limit_keys(model)
        key = keys[-1] if model and model in failure.message else keys[0]
        deadline = call.limits.deadline
        rate_limits.record_limit(key, limited_s, deadline)
        if wait_s is None or not call.limits.waits_for_limits:
            return None
        turn_s = max(wait_s, rate_limits.take_turn_s(keys, deadline))
        return turn_s if _deadline_allows(call, turn_s) else None

    def _limit_keys(self, model: str) -> tuple[str, ...]:
        """Return the keys of the rate limits for a question: the service's, and that of a model."""
        return (self._base_url, f"{self._base_url} {model}") if model else (self._base_url,)

    def _response_error(self, response: Response) -> RekaError:
        status = response.status
        if status in _GOOD | _REDIRECTS:
            response.close()
            what = (
                "a web page"
                if status in _GOOD
                else self._shown_location(response.headers.get("Location", ""))
            )
            return UnexpectedRedirect(
                f"{self.host} answered with {what} ({status}) where an answer was due"
            )
        response.end_within(_ERROR_S)
        body = response.error_body()
        text = response.quote_body(body) if status >= 400 else ""
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        message = f"{self.host} answered {status}"
        message += f": {text}" if text else f" {status_phrase(status)}".rstrip()
        if wait_s:
            message += f" (try again in {wait_s:.0f} s)"
        kind = error_class(status, text)
        hint = self._error_hint(kind, status, is_page=response.media_type == "text/html")
        error = kind(message, hint, retry_after_s=wait_s)
        error.status, error.service_text = status, body
        return error

    def _error_hint(self, kind: type[RekaError], status: int, *, is_page: bool) -> str | None:
        if kind is NotLoggedIn:
            return self._login_hint
        if kind is Refused and is_page:
            return f"open {self.host} in a browser: it may want to check that you are human"
        if kind is Refused:
            return "check that your account has access to this model"
        if status == 413:
            return TOO_LARGE_HINT
        return None

    def _shown_location(self, location: str) -> str:
        try:
            hostname = urlsplit(location).hostname
        except ValueError:
            hostname = None
        return f"a redirect to {self.redact(clean(hostname))}" if hostname else "a redirect"

    def _debug(self, line: str, headers: Mapping[str, str]) -> None:
        if self._log:
            self._log(self.redact(line))
            for name, value in headers.items():
                shown = "[redacted]" if name.lower() in self._secret_headers else self.redact(value)
                self._log(f"  {name}: {shown}")


def _wait_s(call: Call, attempt: int, failure: RekaError) -> float | None:
    """Return how long to wait before the next attempt; None if there is to be none."""
    if attempt > call.limits.retries:
        return None
    backoff_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt - 1, 10))
    wait_s = max(random.uniform(0, backoff_s), failure.retry_after_s or 0)
    return wait_s if _deadline_allows(call, wait_s) else None


def _deadline_allows(call: Call, wait_s: float) -> bool:
    return time.monotonic() + wait_s < call.limits.deadline.ends_at
