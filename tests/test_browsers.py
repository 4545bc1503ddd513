from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from Cryptodome.Cipher import AES
from Cryptodome.Protocol.KDF import PBKDF2
from Cryptodome.Util.Padding import pad
from jeepney import HeaderFields, MessageType, new_method_return
from jeepney.low_level import Parser

from reka_cli.cookies import browsers, database
from reka_cli.cookies.browsers import (
    HINTS,
    Profile,
    ProfileResult,
    find_session,
    profiles,
    read_database,
)
from reka_cli.cookies.profiles import _browser_folders, _profiles
from reka_cli.errors import BadInput, NotLoggedIn

pytestmark = pytest.mark.slow  # a child process, and one that has to hang, in many of them

NOW_S = float(int(time.time()))
SOON_S, LATER_S = NOW_S + 3600, NOW_S + 86_400
DEAD_S = NOW_S - 86_400
SPACE, CHAT = "space.reka.ai", "chat.reka.ai"
VALUE = "canary-5d1f0c"
FOREIGN = "foreign-9e77ab"


# --- databases as browsers write them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    host: str = SPACE
    name: str = "appSession"
    value: str = VALUE
    expires_s: float | None = LATER_S
    jar: str = ""  # partition or container
    prefix: bytes = b"v10"
    password: bytes = b"peanuts"
    plain: bool = False
    path: str = "/"


def encrypted(row: Row, hashed: bool) -> bytes:
    if row.plain:
        return b""
    key = PBKDF2(row.password, b"saltysalt", 16, 1)
    text = (hashlib.sha256(row.host.encode()).digest() if hashed else b"") + row.value.encode()
    return row.prefix + AES.new(key, AES.MODE_CBC, b" " * 16).encrypt(pad(text, 16))


def chrome_time(moment_s: float | None) -> int:
    return int((moment_s + 11_644_473_600) * 1e6) if moment_s else 0


def chromium(path: Path, *rows: Row, version: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "create table meta(key longvarchar not null unique primary key, value longvarchar)"
        )
        connection.execute("insert into meta values('version', ?)", (str(version),))
        connection.execute(
            "create table cookies(creation_utc integer, host_key text, top_frame_site_key text, name text, value text, encrypted_value blob, path text, expires_utc integer, is_secure integer, is_httponly integer)"
        )
        for row in rows:
            values = (
                row.host,
                row.jar,
                row.name,
                row.value if row.plain else "",
                encrypted(row, version >= 24),
            )
            connection.execute(
                "insert into cookies values(1,?,?,?,?,?,?,?,1,1)",
                (*values, row.path, chrome_time(row.expires_s)),
            )
        connection.commit()
    return path


def firefox_open(path: Path, *rows: Row, schema: int = 17) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=wal")
    connection.execute(f"pragma user_version={schema}")
    connection.execute(
        "create table moz_cookies(id integer primary key, originAttributes text not null default '', name text, value text, host text, path text, expiry integer, isSecure integer, isHttpOnly integer, unique(name, host, path, originAttributes))"
    )
    write(connection, *rows, schema=schema)
    return connection


def write(connection: sqlite3.Connection, *rows: Row, schema: int = 17) -> None:
    for row in rows:
        expiry = int((row.expires_s or 0) * (1000 if schema >= 16 else 1))
        connection.execute(
            "insert or replace into moz_cookies(originAttributes, name, value, host, path, expiry, isSecure, isHttpOnly) values(?,?,?,?,?,?,1,1)",
            (row.jar, row.name, row.value, row.host, row.path, expiry),
        )
    connection.commit()


def firefox(path: Path, *rows: Row, schema: int = 17) -> Path:
    firefox_open(path, *rows, schema=schema).close()
    return path


def found(path: Path, browser: str = "chromium", **options: Any) -> ProfileResult:
    return find_session(Profile(browser, "Default", path), NOW_S, **options)


def values(one: ProfileResult) -> dict[str, str] | None:
    return {cookie.name: cookie.value for cookie in one.session.cookies} if one.session else None


def day(moment_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment_s))


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder the copies are made in, empty again after every test; and no desktop's bus."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # whose /run/user/UID/bus nobody has
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def cookies(tmp_path: Path) -> Path:
    return tmp_path / "Default/Cookies"


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    return tmp_path / "ab12cd34.default-release/cookies.sqlite"


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        pytest.fail("the decrypting process was started")

    monkeypatch.setattr(browsers.subprocess, "run", run)


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [23, 24])
def test_a_session_of_chromium_is_read_with_and_without_the_hash_of_its_host(
    cookies: Path, version: int
) -> None:
    one = found(chromium(cookies, Row(), version=version))
    assert (values(one), one.problem, one.message) == (
        {"appSession": VALUE},
        None,
        f"session until {day(LATER_S)}",
    )
    assert one.session
    assert (one.session.host, one.session.expires_s) == (SPACE, LATER_S)


@pytest.mark.parametrize("schema", [15, 16, 17])
def test_an_expiry_of_firefox_is_in_seconds_or_milliseconds_by_its_schema(
    sqlite: Path, schema: int
) -> None:
    one = found(firefox(sqlite, Row(), schema=schema), "firefox")
    assert one.session
    assert (values(one), one.session.expires_s) == ({"appSession": VALUE}, LATER_S)


@pytest.mark.parametrize("schema", [15, 17])
@pytest.mark.usefixtures("no_child")
def test_an_expired_session_of_firefox_is_seen_to_be_so(sqlite: Path, schema: int) -> None:
    one = found(firefox(sqlite, Row(expires_s=DEAD_S), schema=schema), "firefox")
    assert (one.session, one.problem, one.message) == (None, "expired", f"expired {day(DEAD_S)}")


@pytest.mark.usefixtures("no_child")
def test_an_expired_session_of_chromium_says_since_when(cookies: Path) -> None:
    one = found(chromium(cookies, Row(expires_s=DEAD_S), Row(host=CHAT, expires_s=DEAD_S - 86_400)))
    assert (one.session, one.problem, one.message) == (None, "expired", f"expired {day(DEAD_S)}")


def test_a_session_cookie_of_chromium_has_no_end_date(cookies: Path) -> None:
    one = found(chromium(cookies, Row(expires_s=None)))
    assert (values(one), one.message) == ({"appSession": VALUE}, "session without an end date")


def test_a_value_that_is_not_encrypted_is_read(cookies: Path) -> None:
    assert values(found(chromium(cookies, Row(plain=True)))) == {"appSession": VALUE}


def test_a_database_without_partitions_is_read(cookies: Path) -> None:
    chromium(cookies, Row())
    with contextlib.closing(sqlite3.connect(cookies)) as connection:
        connection.execute("alter table cookies drop column top_frame_site_key")
    assert values(found(cookies)) == {"appSession": VALUE}


def test_chunks_come_in_their_order(sqlite: Path) -> None:
    one = found(
        firefox(sqlite, *(Row(name=f"appSession.{n}", value=f"part{n}") for n in (2, 0, 1))),
        "firefox",
    )
    assert one.session
    assert one.session.header == "appSession.0=part0; appSession.1=part1; appSession.2=part2"


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize("write", [chromium, firefox])
def test_a_missing_chunk_is_said_without_asking_any_keyring(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    one = found(
        write(tmp_path / "db", Row(name="appSession.0", prefix=b"v11"), Row(name="appSession.2"))
    )
    assert (one.problem, one.message) == (
        "no_session",
        "a session that is not whole: appSession.0, appSession.2",
    )


def test_a_plain_cookie_older_than_the_chunks_does_not_win(cookies: Path) -> None:
    chunks = [Row(name=f"appSession.{n}", value=f"part{n}") for n in (0, 1)]
    assert values(found(chromium(cookies, Row(expires_s=SOON_S), *chunks))) == {
        "appSession.0": "part0",
        "appSession.1": "part1",
    }


def test_the_host_whose_session_lasts_longest_is_taken(cookies: Path) -> None:
    one = found(chromium(cookies, Row(expires_s=SOON_S), Row(host=CHAT, value="chat")))
    assert one.session
    assert (one.session.host, one.session.header) == (CHAT, "appSession=chat")


def test_a_cookie_of_the_domain_is_read_and_the_hosts_own_goes_before_it(cookies: Path) -> None:
    assert values(found(chromium(cookies, Row(host=".reka.ai")))) == {"appSession": VALUE}
    cookies.unlink()
    own = found(chromium(cookies, Row(value="own"), Row(host=".reka.ai", value="domain")))
    assert values(own) == {"appSession": "own"}


@pytest.mark.parametrize("paths", [("/", "/bff"), ("/bff", "/")])
def test_the_cookie_of_the_whole_site_goes_before_one_of_a_path(
    cookies: Path, paths: tuple[str, str]
) -> None:
    rows = [Row(path=path, value="whole" if path == "/" else "part") for path in paths]
    assert values(found(chromium(cookies, *rows))) == {"appSession": "whole"}


NEIGHBOURS = (
    "myspace.reka.ai",
    "space.reka.ai.evil.example",
    "notreka.ai",
    ".notreka.ai",
    "reka.ai",
    "spacexreka.ai",
    "api.reka.ai",
)


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize("write", [chromium, firefox])
@pytest.mark.parametrize("host", NEIGHBOURS)
def test_a_neighbours_host_is_not_read(
    tmp_path: Path, write: Callable[..., Path], host: str
) -> None:
    one = found(
        write(tmp_path / "db", Row(host=host, value=FOREIGN), Row(name="other", value=FOREIGN))
    )
    assert (one.problem, one.message) == ("no_session", "no Reka login")


def test_a_value_no_header_can_carry_is_no_session(sqlite: Path) -> None:
    one = found(firefox(sqlite, Row(value="a\r\nX: y")), "firefox")
    assert (one.session, one.problem, one.message) == (
        None,
        "no_session",
        "a session that is not whole: appSession",
    )


def test_the_family_is_told_by_the_file_and_not_by_the_folder(cookies: Path, sqlite: Path) -> None:
    assert values(found(firefox(cookies, Row()), "chromium")) == {"appSession": VALUE}
    assert values(found(chromium(sqlite, Row()), "firefox")) == {"appSession": VALUE}


# --- partitions and containers ---------------------------------------------------------------------------------------


def test_a_partition_does_not_take_the_place_of_the_session(cookies: Path, sqlite: Path) -> None:
    chromium(cookies, Row(), Row(jar="https://evil.example", value="PARTITION"))
    assert values(found(cookies)) == {"appSession": VALUE}
    jars = (
        "^partitionKey=%28https%2Cevil.example%29",
        "^userContextId=2",
        "^userContextId=2&partitionKey=%28x%29",
    )
    firefox(sqlite, Row(), *(Row(jar=jar, value="OTHER") for jar in jars))
    one = found(sqlite, "firefox")
    assert (values(one), one.containers) == ({"appSession": VALUE}, ("2",))


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize(
    ("write", "jar"),
    [
        (chromium, "https://evil.example"),
        (firefox, "^partitionKey=%28https%2Cevil.example%29"),
        (firefox, "^firstPartyDomain=evil.example"),
        (firefox, "^privateBrowsingId=1"),
    ],
)
def test_a_session_within_another_site_is_named_and_not_taken(
    tmp_path: Path, write: Callable[..., Path], jar: str
) -> None:
    one = found(write(tmp_path / "db", Row(jar=jar)))
    assert (one.session, one.problem, one.message) == (
        None,
        "partitioned_only",
        "only inside the pages of another site",
    )


@pytest.fixture
def contained(sqlite: Path) -> Path:
    """A Firefox with two logins, each in a container, and a dead one in a third."""
    firefox(
        sqlite,
        Row(jar="^userContextId=2", value="work"),
        Row(jar="^userContextId=6", value="own"),
        Row(jar="^userContextId=3", expires_s=DEAD_S),
    )
    identities = [
        {"userContextId": 1, "public": True, "l10nID": "userContextPersonal.label"},
        {"userContextId": 2, "public": True, "l10nId": "user-context-work"},
        {"userContextId": 3, "public": True, "l10nId": "user-context-banking"},
        {"userContextId": 5, "public": False, "name": "userContextIdInternal.thumbnail"},
        {"userContextId": 6, "public": True, "name": "My own"},
    ]
    sqlite.with_name("containers.json").write_text(
        json.dumps({"version": 5, "identities": identities})
    )
    return sqlite


@pytest.mark.usefixtures("no_child")
def test_a_login_in_a_container_names_the_containers_that_hold_one(contained: Path) -> None:
    one = found(contained, "firefox")
    assert (one.problem, one.containers) == ("container_only", ("Work", "My own"))
    assert one.message == "in a container: --container Work or --container 'My own'"


@pytest.mark.parametrize(("name", "value"), [("Work", "work"), ("my OWN", "own"), ("6", "own")])
def test_a_container_is_chosen_by_name_or_number(contained: Path, name: str, value: str) -> None:
    assert values(found(contained, "firefox", container=name)) == {"appSession": value}


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize(
    ("name", "problem", "said"),
    [
        ("Personal", "no_session", "no Reka login"),
        ("Banking", "expired", f"expired {day(DEAD_S)}"),
        (
            "Play",
            "no_session",
            "no container of that name; there are: Work, My own, Banking, Personal",
        ),
    ],
)
def test_a_container_without_a_session_is_said(
    contained: Path, name: str, problem: str, said: str
) -> None:
    one = found(contained, "firefox", container=name)
    assert (one.problem, one.message) == (problem, said)


@pytest.mark.usefixtures("no_child")
def test_a_container_is_asked_of_a_browser_that_has_none(cookies: Path) -> None:
    one = found(chromium(cookies, Row()), container="Work")
    assert (one.problem, one.message) == ("no_session", "this browser has no containers")


@pytest.mark.parametrize(
    "text", ["", "{}", '{"identities": 3}', '{"identities": [{"name": "x"}]}', "[" * 100_000]
)
def test_a_damaged_list_of_containers_leaves_their_numbers(contained: Path, text: str) -> None:
    contained.with_name("containers.json").write_text(text)
    assert found(contained, "firefox").containers == ("2", "6")
    assert values(found(contained, "firefox", container="2")) == {"appSession": "work"}


# --- encryption and keyrings -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        (b"v12", "encrypted in a way no other program reads (v12)"),
        (b"v20", "encrypted for the browser alone (v20, app-bound)"),
        (b"\x01\x00\x00", "encrypted in a way no other program reads (unknown)"),
    ],
)
def test_an_encryption_that_cannot_be_read_is_named(
    cookies: Path, prefix: bytes, said: str
) -> None:
    one = found(chromium(cookies, Row(prefix=prefix)))
    assert (one.session, one.problem, one.message) == (None, "unsupported_encryption", said)


def test_what_can_be_read_is_not_lost_over_what_cannot(cookies: Path) -> None:
    rows = (
        Row(host=CHAT, prefix=b"v20"),
        Row(host=".reka.ai", prefix=b"v11", password=b"other"),
        Row(expires_s=SOON_S),
    )
    assert values(found(chromium(cookies, *rows))) == {"appSession": VALUE}


def test_a_wrong_key_of_v10_is_undecryptable(cookies: Path) -> None:
    one = found(chromium(cookies, Row(password=b"other"), version=23))
    assert (one.problem, one.message) == ("undecryptable", "the key of its cookies cannot be found")


def test_a_key_in_a_keyring_out_of_reach_is_missing(cookies: Path) -> None:
    one = found(chromium(cookies, Row(prefix=b"v11", password=b"other")))
    assert (one.problem, one.message) == ("keyring_missing", browsers._MESSAGES["keyring_missing"])


@pytest.mark.parametrize("password", [b"", b"peanuts"])
def test_a_v11_with_the_key_of_no_keyring_is_read_without_one(
    cookies: Path, password: bytes
) -> None:
    assert values(found(chromium(cookies, Row(prefix=b"v11", password=password)))) == {
        "appSession": VALUE
    }


class Bus:
    """A desktop's message bus with a keyring: hands out `secret`, or keeps it when that is None."""

    def __init__(
        self, path: Path, secret: bytes | None = None, *, greets: bool = True, answers: bool = True
    ) -> None:
        self.secret, self.greets, self.answers = secret, greets, answers
        self.asked = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.asked += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if not self.greets:
                return
            parser = Parser()
            while b"BEGIN\r\n" not in (data := connection.recv(4096)):
                connection.sendall(b"OK 1234deadbeef\r\n" if b"AUTH" in data else b"")
            data = data.partition(b"BEGIN\r\n")[
                2
            ]  # the first call may come along with the greeting
            while True:
                parser.add_data(data)
                while (message := parser.get_next_message()) is not None:
                    if message.header.message_type == MessageType.method_call:
                        self._reply(connection, message)
                if not (data := connection.recv(4096)):
                    return

    def _reply(self, connection: socket.socket, message: Any) -> None:
        item = "/org/freedesktop/secrets/collection/login/1"
        secrets = (
            {} if self.secret is None else {item: ("/session", b"", self.secret, "text/plain")}
        )
        replies: dict[str, tuple[str, tuple[Any, ...]]] = {
            "Hello": ("s", (":1.1",)),
            "SearchItems": ("aoao", ([item], [])),
            "Unlock": ("aoo", ([], "/")),
            "OpenSession": ("vo", (("s", ""), "/session")),
            "GetSecrets": ("a{o(oayays)}", (secrets,)),
        }
        member = message.header.fields[HeaderFields.member]
        if self.answers or member == "Hello":
            connection.sendall(new_method_return(message, *replies[member]).serialise(serial=7))


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bus]]:
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bus-"))
        )  # its name must be short

        def start(**options: Any) -> Bus:
            one = Bus(folder / "bus", **options)
            stack.callback(one.close)
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={folder}/bus")
            return one

        yield start


def test_a_key_in_an_open_keyring_is_used(cookies: Path, bus: Callable[..., Bus]) -> None:
    bus(secret=b"other")
    assert values(found(chromium(cookies, Row(prefix=b"v11", password=b"other")))) == {
        "appSession": VALUE
    }


def test_the_bus_is_not_touched_without_need(
    cookies: Path, sqlite: Path, bus: Callable[..., Bus]
) -> None:
    one = bus(answers=False)
    assert values(found(chromium(cookies, Row()), deadline_s=10)) == {"appSession": VALUE}
    assert values(found(firefox(sqlite, Row()), "firefox", deadline_s=10)) == {"appSession": VALUE}
    assert one.asked == 0


def test_a_locked_keyring_is_said(cookies: Path, bus: Callable[..., Bus]) -> None:
    bus(secret=None)
    assert found(chromium(cookies, Row(prefix=b"v11"))).problem == "keyring_locked"


def test_the_key_of_another_session_is_undecryptable(
    cookies: Path, bus: Callable[..., Bus]
) -> None:
    bus(secret=b"another")
    assert (
        found(chromium(cookies, Row(prefix=b"v11", password=b"other"), version=23)).problem
        == "undecryptable"
    )


def test_a_keyring_that_never_answers_ends_at_the_deadline(
    cookies: Path, bus: Callable[..., Bus]
) -> None:
    bus(answers=False)
    began = time.monotonic()
    one = found(chromium(cookies, Row(prefix=b"v11")), deadline_s=1)
    assert (one.problem, one.message) == (
        "keyring_timeout",
        browsers._MESSAGES["keyring_timeout"],
    )
    assert time.monotonic() - began < 20


def test_a_bus_that_takes_the_connection_and_stays_silent_is_a_timeout(
    cookies: Path, bus: Callable[..., Bus]
) -> None:
    bus(greets=False)
    assert found(chromium(cookies, Row(prefix=b"v11"))).problem == "keyring_timeout"
    assert values(found(chromium(cookies.with_name("v10"), Row()))) == {"appSession": VALUE}


@pytest.mark.parametrize(
    "address", ["unix:path=/nonexistent", "unix:path={refusing}", "disabled:", "nonsense", ""]
)
def test_a_bus_that_is_not_there_costs_only_what_needs_it(
    cookies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    refusing = tmp_path / "b"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(
            os.path.relpath(refusing)
        )  # bound, and nobody listens; the whole path may be too long for a socket
    monkeypatch.setenv(
        "DBUS_SESSION_BUS_ADDRESS", address.format(refusing=os.path.relpath(refusing))
    )
    assert values(found(chromium(cookies, Row()))) == {"appSession": VALUE}
    v11 = chromium(cookies.with_name("v11"), Row(prefix=b"v11", password=b"other"))
    assert found(v11).problem == "keyring_missing"


def test_jeepney_refuses_the_stand_in_for_a_bus_before_it_opens_a_socket() -> None:
    from jeepney.bus import get_connectable_addresses

    with pytest.raises(RuntimeError, match="not supported"):
        list(get_connectable_addresses(browsers._NO_BUS))


def test_cron_finds_the_bus_of_the_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/run/user/1000/bus")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert browsers._bus() == "unix:path=/run/user/1000/bus"


# --- a browser that is running ---------------------------------------------------------------------------------------


def test_what_stands_in_the_write_ahead_log_is_read(sqlite: Path) -> None:
    firefox(sqlite, Row(value="old"))
    with contextlib.closing(sqlite3.connect(sqlite)) as writer:
        writer.execute("pragma wal_autocheckpoint=0")
        write(writer, Row(value="new"))
        assert b"new" not in sqlite.read_bytes()
        assert values(found(sqlite, "firefox")) == {"appSession": "new"}


def test_a_commit_that_was_not_finished_is_rolled_back(cookies: Path, tmp_path: Path) -> None:
    chromium(cookies, Row(value="old"))
    with contextlib.closing(sqlite3.connect(cookies, isolation_level=None)) as writer:
        writer.execute("pragma cache_size=1")
        writer.execute("begin")
        writer.execute("update cookies set value='half', encrypted_value=x''")
        writer.execute(
            "create table filler as select zeroblob(200000)"
        )  # so that pages of the commit are on disk
        assert cookies.with_name("Cookies-journal").stat().st_size > 0
        one = found(cookies)
    assert values(one) == {"appSession": "old"}


def test_a_database_another_process_has_locked_is_read_at_once(cookies: Path) -> None:
    chromium(cookies, Row())
    hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('begin exclusive'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(cookies)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        began = time.monotonic()
        assert values(found(cookies)) == {"appSession": VALUE}
        assert time.monotonic() - began < 3
        holder.communicate(b"\n")


def test_a_database_that_moves_while_it_is_copied_is_copied_again(
    sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, copied = database._copy, []

    def copy_and_write(source: Path, target: Path, required: bool) -> None:
        copy(source, target, required)
        if required:
            copied.append(source)
        if len(copied) == 1 and source.name.endswith("-wal"):
            write(writer, Row(value="new"))

    monkeypatch.setattr(database, "_copy", copy_and_write)
    with contextlib.closing(firefox_open(sqlite, Row(value="old"))) as writer:
        assert values(found(sqlite, "firefox")) == {"appSession": "new"}
    assert len(copied) == 2


def never_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = iter(range(1000))
    monkeypatch.setattr(database, "_file_stamps", lambda _: [(next(moved), 0, 0)])
    monkeypatch.setattr(database.time, "sleep", lambda _: None)


def test_a_copy_that_never_settles_is_used_if_it_is_whole(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_settled(monkeypatch)
    assert values(found(chromium(cookies, Row()))) == {"appSession": VALUE}


def test_a_copy_that_never_settles_and_is_torn_is_busy(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_settled(monkeypatch)
    chromium(cookies, *(Row(value="x" * 900, name=f"n{n}", host=f"h{n}") for n in range(50)), Row())
    whole = cookies.read_bytes()
    cookies.write_bytes(whole[:8192] + b"\xff" * 8192 + whole[16384:])
    one = found(cookies)
    assert (one.problem, one.message) == ("busy", "the browser is writing too much at the moment")


def test_a_running_chromium_without_a_login_says_that_it_writes_late(cookies: Path) -> None:
    chromium(cookies)
    (cookies.parent.parent / "SingletonLock").symlink_to("vm-4711")
    assert (
        found(cookies).message
        == "no Reka login; while it runs, the browser writes cookies up to 30 s late"
    )


# --- what is no database, or may not be read -------------------------------------------------------------------------


def other_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table cookies(x)")


def damaged(path: Path) -> None:
    chromium(path, Row())
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("# Netscape HTTP Cookie File\n"),
        lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000),
        lambda path: path.mkdir(),
        os.mkfifo,
        other_database,
        damaged,
    ],
)
@pytest.mark.usefixtures("no_child")
def test_what_is_no_cookie_database_is_said_to_be_none(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "db")
    one = found(tmp_path / "db")
    assert (one.session, one.problem, one.message) == (
        None,
        "not_a_cookie_db",
        "not a cookie database",
    )
    with pytest.raises(BadInput, match="not a cookie database"):
        read_database(tmp_path / "db", NOW_S)


@pytest.mark.parametrize(
    "change",
    [
        "host_key = cast(host_key as blob)",
        "encrypted_value = 'v10 as a text'",
        "encrypted_value = null",
        "value = null",
        "value = cast(x'ff' as text)",
        "top_frame_site_key = null",
        "expires_utc = 'soon'",
        "expires_utc = 1e300",
        "path = null",
    ],
)
def test_a_row_of_a_kind_no_browser_writes_is_no_crash(cookies: Path, change: str) -> None:
    chromium(cookies, Row())
    with contextlib.closing(sqlite3.connect(cookies)) as connection:
        connection.execute(f"update cookies set {change}")
        connection.commit()
    assert found(cookies).problem in (
        None,
        "no_session",
        "undecryptable",
        "library_error",
        "expired",
    )


@pytest.mark.parametrize(
    "change", ["expiry = 'soon'", "expiry = null", "value = 7", "value = x'ff'", "host = x'ff'"]
)
def test_a_row_of_a_kind_firefox_does_not_write_is_no_crash(sqlite: Path, change: str) -> None:
    with contextlib.closing(firefox_open(sqlite, Row())) as connection:
        connection.execute(f"update moz_cookies set {change}")
        connection.commit()
    assert found(sqlite, "firefox").problem in (None, "no_session", "library_error", "expired")


def test_a_file_too_large_for_a_browsers_is_not_copied(tmp_path: Path) -> None:
    with (tmp_path / "db").open("wb") as file:
        file.truncate(1 << 30)
    assert found(tmp_path / "db").problem == "not_a_cookie_db"


def test_a_database_that_is_gone_has_no_cookies(tmp_path: Path) -> None:
    assert (found(tmp_path / "db").problem, found(tmp_path / "db").message) == (
        "no_session",
        "no cookies",
    )


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home anybody may enter, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        home = Path(folder)
        home.chmod(0o777)
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield home


@pytest.mark.parametrize(
    "closed", [".config/chromium", ".config/chromium/Default", ".config/chromium/Default/Cookies"]
)
def test_a_profile_that_may_not_be_read_is_named_with_its_owner(
    open_home: Path, closed: str
) -> None:
    owner = chromium(open_home / ".config/chromium/Default/Cookies", Row()).owner()
    (open_home / closed).chmod(0o000)
    with as_nobody():
        (profile,) = profiles(open_home)
        one = find_session(profile, NOW_S)
    (open_home / closed).chmod(0o700)
    assert one.problem == "permission"
    assert one.message == f"no permission to read {profile.database} (owner: {owner})"


@pytest.mark.parametrize(
    "closed",
    [".mozilla/firefox", ".mozilla/firefox/x.default", ".mozilla/firefox/x.default/cookies.sqlite"],
)
def test_a_firefox_that_may_not_be_read_is_not_said_to_be_absent(
    open_home: Path, closed: str
) -> None:
    firefox(open_home / ".mozilla/firefox/x.default/cookies.sqlite", Row())
    (open_home / closed).chmod(0o000)
    with as_nobody():
        problems = [find_session(profile, NOW_S).problem for profile in profiles(open_home)]
    (open_home / closed).chmod(0o700)
    assert problems == ["permission"]


def test_a_file_windows_has_locked_asks_to_close_the_browser(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = PermissionError(13, "in use")
    error.winerror = 32  # type: ignore[attr-defined]

    def locked(*_: object) -> None:
        raise error

    monkeypatch.setattr(browsers, "copy_database", locked)
    one = found(chromium(cookies, Row()))
    assert (one.problem, one.message) == (
        "locked_file",
        "the browser keeps its cookies to itself while it runs",
    )


def test_safari_without_full_disk_access_says_what_to_grant(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(browsers, "_begins_with", denied)
    monkeypatch.setattr(browsers, "_PLATFORM", "darwin")
    one = found(cookies, "safari")
    assert (one.problem, one.message) == (
        "permission",
        "the terminal has no Full Disk Access (System Settings, Privacy)",
    )


def test_a_disk_that_fills_up_later_is_said_too(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_copy_statements", lambda *_: ["select raise_an_error()"])
    one = found(chromium(cookies, Row()))
    assert (one.problem, one.message) == (
        "library_error",
        "cannot be copied: the copy cannot be written",
    )


def test_a_full_disk_is_said_without_a_traceback(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(database, "_copy", full)
    one = found(chromium(cookies, Row()))
    assert (one.problem, one.message) == (
        "library_error",
        "cannot be copied: no space left on device",
    )


# --- Safari ----------------------------------------------------------------------------------------------------------


def safari(path: Path, *rows: Row) -> Path:
    """Write `Cookies.binarycookies`: pages of little-endian records, dates in seconds since 2001."""
    import struct

    records = []
    for row in rows:
        texts = [text.encode() + b"\0" for text in (row.host, row.name, row.path, row.value)]
        starts = [56 + sum(map(len, texts[:n])) for n in range(4)]
        dates = struct.pack("<dd", (row.expires_s or 0) - 978_307_200, 0)
        head = struct.pack("<IIII", 56 + sum(map(len, texts)), 0, 5, 0) + struct.pack(
            "<IIII", *starts
        )
        records.append(head + bytes(8) + dates + b"".join(texts))
    begin = 12 + 4 * len(records)
    offsets = [begin + sum(map(len, records[:n])) for n in range(len(records))]
    page = (
        b"\0\0\1\0"
        + struct.pack(f"<{1 + len(records)}I", len(records), *offsets)
        + bytes(4)
        + b"".join(records)
    )
    path.write_bytes(b"cook" + struct.pack(">II", 1, len(page)) + page)
    return path


def test_a_session_of_safari_is_read_without_its_neighbours(tmp_path: Path) -> None:
    rows = (
        Row(host="myspace.reka.ai", value=FOREIGN),
        Row(expires_s=LATER_S),
        Row(name="other", value=FOREIGN),
    )
    one = found(safari(tmp_path / "Cookies.binarycookies", *rows), "safari")
    assert (values(one), one.message) == ({"appSession": VALUE}, f"session until {day(LATER_S)}")


def test_a_safari_without_a_live_session_says_so(tmp_path: Path) -> None:
    path = tmp_path / "Cookies.binarycookies"
    assert found(safari(path, Row(host="other.example")), "safari").message == "no Reka login"
    assert found(safari(path, Row(host="myspace.reka.ai")), "safari").message == "no Reka login"
    assert found(safari(path, Row(expires_s=DEAD_S)), "safari").problem == "expired"
    assert (
        found(safari(path, Row()), "safari", container="x").message
        == "this browser has no containers"
    )


# --- the decrypting process ------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the child find a `browser_cookie3` of ours."""

    def install(body: str) -> None:
        folder = tmp_path / "library"
        folder.mkdir()
        (folder / "browser_cookie3.py").write_text(
            f"def chromium(cookie_file, domain_name, key_file):\n    {body}\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return install


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"raise TypeError('{VALUE}')", "the library that reads it failed (TypeError)"),
        (f"raise OSError(2, '{VALUE}')", "the library that reads it failed (FileNotFoundError)"),
        (f"raise AssertionError('{VALUE}')", "the library that reads it failed (AssertionError)"),
        (f"return '{VALUE}'", "the library that reads it failed (AttributeError)"),
        ("import os; os._exit(9)", "the library that reads it failed (it ended with 9)"),
        ("import os; os._exit(0)", "the library that reads it failed (it ended with 0)"),
    ],
)
def test_an_error_of_the_library_is_told_by_its_kind_alone(
    cookies: Path, library: Callable[[str], None], body: str, said: str
) -> None:
    library(body)
    one = found(chromium(cookies, Row()))
    assert one == ProfileResult(one.profile, None, "library_error", said)


def test_what_the_library_prints_reaches_nobody(
    cookies: Path, library: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    library(
        "import http.cookiejar, os, sys; print('noise'); os.write(1, b'noise'); os.write(2, b'noise'); return http.cookiejar.CookieJar()"
    )
    one = found(chromium(cookies, Row()))
    assert (one.problem, one.message) == ("no_session", "no Reka login")
    assert capfd.readouterr() == ("", "")


def test_a_library_that_hangs_is_ended(cookies: Path, library: Callable[[str], None]) -> None:
    library("import time; time.sleep(60)")
    began = time.monotonic()
    assert found(chromium(cookies, Row()), deadline_s=0.8).problem == "keyring_timeout"
    assert time.monotonic() - began < 20


def test_a_module_in_the_working_folder_is_not_run(
    cookies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("browser_cookie3", "json"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(3)")
    monkeypatch.chdir(tmp_path)
    assert values(found(chromium(cookies, Row()))) == {"appSession": VALUE}


@pytest.mark.parametrize("write", [chromium, firefox])
def test_the_child_gets_the_rows_of_the_session_and_nothing_else(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.setenv("REKA_TOKEN", VALUE)
    hosts = [*NEIGHBOURS, *(f"site{n}.example" for n in range(300))]
    foreign = [Row(host=host, value=FOREIGN, plain=True) for host in hosts]
    more = [
        Row(jar="^userContextId=2", value=FOREIGN, plain=True),
        Row(name="_ga", value=FOREIGN, plain=True),
    ]
    write(tmp_path / "db", *foreign, *more, Row(plain=True))
    run, seen = subprocess.run, []

    def spy(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        (folder,) = runtime.iterdir()
        assert (folder.stat().st_mode & 0o777, list(folder.glob("whole*"))) == (0o700, [])
        seen.extend(path.read_bytes() for path in folder.rglob("*"))
        assert VALUE not in repr((arguments, options["env"], options["input"]))
        ended = run(arguments, **options)
        seen.extend(path.read_bytes() for path in folder.rglob("*"))
        return ended

    monkeypatch.setattr(browsers.subprocess, "run", spy)
    assert values(found(tmp_path / "db")) == {"appSession": VALUE}
    assert VALUE.encode() in b"".join(seen)
    assert FOREIGN.encode() not in b"".join(seen)


def test_the_copy_is_gone_after_ctrl_c(
    cookies: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        assert list(runtime.rglob("kept.sqlite"))
        raise KeyboardInterrupt

    monkeypatch.setattr(browsers.subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        found(chromium(cookies, Row()))
    assert list(runtime.iterdir()) == []


def test_the_copy_is_readable_by_us_alone_whatever_the_umask(cookies: Path, runtime: Path) -> None:
    chromium(cookies, Row()).chmod(0o644)
    before = os.umask(0)
    try:
        with database.private_folder() as folder:
            taken = database.copy_database(cookies, folder)
            assert (folder.parent, folder.stat().st_mode & 0o777) == (runtime, 0o700)
            assert taken.copy.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_the_users_own_database_is_left_as_it_is(sqlite: Path) -> None:
    with contextlib.closing(firefox_open(sqlite, Row())):
        before = {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sqlite.parent.iterdir()
        }
        found(sqlite, "firefox")
        assert {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sqlite.parent.iterdir()
        } == before


def test_no_value_shows_in_a_repr(cookies: Path) -> None:
    assert VALUE not in repr(found(chromium(cookies, Row())))


def test_neither_the_library_nor_sqlite_is_imported_by_looking_for_profiles() -> None:
    code = "import sys; before = set(sys.modules); from reka_cli.cookies.browsers import profiles; profiles(); sys.exit(bool({'sqlite3', 'browser_cookie3', 'requests'} & (set(sys.modules) - before)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_problem_has_a_hint() -> None:
    problems = "no_browser no_session expired container_only partitioned_only permission locked_file keyring_locked keyring_timeout keyring_missing undecryptable unsupported_encryption not_a_cookie_db busy library_error"
    assert set(HINTS) == set(problems.split())


# --- a database given as a file --------------------------------------------------------------------------------------


def test_a_database_given_as_a_file_gives_its_live_cookies(tmp_path: Path) -> None:
    chromium(tmp_path / "Cookies", Row(), Row(host=CHAT, expires_s=DEAD_S), Row(host="notreka.ai"))
    firefox(tmp_path / "cookies.sqlite", Row())
    for name in ("Cookies", "cookies.sqlite"):
        (cookie,) = read_database(tmp_path / name, NOW_S)
        assert (cookie.host, cookie.name, cookie.value, cookie.expires_s) == (
            SPACE,
            "appSession",
            VALUE,
            LATER_S,
        )


@pytest.mark.parametrize(
    ("row", "kind", "said", "code"),
    [
        (Row(expires_s=DEAD_S), NotLoggedIn, f"expired {day(DEAD_S)}", "expired"),
        (Row(host="notreka.ai"), NotLoggedIn, "no Reka login", "no_session"),
        (Row(jar="x"), NotLoggedIn, "only inside the pages of another site", "partitioned_only"),
        (
            Row(prefix=b"v20"),
            BadInput,
            "encrypted for the browser alone (v20, app-bound)",
            "unsupported_encryption",
        ),
    ],
)
def test_a_database_given_as_a_file_that_does_not_help_says_why(
    cookies: Path, row: Row, kind: type[NotLoggedIn | BadInput], said: str, code: str
) -> None:
    chromium(cookies, row)
    with pytest.raises(kind) as caught:
        read_database(cookies, NOW_S)
    assert (caught.value.message, caught.value.hint) == (f"{cookies}: {said}", HINTS[code])


def test_whose_key_a_file_needs_is_told_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    path = chromium(tmp_path / ".config/BraveSoftware/Brave-Browser/Default/Cookies", Row())
    assert browsers._profile_of(path) == Profile("brave", "Default", path)
    assert browsers._profile_of(tmp_path / "Cookies").browser == "chrome"


@pytest.mark.parametrize(
    ("browser", "function"),
    [
        ("chrome-beta", "chrome"),
        ("brave", "brave"),
        ("opera-gx", "opera_gx"),
        ("edge-canary", "edge"),
        ("new", "chrome"),
    ],
)
def test_each_browser_has_its_keyring_item(browser: str, function: str) -> None:
    assert browsers._function(browser) == function


def test_on_windows_the_key_is_that_of_the_same_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "User Data/Default/Network/Cookies"
    path.parent.mkdir(parents=True)
    (tmp_path / "User Data/Local State").touch()
    assert browsers._key_file(path) is None
    monkeypatch.setattr(browsers, "_PLATFORM", "win32")
    assert browsers._key_file(path) == str(tmp_path / "User Data/Local State")


# --- where browsers keep them ----------------------------------------------------------------------------------------


def made(home: Path, *paths: str) -> None:
    for path in paths:
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).touch()


def listed(home: Path, environ: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
    return [
        (one.browser, one.name, str(one.database.relative_to(home)))
        for one in profiles(home, environ)
    ]


LINUX = [
    ("chrome", "Default", ".config/google-chrome/Default/Cookies"),
    ("chrome", "Profile 1", ".config/google-chrome/Profile 1/Cookies"),
    ("chrome-beta", "Default", ".config/google-chrome-beta/Default/Cookies"),
    ("chromium", "Default", ".config/chromium/Default/Network/Cookies"),
    ("chromium", "Guest Profile", ".config/chromium/Guest Profile/Cookies"),
    ("brave", "Default", ".config/BraveSoftware/Brave-Browser/Default/Cookies"),
    ("edge", "Default", ".config/microsoft-edge/Default/Cookies"),
    ("vivaldi", "Default", ".config/vivaldi/Default/Cookies"),
    ("opera", "Default", ".config/opera/Cookies"),
    ("chromium", "Default", "snap/chromium/common/chromium/Default/Cookies"),
    (
        "brave",
        "Default",
        ".var/app/com.brave.Browser/config/BraveSoftware/Brave-Browser/Default/Cookies",
    ),
    ("firefox", "a.default-esr", ".config/mozilla/firefox/a.default-esr/cookies.sqlite"),
    ("firefox", "b.default", ".mozilla/firefox/b.default/cookies.sqlite"),
    ("firefox", "c.default", "snap/firefox/common/.mozilla/firefox/c.default/cookies.sqlite"),
    (
        "firefox",
        "d.default",
        ".var/app/org.mozilla.firefox/config/mozilla/firefox/d.default/cookies.sqlite",
    ),
    ("librewolf", "e.default", ".librewolf/e.default/cookies.sqlite"),
    ("zen", "f.Default", ".zen/f.Default/cookies.sqlite"),
    ("floorp", "g.default", ".floorp/g.default/cookies.sqlite"),
    ("waterfox", "h.default", ".waterfox/h.default/cookies.sqlite"),
]


def test_every_profile_of_every_browser_on_linux_is_found(tmp_path: Path) -> None:
    made(
        tmp_path,
        *(path for _, _, path in LINUX),
        ".config/chromium/Crash Reports/other",
        ".mozilla/firefox/x/prefs.js",
    )
    told_apart = {
        ("chromium", "Default"): {
            ".config/chromium/Default/Network/Cookies",
            "snap/chromium/common/chromium/Default/Cookies",
        }
    }
    assert [(browser, path) for browser, _, path in listed(tmp_path)] == [
        (browser, path) for browser, _, path in LINUX
    ]
    names = {path: name for _, name, path in listed(tmp_path)}
    for browser, name, path in LINUX:
        shared = [one for one in LINUX if one[:2] == (browser, name)]
        assert names[path] == (name if len(shared) == 1 else f"{name} (Default)"), told_apart


def test_no_browser_gives_no_profile(tmp_path: Path) -> None:
    assert profiles(tmp_path) == []


def test_the_folder_of_settings_may_be_elsewhere(tmp_path: Path) -> None:
    made(
        tmp_path,
        "xdg/chromium/Default/Cookies",
        "xdg/mozilla/firefox/p.x/cookies.sqlite",
        ".config/chromium/Default/Cookies",
    )
    assert listed(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}) == [
        ("chromium", "Default", "xdg/chromium/Default/Cookies"),
        ("firefox", "p.x", "xdg/mozilla/firefox/p.x/cookies.sqlite"),
    ]
    assert listed(tmp_path, {"XDG_CONFIG_HOME": "relative"}) == [
        ("chromium", "Default", ".config/chromium/Default/Cookies")
    ]


def test_profiles_of_chromium_have_the_names_people_gave_them(tmp_path: Path) -> None:
    root = tmp_path / ".config/chromium"
    made(root, "Default/Cookies", "Profile 1/Cookies", "Profile 2/Cookies", "Profile 3/Cookies")
    names = {
        "Default": {"name": "Anna\x1b[31m"},
        "Profile 1": {"name": "Work"},
        "Profile 2": {"name": "Work"},
        "Profile 3": {"name": 3},
    }
    (root / "Local State").write_text(
        json.dumps(
            {"profile": {"info_cache": {k: v for k, v in names.items() if k != "Profile 3"}}}
        )
    )
    assert [name for _, name, _ in listed(tmp_path)] == [
        "Anna[31m",
        "Work (Profile 1)",
        "Work (Profile 2)",
        "Profile 3",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"profile": []}',
        '{"profile": {"info_cache": {"Default": 1}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_local_state_leaves_the_folders_names(tmp_path: Path, text: str) -> None:
    made(tmp_path, ".config/chromium/Default/Cookies")
    (tmp_path / ".config/chromium/Local State").write_text(text)
    assert [name for _, name, _ in listed(tmp_path)] == ["Default"]


def test_profiles_of_firefox_have_the_names_of_profiles_ini_and_may_lie_elsewhere(
    tmp_path: Path,
) -> None:
    root = tmp_path / ".mozilla/firefox"
    made(tmp_path, "disk/own/cookies.sqlite", ".mozilla/firefox/a.default-release/cookies.sqlite")
    made(root, "Profiles/b.second/cookies.sqlite", "c.unlisted/cookies.sqlite")
    (root / "profiles.ini").write_text(
        f"[Install4F96D1932A9F858E]\nDefault=a.default-release\n\n[Profile0]\nName=default-release\nIsRelative=1\nPath=a.default-release\n\n"
        f"[Profile1]\nName=100% mine\nIsRelative=0\nPath={tmp_path}/disk/own\n\n[Profile2]\nName=gone\nPath=Profiles/gone\n\n[Profile3]\nName=second\nPath=Profiles/b.second\n"
    )
    assert [name for _, name, _ in listed(tmp_path)] == [
        "default-release",
        "c.unlisted",
        "second",
        "100% mine",
    ]


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", b"\xff\xfe\0", b"[Profile0]\nName=x\n", b"[Profile0]\nPath=a\n[Profile0"],
)
def test_a_damaged_profiles_ini_leaves_the_folders_names(tmp_path: Path, data: bytes) -> None:
    made(tmp_path, ".mozilla/firefox/a/cookies.sqlite")
    (tmp_path / ".mozilla/firefox/profiles.ini").write_bytes(data)
    assert [name for _, name, _ in listed(tmp_path)] == ["a"]


def test_a_folder_reached_by_two_ways_counts_once(tmp_path: Path) -> None:
    made(tmp_path, ".config/mozilla/firefox/a/cookies.sqlite")
    (tmp_path / ".mozilla").symlink_to(tmp_path / ".config/mozilla")
    assert listed(tmp_path) == [("firefox", "a", ".config/mozilla/firefox/a/cookies.sqlite")]


@pytest.mark.parametrize(
    ("platform", "browser", "path"),
    [
        ("darwin", "chrome", "Library/Application Support/Google/Chrome/Profile 1/Cookies"),
        ("darwin", "arc", "Library/Application Support/Arc/User Data/Default/Cookies"),
        ("darwin", "opera", "Library/Application Support/com.operasoftware.Opera/Cookies"),
        (
            "darwin",
            "firefox",
            "Library/Application Support/Firefox/Profiles/a.default/cookies.sqlite",
        ),
        (
            "darwin",
            "safari",
            "Library/Containers/com.apple.Safari/Data/Library/Cookies/Cookies.binarycookies",
        ),
        ("win32", "edge", "AppData/Local/Microsoft/Edge/User Data/Default/Network/Cookies"),
        ("win32", "opera-gx", "AppData/Roaming/Opera Software/Opera GX Stable/Network/Cookies"),
        ("win32", "firefox", "AppData/Roaming/Mozilla/Firefox/Profiles/a.default/cookies.sqlite"),
        (
            "win32",
            "firefox",
            "AppData/Local/Packages/Mozilla.Firefox_n80bbvh6b1yt2/LocalCache/Roaming/Mozilla/Firefox/Profiles/a/cookies.sqlite",
        ),
    ],
)
def test_other_systems_keep_them_elsewhere(
    tmp_path: Path, platform: str, browser: str, path: str
) -> None:
    made(tmp_path, path)
    assert [
        (one.browser, one.database) for one in _profiles(_browser_folders(platform, tmp_path, {}))
    ] == [(browser, tmp_path / path)]
