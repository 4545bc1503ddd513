"""What is read, and what its formats have in common: hosts and expiry."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_DOMAIN = "reka.ai"
_URL = re.compile(r"https?://([a-z0-9.-]{1,253})(?::[0-9]{0,5})?(?:[/?#]|\Z)", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """A text without byte order mark, blank ends and carriage returns before newlines.

    `source` names it in messages, `host` is whose it is where the format does not say, `now_s` dates a Max-Age.
    """

    text: str = field(repr=False)
    source: str
    host: str
    now_s: float


def host_of_domain(domain: str, subdomains: bool = False) -> str:
    """Give the host without the dot of a domain cookie; empty for a cookie of reka.ai alone.

    That one is another site's: no browser sends it to the hosts below unless a dot or `subdomains` says so.
    """
    domain = domain.strip().lower()
    return "" if domain == _DOMAIN and not subdomains else domain.removeprefix(".")


def host_of_url(url: str) -> str:
    """Give the host of a web address, empty if it is none, has a user name, or is of reka.ai alone."""
    match = _URL.match(url)
    return host_of_domain(match[1]) if match else ""


def expiry_s(value: object) -> float | None:
    """Read an expiry in seconds, milliseconds or Chrome's microseconds since 1601; 0, -1 or none is a session's."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 < number < 1e18:
        return None
    if number > 1e16:
        return number / 1e6 - 11_644_473_600
    return number / 1e3 if number > 1e11 else number
