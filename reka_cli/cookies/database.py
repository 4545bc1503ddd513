"""A browser's cookie database, read without touching it: a private copy, cut down to the session's own rows.

The browser may be running and writing: the copy takes the write-ahead log or rollback journal along, and is taken again
if anything moved meanwhile. Which rows are ours is decided by everything but the values; only those rows go on, into a
new file, so that no other site's cookie is in what the decrypting process gets.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

from reka_cli.cookies.session import Cookie, names
from reka_cli.hosts import HOSTS

if TYPE_CHECKING:
    import sqlite3

# Exact: the library's own match is a substring, so that `space.reka.ai` also finds `myspace.reka.ai`. A cookie of the
# host `reka.ai` alone, without the dot, goes to neither of ours.
COOKIE_HOSTS = (*HOSTS, *(f".{host}" for host in HOSTS), ".reka.ai")
_MAGIC = b"SQLite format 3\0"
_COMPANIONS = ("", "-wal", "-journal")  # never -shm: SQLite makes it anew from the log
_LARGEST = 256 << 20  # bytes; a browser's is a few MB
_ATTEMPTS = 4
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_CHROMIUM_EPOCH_S = 11_644_473_600  # from 1601 to 1970
_FIREFOX_MILLISECONDS = (
    16  # the schema from which on `expiry` is no longer in seconds (Firefox 142)
)
_CONTAINER = re.compile(r"\^userContextId=([0-9]+)")
_STANDARD_CONTAINERS = {
    "personal": "Personal",
    "work": "Work",
    "banking": "Banking",
    "shopping": "Shopping",
}


class NotACookieDatabase(Exception):
    """The file is none that a known browser keeps its cookies in."""


class DatabaseBusy(Exception):
    """The browser wrote so much that no whole copy could be taken."""


@dataclass(frozen=True)
class CookieRow:
    """What a database says of a session cookie without its value."""

    rowid: int
    host: str  # as the browser has it: with a leading dot if it is a domain cookie
    name: str
    expires_s: float | None
    container: int | None  # of Firefox; None is the usual, 0 a jar of another site (a partition)
    scheme: str  # how the value is encrypted: "" not at all, "v10", "v11", …, "unknown"

    def as_cookie(self) -> Cookie:
        """Give it with a stand-in for the value, for the rules of sessions."""
        return Cookie(self.host.removeprefix("."), self.name, "x", self.expires_s)


@dataclass(frozen=True)
class DatabaseCopy:
    """A private copy of a database; `family` is "chromium" or "firefox"."""

    family: str
    copy: Path = field(repr=False)
    rows: tuple[CookieRow, ...] = ()

    @property
    def folder(self) -> Path:
        return self.copy.parent

    def discard(self) -> None:
        """Remove the copy itself, which has every site's cookies; what was kept of it stays."""
        for companion in (*_COMPANIONS, "-shm"):
            _beside(self.copy, companion).unlink(missing_ok=True)

    def keep(self, rows: Iterable[CookieRow], name: str) -> Path:
        """Write a new database with these rows only, and give its path; raise OSError if it cannot be written."""
        import sqlite3

        target = self.copy.with_name(name)
        try:
            with closing(_open(self.copy)) as connection:
                connection.execute("attach ? as kept", (str(target),))
                for statement in _copy_statements(self.family, [row.rowid for row in rows]):
                    connection.execute(statement)
                if self.family == "firefox" and _in_milliseconds(connection):
                    connection.execute("update kept.moz_cookies set expiry = expiry / 1000")
        except sqlite3.Error as error:
            raise OSError(errno.EIO, "the copy cannot be written") from error
        return target


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder only we can enter; it is removed with all in it, whatever happens."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = runtime if runtime and os.access(runtime, os.W_OK | os.X_OK) else gettempdir()
    with TemporaryDirectory(prefix="reka-cli-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def copy_database(database: Path, folder: Path) -> DatabaseCopy:
    """Copy a database into `folder` and list the session's rows in it.

    Raises OSError if it cannot be read, NotACookieDatabase, or DatabaseBusy.
    """
    import sqlite3

    copy = folder / "whole.sqlite"
    settled = _copy_unless_changed(database, copy)
    try:
        with closing(_open(copy)) as connection:
            if not settled and connection.execute("pragma quick_check").fetchone() != ("ok",):
                raise DatabaseBusy
            family = _family(connection)
            return DatabaseCopy(family, copy, tuple(_rows(connection, family)))
    except sqlite3.Error as error:
        raise (NotACookieDatabase if settled else DatabaseBusy) from error


def container_names(database: Path) -> dict[int, str]:
    """Give the containers of the Firefox profile a database lies in."""
    try:
        identities = json.loads(database.with_name("containers.json").read_bytes())["identities"]
        return {
            int(one["userContextId"]): _container_name(one)
            for one in identities
            if one.get("public", True)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _container_name(identity: dict[str, object]) -> str:
    """Give what the person sees: a name of theirs, else the word of one of the four Firefox comes with."""
    if name := str(identity.get("name") or ""):
        return "".join(character for character in name if character.isprintable())
    word = re.sub(
        r"user-?context-?|\.label",
        "",
        str(identity.get("l10nId") or identity.get("l10nID")),
        flags=re.I,
    )
    return _STANDARD_CONTAINERS.get(word.lower(), f"container {identity['userContextId']}")


def _copy_unless_changed(database: Path, copy: Path) -> bool:
    """Copy a database with its journals; whether nothing moved while that was done."""
    if not stat.S_ISREG(database.stat().st_mode):  # a pipe would keep us waiting
        raise NotACookieDatabase
    for attempt in range(_ATTEMPTS):
        before = _file_stamps(database)
        if sum(size for _, size, _ in before) > _LARGEST:
            raise NotACookieDatabase
        for companion in _COMPANIONS:
            _copy(_beside(database, companion), _beside(copy, companion), required=not companion)
        if _file_stamps(database) == before:
            return True
        time.sleep(0.1 * (attempt + 1))
    return False


def _file_stamps(database: Path) -> list[tuple[int, int, int]]:
    """Give time, size and number of each file; zeros for one that is not there."""
    state = []
    for companion in _COMPANIONS:
        try:
            about = _beside(database, companion).stat()
            state.append((about.st_mtime_ns, about.st_size, about.st_ino))
        except FileNotFoundError:
            state.append((0, 0, 0))
    return state


def _copy(source: Path, target: Path, required: bool) -> None:
    target.unlink(missing_ok=True)
    try:
        file = source.open("rb")
    except FileNotFoundError:
        if required:
            raise
        return
    with file:
        begin = file.read(len(_MAGIC))
        if required and begin != _MAGIC:
            raise NotACookieDatabase
        with os.fdopen(
            os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), "wb"
        ) as out:
            out.write(begin)
            shutil.copyfileobj(file, out, 1 << 20)


def _beside(path: Path, companion: str) -> Path:
    return path.with_name(path.name + companion)


def _open(copy: Path) -> sqlite3.Connection:
    import sqlite3

    connection = sqlite3.connect(copy, isolation_level=None)
    connection.execute("pragma temp_store = memory")  # nothing of it in a temporary file elsewhere
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _family(connection: sqlite3.Connection) -> str:
    """Tell the family by what is in the file, whatever the folder is called."""
    tables = {
        str(name)
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
    }
    if "moz_cookies" in tables:
        return "firefox"
    if {"cookies", "meta"} <= tables:
        return "chromium"
    raise NotACookieDatabase


def _rows(connection: sqlite3.Connection, family: str) -> Iterator[CookieRow]:
    table, host = ("moz_cookies", "host") if family == "firefox" else ("cookies", "host_key")
    columns = {str(about[1]) for about in connection.execute(f"pragma table_info({table})")}
    described = (
        _firefox_columns(connection, columns) if family == "firefox" else _chromium_columns(columns)
    )
    places = ", ".join("?" * len(COOKIE_HOSTS))
    query = f"select rowid, {host}, name, {described} from {table} where {host} in ({places}) order by rowid"  # noqa: S608
    for rowid, where, name, expiry, jar, encrypted in connection.execute(query, COOKIE_HOSTS):
        expires_s = float(expiry) if isinstance(expiry, (int, float)) else None
        row = CookieRow(
            rowid, str(where), str(name), expires_s, _container(jar), _scheme(encrypted)
        )
        if names([row.as_cookie()]):
            yield row


def _firefox_columns(connection: sqlite3.Connection, columns: set[str]) -> str:
    expiry = "expiry / 1000.0" if _in_milliseconds(connection) else "expiry"
    jar = "originAttributes" if "originAttributes" in columns else "''"
    return f"{expiry}, {jar}, x''"


def _chromium_columns(columns: set[str]) -> str:
    expiry = f"case when expires_utc = 0 then null else expires_utc / 1e6 - {_CHROMIUM_EPOCH_S} end"
    jar = "top_frame_site_key" if "top_frame_site_key" in columns else "''"
    return f"{expiry}, {jar}, case when value = '' then cast(substr(encrypted_value, 1, 3) as blob) else x'' end"


def _in_milliseconds(connection: sqlite3.Connection) -> bool:
    (schema,) = connection.execute("pragma main.user_version").fetchone()
    return int(schema) >= _FIREFOX_MILLISECONDS


def _container(jar: object) -> int | None:
    if not jar:
        return None
    match = _CONTAINER.fullmatch(str(jar))
    return int(match[1]) if match else 0


def _scheme(encrypted: bytes | None) -> str:
    """Name the encryption by its first three bytes; those that are no name are part of a secret and not kept."""
    if not encrypted:
        return ""
    return bytes(encrypted).decode() if re.fullmatch(rb"v[0-9]{2}", encrypted) else "unknown"


def _copy_statements(family: str, rowids: list[int]) -> list[str]:
    numbers = ", ".join(map(str, rowids))
    if family == "firefox":
        # without the container the rows look alike to the library, which is why only those of one are chosen
        return [
            f"create table kept.moz_cookies as select * from moz_cookies where rowid in ({numbers})",  # noqa: S608
        ]
    return [
        "create table kept.meta as select * from meta",
        f"create table kept.cookies as select * from cookies where rowid in ({numbers})",  # noqa: S608
    ]
