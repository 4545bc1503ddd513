"""The session out of the user's own browsers: each profile is looked into by itself, and never on the live files.

`browser_cookie3` decrypts, in a process of its own (reader.py), and only if the database has rows that could make up a
live session: a browser without a login at Reka asks for no keyring.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reka_cli.cookies.database import (
    COOKIE_HOSTS,
    CookieRow,
    DatabaseBusy,
    DatabaseCopy,
    NotACookieDatabase,
    container_names,
    copy_database,
    private_folder,
)
from reka_cli.cookies.profiles import Profile, profiles
from reka_cli.cookies.session import Cookie, Session, names, sessions
from reka_cli.errors import BadInput, NotLoggedIn
from reka_cli.files import reason, show_path
from reka_cli.hosts import HOSTS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HINTS", "Profile", "ProfileResult", "find_session", "profiles", "read_database"]

_SITE = f"https://{HOSTS[0]}"
_FILE = "reka-cli login --cookies FILE"
HINTS: dict[str, str] = {
    "no_browser": _FILE,  # what profiles() giving nothing means
    "no_session": f"log in at {_SITE} in the browser, wait half a minute, then: reka-cli login",
    "expired": f"reload {_SITE} in the browser, then: reka-cli login",
    "container_only": "reka-cli login --container NAME",
    "partitioned_only": f"open {_SITE} in a tab of its own and log in there, then: reka-cli login",
    "permission": f"run it as the owner of the profile, or: {_FILE}",
    "locked_file": f"close the browser completely, then: reka-cli login; or: {_FILE}",
    "keyring_locked": f"unlock the desktop's keyring, then: reka-cli login; or: {_FILE}",
    "keyring_timeout": f"unlock the desktop's keyring, then: reka-cli login; or: {_FILE}",
    "keyring_missing": f"run reka-cli login in a terminal of the desktop's session; or: {_FILE}",
    "undecryptable": f"log in at {_SITE} with Firefox, then: reka-cli login --browser firefox; or: {_FILE}",
    "unsupported_encryption": f"log in at {_SITE} with Firefox, then: reka-cli login --browser firefox; or: {_FILE}",
    "not_a_cookie_db": _FILE,
    "busy": "reka-cli login",
    "library_error": _FILE,
}
# The keyring item differs by browser. A browser that is not listed is of Firefox's family, where there is none.
_FUNCTIONS = {
    "arc": "arc",
    "brave": "brave",
    "chrome": "chrome",
    "chromium": "chromium",
    "edge": "edge",
    "opera": "opera",
    "opera-gx": "opera_gx",
    "vivaldi": "vivaldi",
}
_DECRYPTED_BY_LIBRARY = {"", "v10", "v11"}
_KEYRING = "v11"
# Its client refuses this transport before it opens a socket; the library then goes on without a keyring.
_NO_BUS = "tcp:host=127.0.0.1,port=9"
_WINDOWS_SHARING = (32, 33)  # ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
_SAFARI = b"cook"
_DEADLINE_S = 15.0
_WITHOUT_KEYRING_S = 5.0
_PLATFORM: str = sys.platform


@dataclass(frozen=True)
class ProfileResult:
    """What one profile has: the live session that lasts longest, or why there is none."""

    profile: Profile
    session: Session | None
    problem: str | None  # a key of HINTS if there is no session
    message: str  # the same in a few words for a person
    containers: tuple[str, ...] = ()  # of Firefox, those that hold a session


class _CookieError(Exception):
    """There are no cookies to be had: one of the codes, and what to say."""

    def __init__(self, code: str, message: str, containers: Sequence[str] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.containers = tuple(containers)


def find_session(
    profile: Profile, now_s: float, container: str | None = None, deadline_s: float = _DEADLINE_S
) -> ProfileResult:
    """Look for the session in one profile, in a Firefox container if one is named; never raises for what it finds.

    `deadline_s` bounds what a keyring may take; where it asks the person (macOS), allow a minute.
    """
    try:
        cookies, containers = _cookies(profile, now_s, container, deadline_s)
        session = next(iter(sessions(cookies, now_s)), None)
        if session is None:
            raise _CookieError("no_session", _describe_incomplete(cookies), containers)
    except _CookieError as trouble:
        return ProfileResult(profile, None, trouble.code, trouble.message, trouble.containers)
    until = (
        "without an end date"
        if session.expires_s is None
        else f"until {_format_date(session.expires_s)}"
    )
    return ProfileResult(profile, session, None, f"session {until}", containers)


def read_database(path: Path, now_s: float) -> list[Cookie]:
    """Give the live session cookies of a browser's database that the user names as a file.

    Raises NotLoggedIn if it has none, BadInput if it cannot be read.
    """
    try:
        return _cookies(_profile_of(path), now_s, None, _DEADLINE_S)[0]
    except _CookieError as trouble:
        kind = NotLoggedIn if trouble.code in _WITHOUT_A_LOGIN else BadInput
        raise kind(f"{show_path(path)}: {trouble.message}", hint=HINTS[trouble.code]) from None


def _profile_of(path: Path) -> Profile:
    """Tell whose key a database needs by where it lies; elsewhere it is Chrome's, which for `v10` is anybody's."""
    here = os.path.realpath(path)
    known = (profile for profile in profiles() if os.path.realpath(profile.database) == here)
    return next(known, Profile("chrome", path.name, path))


_WITHOUT_A_LOGIN = ("no_session", "expired", "container_only", "partitioned_only")


def _cookies(
    profile: Profile, now_s: float, container: str | None, deadline_s: float
) -> tuple[list[Cookie], tuple[str, ...]]:
    """Give the live session cookies of one profile, and its containers that hold some."""
    try:
        with private_folder() as folder:
            if _begins_with(profile.database, _SAFARI):
                return _read_safari(profile, folder, now_s, container, deadline_s), ()
            taken = copy_database(profile.database, folder)
            named = container_names(profile.database)
            rows = _choose_rows(taken, profile, named, now_s, container)
            containers = tuple(_containers(taken.rows, named, now_s))
            return _decrypt(taken, rows, profile, deadline_s), containers
    except NotACookieDatabase:
        raise _CookieError("not_a_cookie_db", "not a cookie database") from None
    except DatabaseBusy:
        raise _CookieError("busy", "the browser is writing too much at the moment") from None
    except OSError as error:
        raise _unreadable_error(profile, error) from None


def _begins_with(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _unreadable_error(profile: Profile, error: OSError) -> _CookieError:
    if getattr(error, "winerror", None) in _WINDOWS_SHARING:
        return _CookieError("locked_file", "the browser keeps its cookies to itself while it runs")
    if isinstance(error, PermissionError):
        if _PLATFORM == "darwin" and profile.browser == "safari":
            return _CookieError(
                "permission", "the terminal has no Full Disk Access (System Settings, Privacy)"
            )
        return _CookieError(
            "permission", f"no permission to read {profile.database}{_owner(profile.database)}"
        )
    if isinstance(error, FileNotFoundError):
        return _CookieError("no_session", "no cookies")
    return _CookieError("library_error", f"cannot be copied: {reason(error)}")


def _owner(path: Path) -> str:
    """Name who owns the nearest folder that tells."""
    if sys.platform != "win32":
        for place in (path, *path.parents):
            with suppress(OSError, KeyError):
                return f" (owner: {place.owner()})"
    return ""


def _choose_rows(
    taken: DatabaseCopy,
    profile: Profile,
    named: Mapping[int, str],
    now_s: float,
    container: str | None,
) -> list[CookieRow]:
    """Give the live rows of the jar asked for, or say why they make up no session."""
    wanted = None if container is None else _container_id(taken, named, container)
    rows = [row for row in taken.rows if row.container == wanted]
    live = [row for row in rows if row.expires_s is None or row.expires_s > now_s]
    if sessions(map(CookieRow.as_cookie, live), now_s):
        return live
    containers = list(_containers(taken.rows, named, now_s))
    if container is None and containers:
        flags = " or ".join(f"--container {_quote(name)}" for name in containers)
        raise _CookieError("container_only", f"in a container: {flags}", containers)
    if live:
        raise _CookieError(
            "no_session", _describe_incomplete(map(CookieRow.as_cookie, live)), containers
        )
    if ended := [row.expires_s for row in rows if row.expires_s is not None]:
        raise _CookieError("expired", f"expired {_format_date(max(ended))}", containers)
    if container is None and any(row.container == 0 for row in taken.rows):
        raise _CookieError("partitioned_only", "only inside the pages of another site")
    late = taken.family == "chromium" and _is_running(profile.database)
    yet = "; while it runs, the browser writes cookies up to 30 s late" if late else ""
    raise _CookieError("no_session", f"no Reka login{yet}", containers)


def _container_id(taken: DatabaseCopy, named: Mapping[int, str], container: str) -> int:
    """Find a container by its name or number."""
    if taken.family != "firefox":
        raise _CookieError("no_session", "this browser has no containers")
    known = {row.container: str(row.container) for row in taken.rows if row.container} | dict(named)
    for number, name in known.items():
        if container.casefold() == name.casefold() or container == str(number):
            return number
    raise _CookieError(
        "no_session", f"no container of that name; there are: {', '.join(known.values()) or 'none'}"
    )


def _containers(rows: Iterable[CookieRow], named: Mapping[int, str], now_s: float) -> list[str]:
    """Name the containers that hold a live session."""
    by_number: dict[int, list[Cookie]] = {}
    for row in rows:
        if row.container:
            by_number.setdefault(row.container, []).append(row.as_cookie())
    return [
        named.get(number, str(number))
        for number, held in sorted(by_number.items())
        if sessions(held, now_s)
    ]


def _quote(name: str) -> str:
    import shlex

    return shlex.quote(name)


def _describe_incomplete(cookies: Iterable[Cookie]) -> str:
    present = sorted({name for cookie in cookies for name in names([cookie])})
    return f"a session that is not whole: {', '.join(present)}" if present else "no Reka login"


def _format_date(moment_s: float) -> str:
    """Give a date of the user's calendar; a far-off one of a damaged row is no reason to fail."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(moment_s))
    except (OverflowError, OSError, ValueError):
        return "a date that cannot be read"


def _is_running(database: Path) -> bool:
    """Whether Chromium holds the folder of the profiles: it puts a link there that points nowhere."""
    return any((folder / "SingletonLock").is_symlink() for folder in list(database.parents)[:3])


def _decrypt(
    taken: DatabaseCopy, rows: list[CookieRow], profile: Profile, deadline_s: float
) -> list[Cookie]:
    """Have the rows decrypted; one that cannot be must not cost a session that can."""
    ends_at = time.monotonic() + deadline_s
    readable = [row for row in rows if row.scheme in _readable_schemes()]
    if not sessions(map(CookieRow.as_cookie, readable), 0):
        raise _foreign_encryption({row.scheme for row in rows} - _readable_schemes())
    request: dict[str, Any] = {
        "function": "firefox" if taken.family == "firefox" else _function(profile.browser),
        "key_file": _key_file(profile.database),
    }
    of_keyring = [row for row in readable if row.scheme == _KEYRING]
    without = [row for row in readable if row.scheme != _KEYRING]
    every = {"file": str(taken.keep(readable, "kept.sqlite")), "keyring": bool(of_keyring)}
    fewer = {"file": str(taken.keep(without, "kept-without-keyring.sqlite")), "keyring": False}
    taken.discard()
    try:
        return _ask_child(request | every, taken.folder, deadline_s)
    except _CookieError:
        if not of_keyring or not sessions(map(CookieRow.as_cookie, without), 0):
            raise
        return _ask_child(
            request | fewer, taken.folder, max(ends_at - time.monotonic(), _WITHOUT_KEYRING_S)
        )


def _readable_schemes() -> set[str]:
    # on Windows a value without a name is the system's own encryption, from before Chrome 80
    return _DECRYPTED_BY_LIBRARY | ({"unknown"} if _PLATFORM == "win32" else set())


def _foreign_encryption(schemes: set[str]) -> _CookieError:
    what = ", ".join(sorted(schemes))
    if "v20" in schemes:
        return _CookieError(
            "unsupported_encryption", f"encrypted for the browser alone ({what}, app-bound)"
        )
    return _CookieError(
        "unsupported_encryption", f"encrypted in a way no other program reads ({what})"
    )


def _function(browser: str) -> str:
    return _FUNCTIONS.get(browser) or _FUNCTIONS.get(browser.partition("-")[0], "chrome")


def _key_file(database: Path) -> str | None:
    """Give the file with the key of just this browser; the library would take the first of any channel."""
    if _PLATFORM != "win32":
        return None
    states = (folder / "Local State" for folder in list(database.parents)[:3])
    return next((str(state) for state in states if state.is_file()), None)


def _read_safari(
    profile: Profile, folder: Path, now_s: float, container: str | None, deadline_s: float
) -> list[Cookie]:
    """Read Safari's own format, of which no rows can be left out beforehand."""
    if container is not None:
        raise _CookieError("no_session", "this browser has no containers")
    data = profile.database.read_bytes()
    if not any(host.encode() in data for host in COOKIE_HOSTS):
        raise _CookieError("no_session", "no Reka login")
    copy = folder / "Cookies.binarycookies"
    copy.write_bytes(data)
    request = {"function": "safari", "file": str(copy), "key_file": None, "keyring": False}
    cookies = _ask_child(request, folder, deadline_s)
    live = [one for one in cookies if one.expires_s is None or one.expires_s > now_s]
    if cookies and not live:
        raise _CookieError(
            "expired", f"expired {_format_date(max(one.expires_s or 0 for one in cookies))}"
        )
    if not live:
        raise _CookieError("no_session", "no Reka login")
    return live


def _ask_child(request: Mapping[str, Any], folder: Path, within_s: float) -> list[Cookie]:
    """Put a request to the child; raise _CookieError for anything but cookies."""
    bus = _bus() if request["keyring"] else None
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "reka_cli.cookies.reader"],
            input=json.dumps({**request, "hosts": COOKIE_HOSTS}).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(folder, bus or _NO_BUS),
            timeout=max(within_s, 0.1),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _cookie_error("keyring_timeout", "") from None
    answer = _parse_answer(ended.stdout)
    if "cookies" not in answer:
        code = "keyring_missing" if request["keyring"] and bus is None else str(answer.get("code"))
        raise _cookie_error(code, str(answer.get("type") or f"it ended with {ended.returncode}"))
    rows = sorted(
        answer["cookies"], key=lambda row: str(row[4]) == "/"
    )  # the cookie for the whole site wins
    own = [Cookie(row[0].removeprefix("."), *row[1:4]) for row in rows if row[0] in COOKIE_HOSTS]
    return [cookie for cookie in own if names([cookie])]


def _parse_answer(output: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _environment(folder: Path, bus: str) -> dict[str, str]:
    """Give the environment of the child: its temporary files in our folder, and none of our own secrets."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REKA_")}
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    return inherited | temporary | {"DBUS_SESSION_BUS_ADDRESS": bus}


def _bus() -> str | None:
    """Give the address of the desktop's bus, which cron does not tell; None if there is none."""
    if address := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    if sys.platform != "win32":
        socket = Path(f"/run/user/{os.getuid()}/bus")
        if socket.exists():
            return f"unix:path={socket}"
    return None


_MESSAGES = {
    "keyring_locked": "its key is in the desktop's keyring, which is locked",
    "keyring_timeout": "its key is in the desktop's keyring, which does not answer",
    "keyring_missing": "its key is in the desktop's keyring, which cannot be reached from here",
    "undecryptable": "the key of its cookies cannot be found",
}


def _cookie_error(code: str, type_name: str) -> _CookieError:
    if code in _MESSAGES:
        return _CookieError(code, _MESSAGES[code])
    return _CookieError("library_error", f"the library that reads it failed ({type_name})")
