"""The web session as a value: its cookies, when it expires, and what of it may be shown.

Sources, none of them Reka's own: gpt4free's provider (2024-04 to 2025-07) for the name `appSession`;
Auth0's session libraries for the chunks `appSession.0`, `.1`, … of a cookie over about 4 kB, and that
a plain one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reka_cli.hosts import DOMAIN, HOSTS

# Auth0's libraries up to version 3, as seen at Reka, then their default from version 4 on, not seen there yet
_NAMES = (re.compile(r"appSession(?:\.([0-9]{1,3}))?"), re.compile(r"__session(?:__([0-9]{1,3}))?"))
_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")  # cookie-octet, RFC 6265 4.1.1


@dataclass(frozen=True)
class Cookie:
    """One cookie; `expires_s` is seconds since the epoch, None for the length of the browser's session."""

    host: str  # without the leading dot of a domain cookie
    name: str
    value: str = field(repr=False)
    expires_s: float | None = None


@dataclass(frozen=True)
class Session:
    """The cookies that make up one login at `host`, in the order they are sent."""

    host: str
    cookies: tuple[Cookie, ...]

    @property
    def header(self) -> str:
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)

    @property
    def expires_s(self) -> float | None:
        """The first moment at which a part of it is gone; None if no part says."""
        return min(
            (cookie.expires_s for cookie in self.cookies if cookie.expires_s is not None),
            default=None,
        )

    @property
    def fingerprint(self) -> str:
        """What a token minted from this session is bound to; does not give the session away."""
        import hashlib

        return hashlib.sha256(self.header.encode()).hexdigest()

    def refresh(self, set_cookie: Iterable[str], now_s: float) -> Session | None:
        """Apply the `Set-Cookie` headers of its host; None if that ends the session."""
        kept = {cookie.name: cookie for cookie in self.cookies}
        for header in set_cookie:
            if cookie := parse_set_cookie(header, self.host, now_s):
                kept[cookie.name] = cookie
        return session_of(kept.values(), self.host, now_s)


def sessions(cookies: Iterable[Cookie], now_s: float) -> list[Session]:
    """Give the live sessions at Reka's hosts, the one that lasts longest first."""
    every = list(cookies)
    found = [found for host in HOSTS if (found := session_of(every, host, now_s))]
    return sorted(found, key=lambda one: one.expires_s or float("inf"), reverse=True)


def session_of(cookies: Iterable[Cookie], host: str, now_s: float) -> Session | None:
    """Give the session that would be sent to `host`: the plain cookie, else the chunks from 0 on without a gap."""
    every = list(cookies)
    return next(
        (found for name in _NAMES if (found := _session_named(name, every, host, now_s))), None
    )


def _session_named(
    name: re.Pattern[str], cookies: list[Cookie], host: str, now_s: float
) -> Session | None:
    parts: dict[int, Cookie] = {}
    for cookie in cookies:
        match = name.fullmatch(cookie.name)
        live = cookie.expires_s is None or cookie.expires_s > now_s
        if match and live and cookie.host in (host, DOMAIN) and is_cookie_value(cookie.value):
            index = -1 if match[1] is None else int(match[1])
            if index not in parts or cookie.host == host:
                parts[index] = cookie
    plain = parts.pop(-1, None)
    chunks = tuple(parts[index] for index in sorted(parts))
    whole = bool(chunks) and sorted(parts) == list(range(len(chunks)))
    # A plain cookie left over from before the session grew would win at the server and is older than the chunks.
    if plain and not (whole and _expiry_or_infinity(plain) < min(map(_expiry_or_infinity, chunks))):
        return Session(host, (plain,))
    return Session(host, chunks) if whole else None


def names(cookies: Sequence[Cookie]) -> list[str]:
    """Give the names of session cookies, whether or not they make up a whole session: safe to show."""
    return [cookie.name for cookie in cookies if is_session_name(cookie.name)]


def is_cookie_value(value: str) -> bool:
    """Return whether a `Cookie` header can carry a value."""
    return bool(_VALUE.fullmatch(value))


def is_session_name(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in _NAMES)


def netscape(session: Session) -> str:
    """Put a session into the form of `cookies.txt`, which `REKA_COOKIES` and other tools read."""
    rows = (
        "\t".join(
            [
                f"#HttpOnly_{one.host}",
                "FALSE",
                "/",
                "TRUE",
                f"{one.expires_s or 0:.0f}",
                one.name,
                one.value,
            ]
        )
        for one in session.cookies
    )
    return "\n".join(["# Netscape HTTP Cookie File", *rows, ""])


def _expiry_or_infinity(cookie: Cookie) -> float:
    return float("inf") if cookie.expires_s is None else cookie.expires_s


def parse_set_cookie(header: str, host: str, now_s: float) -> Cookie | None:
    """Read one Set-Cookie header; a cookie that is to be deleted comes back as expired.

    Source: RFC 6265, 5.2. `http.cookies` gives nothing at all for a header with an attribute it does not know.
    """
    pair, *rest = header.split(";")
    name, equals, value = (part.strip(" \t") for part in pair.partition("="))
    if not equals or not is_session_name(name):
        return None
    parted = (attribute.partition("=") for attribute in rest)
    attributes = {key.strip(" \t").lower(): text.strip(" \t") for key, _, text in parted}
    value = value.strip('"')
    age = attributes.get("max-age", "")
    expires_s = (
        now_s + int(age)
        if re.fullmatch(r"-?[0-9]{1,10}", age)
        else _date_s(attributes.get("expires", ""))
    )
    return Cookie(host, name, value, expires_s)


def _date_s(text: str) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
