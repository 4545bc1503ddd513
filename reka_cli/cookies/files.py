"""Cookie files: from the bytes of any known format to the live session in them.

No message of ours repeats a line of the file: each may be a secret. For the same reason no error of a library that
keeps what it was reading is the cause or the context of one of ours.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from reka_cli.cookies.formats import parse_cookies
from reka_cli.cookies.formats._document import Document, expiry_s
from reka_cli.cookies.session import Cookie, Session, names, session_of, sessions
from reka_cli.cookies.tokens import token_expiry_s
from reka_cli.errors import BadInput, NotLoggedIn
from reka_cli.files import read, show_path
from reka_cli.hosts import HOSTS
from reka_cli.limits.deadline import Deadline

LARGEST = 50 << 20  # bytes
_LONGEST_WAIT_S = 10.0  # for a file that is a pipe
_SQLITE = b"SQLite format 3\0"
_SAFARI = b"cook\0"  # the magic number and the first byte of the number of pages: `cookie:` begins like it
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_session(path: Path, host: str | None, now_s: float | None = None) -> Session:
    """Give the live session of `host` in a cookie file, else the one of Reka's hosts that lasts longest.

    Raises BadInput if the file cannot be read as one of the formats, NotLoggedIn if it has no live session,
    DeadlineExceeded if it is a pipe that does not end within ten seconds.
    """
    data = read(path, LARGEST, Deadline.after(_LONGEST_WAIT_S))
    return parse_session(data, show_path(path), host, now_s, path if path.is_file() else None)


def parse_session(
    data: bytes, source: str, host: str | None, now_s: float | None = None, path: Path | None = None
) -> Session:
    """Do the same with bytes from anywhere; `source` names them in messages.

    `path` is the file they are of, if it can be read again: a database has more than one file.
    """
    now_s = time.time() if now_s is None else now_s
    known_host = host if host in HOSTS else None
    own = [
        _add_expiry(one)
        for one in _cookies(data, source, known_host, now_s, path)
        if one.host in (*HOSTS, "reka.ai")
    ]
    of_host = session_of(own, known_host, now_s) if known_host else None
    if found := of_host or next(iter(sessions(own, now_s)), None):
        return found
    message = _describe_missing(own, source, now_s)
    raise NotLoggedIn(message, hint="log in at https://space.reka.ai and export again")


def _cookies(
    data: bytes, source: str, host: str | None, now_s: float, path: Path | None
) -> list[Cookie]:
    if data.startswith(_SQLITE):
        return _read_database(source, now_s, path)
    if data.startswith(_SAFARI):
        hint = "on macOS: reka-cli login --browser safari"
        raise BadInput(
            f"{source} holds Safari's cookies, which are not read from a file", hint=hint
        )
    if len(data) > LARGEST:
        raise BadInput(f"{source} is too large for a cookie file")
    return parse_cookies(Document(_text(data), source, host or HOSTS[0], now_s))


def _read_database(source: str, now_s: float, path: Path | None) -> list[Cookie]:
    if path is None:
        hint = "give the path of the database"
        raise BadInput(
            f"{source} is a database of cookies, which is read only from its own file", hint=hint
        )
    from reka_cli.cookies.browsers import read_database

    return read_database(path, now_s)


def _text(data: bytes) -> str:
    """Decode; a byte that is none spoils the cookie it is in, not the file."""
    text = data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig", "replace")
    return text.replace("\r\n", "\n").lstrip().rstrip(" \n")  # a tab at the end is an empty value's


def _add_expiry(cookie: Cookie) -> Cookie:
    """Give a cookie without an expiry the one that its value says.

    Auth0's sessions (nextjs-auth0 1 to 3) are JWEs whose first part, in chunk 0 if there are chunks, is clear JSON with
    an `exp`; a token has its own in the second part.
    """
    if cookie.expires_s is not None or cookie.name not in ("appSession", "appSession.0"):
        return cookie
    first_part = cookie.value[:4096].partition(".")[0]
    return replace(cookie, expires_s=expiry_s(token_expiry_s(f".{first_part}")))


def _describe_missing(cookies: list[Cookie], source: str, now_s: float) -> str:
    where = " or ".join(HOSTS)
    own = [one for one in cookies if names([one])]
    if not own:
        return f"{source} has no session cookie (appSession) of {where}"
    ends_s = [one.expires_s for one in own if one.expires_s is not None and one.expires_s <= now_s]
    if ends_s:
        return f"the session of {where} in {source} expired on {_format_date(max(ends_s))}"
    return f"the session of {where} in {source} is not whole, or damaged: it has {', '.join(sorted(set(names(own))))}"


def _format_date(moment_s: float) -> str:
    return f"{datetime.fromtimestamp(max(0.0, moment_s), UTC):%Y-%m-%d}"
