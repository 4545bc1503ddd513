"""Cookie files: Netscape `cookies.txt` and the JSON of browser extensions (Cookie-Editor and its like).

No message of ours repeats a line of the file: each may be a secret. `http.cookiejar.MozillaCookieJar` is not used: it
puts the line it cannot read into its error, and loses session cookies (expiry 0) and whole files over one bad line.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from reka_cli.deadline import in_time
from reka_cli.errors import BadInput, NotLoggedIn
from reka_cli.session import HOSTS, Cookie, Session, names, session_of, sessions

_LARGEST = 50 << 20  # bytes
_LONGEST_WAIT_S = 10.0  # for a file that is a pipe
_FORMATS = "known formats: Netscape cookies.txt, JSON of Cookie-Editor"
_HTTP_ONLY = "#HttpOnly_"


def read_session(path: Path, host: str | None, now_s: float | None = None) -> Session:
    """Give the live session of `host` in a cookie file, else the one of Reka's hosts that lasts longest.

    Raises BadInput if the file cannot be read as one of the formats, NotLoggedIn if it has no live session.
    """
    now_s = time.time() if now_s is None else now_s
    try:
        text = _text(path) if path.is_file() else in_time(lambda: _text(path), _LONGEST_WAIT_S)
    except TimeoutError as error:
        raise BadInput(f"nothing came from the cookie file {path} within {_LONGEST_WAIT_S:g} s") from error
    cookies = parse(text, str(path))
    own = [cookie for cookie in cookies if cookie.host in (*HOSTS, "reka.ai")]
    of_host = session_of(own, host, now_s) if host in HOSTS else None
    if found := of_host or next(iter(sessions(own, now_s)), None):
        return found
    message = _what_is_missing(own, path, now_s)
    raise NotLoggedIn(message, hint="log in at https://space.reka.ai and export again")


def parse(text: str, source: str) -> list[Cookie]:
    """Read every cookie of a file; raise BadInput, naming `source`, if its format is not known."""
    stripped = text.lstrip()
    if stripped.startswith("["):
        return _json_list(stripped, source)
    cookies = _netscape(text)
    if not cookies and not _is_netscape(text):
        raise BadInput(f"{source} is not a cookie file of a known format", hint=_FORMATS)
    return cookies


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadInput(f"cannot read the cookie file {path}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise BadInput(f"{path} is too large for a cookie file")
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not a cookie file of a known format", hint=_FORMATS) from error


def _is_netscape(text: str) -> bool:
    first = text.lstrip().partition("\n")[0].lower()
    return first.startswith("#") and "http cookie file" in first


def _netscape(text: str) -> list[Cookie]:
    """Read tab-separated lines of domain, flag, path, secure, expiry, name, value; skip those that are none."""
    cookies = []
    for line in text.splitlines():
        fields = line.removeprefix(_HTTP_ONLY).split("\t")
        if len(fields) < 7:  # tabs become blanks when a file is pasted; the flag then tells a cookie from prose
            fields = line.removeprefix(_HTTP_ONLY).split()
            if fields[1:2] not in (["TRUE"], ["FALSE"]):
                continue
        if len(fields) < 7 or fields[0].startswith("#"):
            continue
        domain, _, _, _, expiry, name, value, *_ = fields
        cookies.append(Cookie(_host(domain), name.strip(), value.strip(), _expiry_s(expiry)))
    return cookies


def _json_list(text: str, source: str) -> list[Cookie]:
    try:
        rows: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{source} is not whole JSON", hint=_FORMATS) from error
    cookies = []
    for row in rows:
        if isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("domain", "name", "value")):
            expiry = next((row[key] for key in ("expirationDate", "expires", "expiry") if row.get(key)), None)
            cookies.append(Cookie(_host(row["domain"]), row["name"], row["value"], _expiry_s(expiry)))
    if rows and not cookies:
        raise BadInput(f"{source} is JSON, but not a list of cookies", hint=_FORMATS)
    return cookies


def _host(domain: str) -> str:
    return domain.strip().removeprefix(".").lower()


def _expiry_s(value: object) -> float | None:
    """Read an expiry in seconds, milliseconds or Chrome's microseconds since 1601; 0, -1 or none is a session's."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 < number < 1e18:
        return None
    if number > 1e16:
        return number / 1e6 - 11_644_473_600
    return number / 1e3 if number > 1e11 else number


def _what_is_missing(cookies: list[Cookie], path: Path, now_s: float) -> str:
    where = " or ".join(HOSTS)
    own = [one for one in cookies if names([one])]
    if not own:
        return f"{path} has no session cookie (appSession) of {where}"
    if any(cookie.expires_s is not None and cookie.expires_s <= now_s for cookie in own):
        return f"the session of {where} in {path} has expired"
    return f"the session of {where} in {path} is not whole, or damaged: it has {', '.join(sorted(set(names(own))))}"
