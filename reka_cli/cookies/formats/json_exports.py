"""JSON with cookies: lists of browser extensions and drivers, storage states, maps of names to values, HAR."""

from __future__ import annotations

import json
from typing import Any

from reka_cli.cookies.formats._document import Document, expiry_s, host_of_domain, host_of_url
from reka_cli.cookies.formats._har import har_cookies
from reka_cli.cookies.session import Cookie
from reka_cli.errors import BadInput

_EXPIRIES = (
    "expirationDate",
    "expires",
    "expiry",
)  # extensions and Puppeteer, Playwright, Selenium


def cookies(document: Document) -> list[Cookie] | None:
    """Read whichever of the JSON formats it is."""
    if not document.text.startswith(("[", "{")):
        return None
    content = _parse(document)
    found = (
        _parse_list(content, document.host)
        if isinstance(content, list)
        else _parse_object(content, document)
    )
    if found is None:
        raise _format_error(f"{document.source} is JSON, but not cookies in a known form")
    return found


def _parse(document: Document) -> Any:
    try:
        return json.loads(document.text)
    except (ValueError, RecursionError):
        pass  # the error keeps the whole text: it must not even be the context of ours
    raise _format_error(f"{document.source} is not whole JSON")


def _format_error(message: str) -> BadInput:
    from reka_cli.cookies.formats import known_formats  # which imports this module

    return BadInput(message, hint=known_formats())


def _parse_object(content: dict[str, Any], document: Document) -> list[Cookie] | None:
    url, rows, log = content.get("url"), content.get("cookies"), content.get("log")
    if isinstance(
        rows, list
    ):  # Playwright's storage state, or J2TEAM's with the address of its page
        return _parse_list(rows, host_of_url(url) if isinstance(url, str) else document.host)
    if isinstance(log, dict) and isinstance(log.get("entries"), list):
        return har_cookies(log["entries"], document)
    if not all(isinstance(value, str) for value in content.values()):
        return _parse_list([content], document.host)
    if {"name", "value"} <= content.keys():
        return _parse_list([content], document.host)
    return [Cookie(document.host, name, value) for name, value in content.items()]


def _parse_list(rows: list[Any], host: str) -> list[Cookie] | None:
    """Read a list of cookies; None if it has things but not one cookie."""
    named = [row for row in rows if isinstance(row, dict) and _has_texts(row, "name", "value")]
    # a cookie partitioned by the site around it is another one, which Reka never gets as a page of its own
    found = [_cookie(row, host) for row in named if not row.get("partitionKey")]
    return None if rows and not named else found


def _cookie(row: dict[str, Any], host: str) -> Cookie:
    if _has_texts(row, "domain"):
        host = host_of_domain(row["domain"], subdomains=row.get("hostOnly") is False)
    elif "domain" in row or "url" in row:
        host = host_of_url(row["url"]) if _has_texts(row, "url") else ""
    expiry = next((row[key] for key in _EXPIRIES if row.get(key)), None)
    return Cookie(host, row["name"], row["value"], expiry_s(expiry))


def _has_texts(row: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(row.get(key), str) for key in keys)


READERS = (cookies,)
RANK = 10
NAMES = (
    "JSON (Cookie-Editor, Puppeteer, Selenium, Playwright, J2TEAM, names and values)",
    "HAR",
)
