"""HAR 1.2: what the developer tools recorded of requests and responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reka_cli.cookies.formats._document import Document, host_of_url
from reka_cli.cookies.formats.headers import parse_cookie_header, parse_session_cookie
from reka_cli.cookies.session import Cookie
from reka_cli.errors import NotLoggedIn
from reka_cli.hosts import HOSTS

_LONGEST_WAIT_MS = 86_400_000


@dataclass(frozen=True)
class _Header:
    """One header with cookies, and when it went over the wire."""

    moment_s: float
    host: str
    name: str
    value: str = field(repr=False)


def har_cookies(entries: list[Any], document: Document) -> list[Cookie]:
    """Give the cookies of Reka's hosts as they were at the end; raise NotLoggedIn if the browser left them all out."""
    headers = sorted(_headers(entries, document.now_s), key=lambda header: header.moment_s)
    if not headers:
        hint = "export it again with sensitive data (the developer tools' settings, Network)"
        raise NotLoggedIn(f"{document.source} is a HAR file without cookies", hint=hint)
    found: dict[tuple[str, str], Cookie] = {}
    for header in headers:
        for cookie in _cookies(header) if header.host in HOSTS else []:
            known = found.get((cookie.host, cookie.name))
            if header.name == "cookie" and known and known.value == cookie.value:
                continue  # only Set-Cookie knows the expiry
            found[cookie.host, cookie.name] = cookie
    return list(found.values())


def _headers(entries: list[Any], now_s: float) -> Iterator[_Header]:
    """Give the headers with cookies: a request's when it began, a response's when it was there.

    A request that began before another's response still carries the older cookie, though its entry comes later.
    """
    for entry in map(_object, entries):
        request, response = _object(entry.get("request")), _object(entry.get("response"))
        url = request.get("url")
        host = host_of_url(url) if isinstance(url, str) else ""
        began_s = _moment_s(entry.get("startedDateTime"))
        for value in _values(request, "cookie"):
            yield _Header(began_s or 0.0, host, "cookie", value)
        for value in _values(response, "set-cookie"):
            yield _Header(
                began_s + _wait_s(entry.get("time")) if began_s else now_s,
                host,
                "set-cookie",
                value,
            )


def _cookies(header: _Header) -> list[Cookie]:
    if header.name == "cookie":
        return parse_cookie_header(header.value, header.host)
    received = (
        parse_session_cookie(line, header.host, header.moment_s)
        for line in header.value.split("\n")
    )
    # a browser takes no cookie for another host than the one that sets it, but for the whole domain
    return [
        one for one in received if one and one.host in (header.host, header.host.partition(".")[2])
    ]


def _values(message: dict[str, Any], name: str) -> Iterator[str]:
    headers = message.get("headers")
    for header in map(_object, headers if isinstance(headers, list) else []):
        key, value = header.get("name"), header.get("value")
        if isinstance(key, str) and key.lower() == name and isinstance(value, str):
            yield value


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _moment_s(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def _wait_s(value: object) -> float:
    return value / 1000 if isinstance(value, int | float) and 0 < value < _LONGEST_WAIT_MS else 0.0
