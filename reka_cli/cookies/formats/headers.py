"""Headers of HTTP, whole or a single value: `Cookie`, `Set-Cookie`, the bare value of the session cookie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from reka_cli.cookies.formats._document import Document, host_of_domain
from reka_cli.cookies.session import Cookie, parse_set_cookie

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # token, RFC 9110 5.6.2
_BLOCK = re.compile(r"^(?:set-)?cookie:", re.IGNORECASE | re.MULTILINE)
_HEADER = re.compile(r"(:?[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*(.*)")
_HOST = re.compile(r"([a-z0-9.-]{1,253})(?::[0-9]{0,5})?", re.IGNORECASE)
_LONGEST_LINE = 1 << 20  # no header is longer
_ATTRIBUTES = {
    "domain",
    "expires",
    "httponly",
    "max-age",
    "partitioned",
    "path",
    "priority",
    "samesite",
    "secure",
}
_SESSION_VALUE = re.compile(
    r"eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){4}"
)  # a JWE; its second part, the key, is empty


def parse_cookie_header(header: str, host: str) -> list[Cookie]:
    """Read the value of a `Cookie` header; of two with one name the first counts, as it does at servers.

    Cookie-Editor writes no blank after `;` and percent-encodes, which changes nothing in a session's value.
    """
    pairs: dict[str, str] = {}
    for part in header.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            pairs.setdefault(name.strip(), value.strip())
    return [Cookie(host, name, value) for name, value in pairs.items()]


def parse_session_cookie(header: str, host: str, now_s: float) -> Cookie | None:
    """Read the value of a `Set-Cookie` header if it is of a session cookie; `Domain` in it beats `host`."""
    cookie = parse_set_cookie(header, host, now_s)
    parted = (attribute.partition("=") for attribute in header.split(";")[1:])
    domains = [
        value for key, _, value in parted if key.strip().lower() == "domain" and value.strip()
    ]
    return (
        replace(cookie, host=host_of_domain(domains[-1], subdomains=True))
        if cookie and domains
        else cookie
    )


def block_cookies(document: Document) -> list[Cookie] | None:
    """Read the headers of requests and responses, each block with its own `Host` or that of the block before."""
    if not _BLOCK.search(document.text):
        return None
    host, found = document.host, dict[tuple[str, str], Cookie]()
    for block in document.text.split("\n\n"):
        headers = list(_headers(block))
        host = next(
            (_host(value) for name, value in headers if name in ("host", ":authority")), host
        )
        for name, value in headers:
            for cookie in _parse_header(name, value, host, document.now_s):
                found[cookie.host, cookie.name] = cookie
    return list(found.values())


def line_cookies(document: Document) -> list[Cookie] | None:
    """Read one line of names and values, or the value of a `Set-Cookie` header."""
    line = _unquote(document.text)
    if len(line) > _LONGEST_LINE:
        return None
    parts = (
        [part.partition("=") for part in line.split(";") if part.strip()]
        if "\n" not in line
        else []
    )
    if not parts or not parts[0][1] or not _NAME.fullmatch(parts[0][0].strip()):
        return None
    if len(parts) > 1 and all(name.strip().lower() in _ATTRIBUTES for name, _, _ in parts[1:]):
        cookie = parse_session_cookie(line, document.host, document.now_s)
        return [cookie] if cookie else []
    named = all(equals and _NAME.fullmatch(name.strip()) for name, equals, _ in parts)
    return parse_cookie_header(line, document.host) if named else None


def bare_cookies(document: Document) -> list[Cookie] | None:
    """Read the value that is copied from the table of cookies in the developer tools."""
    value = _unquote(document.text)
    return [Cookie(document.host, "appSession", value)] if _SESSION_VALUE.fullmatch(value) else None


def _headers(block: str) -> Iterator[tuple[str, str]]:
    """Give names in lower case and values; Chrome's panel of headers copies a value to the line after its name."""
    waiting = ""
    for line in block.split("\n"):
        match = _HEADER.fullmatch(line)
        if waiting and line:
            yield waiting, line.strip()
            waiting = ""
        elif match and match[2]:
            yield match[1].lower(), match[2].strip()
        elif match:
            waiting = match[1].lower()


def _parse_header(name: str, value: str, host: str, now_s: float) -> list[Cookie]:
    if name == "cookie":
        return parse_cookie_header(value, host)
    cookie = parse_session_cookie(value, host, now_s) if name == "set-cookie" else None
    return [cookie] if cookie else []


def _host(value: str) -> str:
    match = _HOST.fullmatch(value)
    return host_of_domain(match[1]) if match else ""


def _unquote(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted else text


READERS = (
    block_cookies,
    line_cookies,
    bare_cookies,
)
RANK = 90
NAMES = ("request headers", "Cookie or Set-Cookie line", "value of appSession")
