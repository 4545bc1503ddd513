import base64
import json
import os
import stat
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest
import zygote

from reka_cli.config import NOWHERE, Config
from reka_cli.cookies.session import Cookie, Session
from reka_cli.credentials import WebAccess, stored_source, web_access
from reka_cli.credentials import store as store_file
from reka_cli.credentials.store import Store
from reka_cli.errors import BadInput, NotLoggedIn, UsageError
from reka_cli.files import hold_lock

SPACE, CHAT = "space.reka.ai", "chat.reka.ai"
BASE = "https://space.reka.ai"
NOW = 1_800_000_000.0
CANARY = "canary-5e55104"
WRITERS, WRITES = 4, 25

posix = pytest.mark.skipif(os.name != "posix", reason="modes and symbolic links are those of POSIX")


def session(value=CANARY, host=SPACE):
    return Session(host, (Cookie(host, "appSession", value, NOW + 1000.25),))


def jwt(expires_s, name="x"):
    claims = (
        base64.urlsafe_b64encode(json.dumps({"exp": expires_s, "sub": name}).encode())
        .decode()
        .rstrip("=")
    )
    return f"e30.{claims}.c2ln"


FRESH = jwt(NOW + 3600)


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(store_file, "time", SimpleNamespace(time=lambda: NOW))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "reka-cli"


@pytest.fixture
def store(folder):
    return Store(folder)


@pytest.fixture
def written(store):
    """Give a function that puts a content of any kind where the store reads, with the modes it wants."""

    def write(content, mode=0o600):
        store.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        store.path.write_bytes(data)
        store.path.chmod(mode)
        return store

    return write


def content_of(store):
    return json.loads(store.path.read_text(encoding="utf-8"))


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def failure(action, kind=NotLoggedIn):
    """Give message and hint of the error."""
    with pytest.raises(kind) as caught:
        action()
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    return caught.value.message, caught.value.hint


class TestAStoredSession:
    def test_is_none_before_one_was_saved(self, store, folder):
        assert (store.session(), store.token(session(), BASE), folder.exists()) == (
            None,
            None,
            False,
        )

    @pytest.mark.parametrize(
        "saved",
        [
            session(),
            session(host=CHAT),
            Session(
                SPACE,
                tuple(Cookie("reka.ai", f"appSession.{index}", f"v{index}") for index in range(12)),
            ),
            Session(
                SPACE,
                (
                    Cookie(SPACE, "appSession.0", "a", 0.1 + 0.2),
                    Cookie("reka.ai", "appSession.1", "b"),
                ),
            ),
        ],
        ids=["plain", "of_the_other_host", "chunks", "mixed"],
    )
    def test_is_what_was_saved(self, store, folder, saved):
        store.save_session(saved)
        assert Store(folder).session() == saved

    def test_is_written_as_documented(self, store):
        store.save_session(session())
        assert content_of(store) == {
            "schema": "reka-cli/credentials/1",
            "session": {
                "host": SPACE,
                "cookies": [
                    {
                        "host": SPACE,
                        "name": "appSession",
                        "value": CANARY,
                        "expires_s": NOW + 1000.25,
                    }
                ],
            },
        }

    def test_is_the_last_one_saved(self, store):
        store.save_session(session("old"))
        store.save_session(session("new"))
        assert store.session() == session("new")

    def test_is_replaced_by_a_refreshed_one(self, store):
        store.save_session(session("old"))
        store.save_session(session("new"), replacing=session("old"))
        assert store.session() == session("new")

    @pytest.mark.parametrize(
        "other", [session("other"), session("old", CHAT), None], ids=["new", "other_host", "none"]
    )
    def test_is_not_replaced_by_the_refreshed_form_of_another(self, store, other):
        if other:
            store.save_session(other)
        store.save_session(session("new"), replacing=session("old"))
        assert store.session() == other

    def test_leaves_the_tokens_where_they_are(self, store):
        store.save_token(FRESH, session(), BASE)
        store.save_session(session("new"))
        assert (store.token(session(), BASE), store.session()) == (FRESH, session("new"))

    @pytest.mark.parametrize(
        "content",
        [
            {},
            *(
                {"session": value}
                for value in (None, "x", [], {}, {"host": SPACE}, {"cookies": []})
            ),
            *(
                {"session": {"host": SPACE, "cookies": value}}
                for value in (None, [], "x", [1], [{}], [{"host": SPACE}])
            ),
            {"session": {"host": "evil.example", "cookies": [vars(session().cookies[0])]}},
            {"session": {"host": 1, "cookies": [vars(session().cookies[0])]}},
        ],
        ids=json.dumps,
    )
    def test_is_none_if_the_file_holds_none_of_ours(self, written, content):
        assert written(content).session() is None

    @pytest.mark.parametrize(
        "odd",
        [
            {"value": "a\r\nb"},
            {"value": "\ud800"},
            {"value": 1},
            {"name": "other"},
            {"host": "x.example"},
        ],
        ids=json.dumps,
    )
    def test_is_none_if_no_header_can_carry_it(self, written, odd):
        row = {"host": SPACE, "name": "appSession", "value": "x", "expires_s": None}
        content = {"session": {"host": SPACE, "cookies": [row | odd]}}
        assert written(content).session() is None

    @pytest.mark.parametrize(
        "text", ["1e999", "-1e999", "NaN", "1" + "0" * 400, '"x"', "true", "[]"]
    )
    def test_has_no_end_if_the_file_holds_no_moment(self, written, text):
        row = {"host": SPACE, "name": "appSession", "value": "x", "expires_s": "ODD"}
        content = json.dumps({"session": {"host": SPACE, "cookies": [row]}})
        content = content.replace('"ODD"', text)
        assert written(content.encode()).session().expires_s is None

    @pytest.mark.parametrize("moment", ["x", None, [], 1e300, 10**400, True, -1e12], ids=repr)
    def test_names_its_source_whatever_the_time(self, written, folder, moment):
        written({"session": {"source": "a file", "saved_at_s": moment}})
        assert stored_source(Config(folder), "session").startswith("a file")

    def test_is_read_behind_a_byte_order_mark(self, store, written):
        store.save_session(session())
        assert written(b"\xef\xbb\xbf" + store.path.read_bytes()).session() == session()

    def test_is_nowhere_without_a_home(self):
        expected = ("there is no home folder to store credentials in", "export REKA_HOME=FOLDER")
        store = Store(NOWHERE)
        assert failure(lambda: store.save_session(session()), UsageError) == expected
        assert (store.session(), store.clear()) == (None, False)


class TestLoggingOut:
    def test_removes_what_a_killed_process_left(self, store, folder):
        store.save_session(session())
        (folder / ".credentials.json.reka-cli").write_text(CANARY, encoding="utf-8")
        assert (store.clear(), store.clear()) == (True, False)
        assert [path.name for path in folder.iterdir()] == ["credentials.lock"]

    @pytest.mark.parametrize("is_stored", [True, False])
    def test_wins_against_a_question_that_is_fetching_a_token(self, store, folder, is_stored):
        store.save_session(session())
        asking = Store(folder)
        store.clear()
        asking.save_token(FRESH, session(), BASE, session_is_stored=is_stored)
        assert not store.path.exists()

    def test_keeps_no_later_question_from_storing_a_token(self, store, folder):
        store.save_session(session())
        store.clear()
        Store(folder).save_token(FRESH, session(), BASE)
        assert store.token(session(), BASE) == FRESH

    def test_needs_no_lock(self, store, folder, monkeypatch):
        store.save_session(session())
        monkeypatch.setattr(store_file, "_LOCK_S", 0.05)
        with hold_lock(folder / "credentials.lock"):
            assert store.clear()


class TestAStoredToken:
    def test_is_what_was_saved(self, store, folder):
        store.save_token(FRESH, session(), BASE)
        assert Store(folder).token(session(), BASE) == FRESH

    def test_is_written_beside_a_fingerprint_and_no_session(self, store):
        store.save_token(FRESH, session(), BASE)
        assert content_of(store) == {
            "schema": "reka-cli/credentials/1",
            "tokens": [{"session": session().fingerprint, "base_url": BASE, "token": FRESH}],
        }

    @pytest.mark.parametrize(
        ("other", "base_url"),
        [
            (session("other"), BASE),
            (session(), "https://chat.reka.ai"),
            (session(), "https://space.reka.ai:8443"),
            (session(), "https://space.reka.ai/in/front"),
            (session(), "https://space.reka.a"),
            (session(), "http://127.0.0.1:8000"),
        ],
        ids=["session", "host", "port", "path", "beginning", "this_machine"],
    )
    def test_is_not_given_for_another(self, store, other, base_url):
        store.save_token(FRESH, session(), BASE)
        assert store.token(other, base_url) is None

    def test_is_bound_to_the_path_too(self, store):
        store.save_token(jwt(NOW + 3600, "here"), session(), BASE + "/here")
        store.save_token(jwt(NOW + 3600, "there"), session(), BASE + "/there")
        found = [store.token(session(), BASE + path) for path in ("", "/here", "/there")]
        assert found == [None, jwt(NOW + 3600, "here"), jwt(NOW + 3600, "there")]

    def test_takes_the_place_of_the_one_before(self, store):
        store.save_token(jwt(NOW + 3600, "old"), session(), BASE)
        store.save_token(jwt(NOW + 3600, "new"), session(), BASE)
        bound = {"session": session().fingerprint, "base_url": BASE}
        assert content_of(store)["tokens"] == [{**bound, "token": jwt(NOW + 3600, "new")}]

    def test_leaves_the_session_where_it_is(self, store):
        store.save_session(session())
        store.save_token(FRESH, session("other"), BASE)
        assert store.session() == session()

    @pytest.mark.parametrize(
        ("token", "is_given"),
        [
            (jwt(NOW + 61), True),
            (jwt(NOW + 60), False),
            (jwt(NOW + 1), False),
            (jwt(NOW - 1), False),
            ("opaque", False),
            (jwt(None), False),
        ],
        ids=["61_s_left", "60_s_left", "1_s_left", "expired", "opaque", "no_expiry"],
    )
    def test_is_given_until_a_minute_before_its_end(self, store, token, is_given):
        store.save_token(token, session(), BASE)
        assert store.token(session(), BASE) == (token if is_given else None)

    def test_goes_with_the_next_save_once_it_has_expired(self, written):
        def kept(token, base_url):
            return {"session": session().fingerprint, "base_url": base_url, "token": token}

        good = kept(FRESH, "https://good")
        stale = [kept(jwt(NOW + left_s), f"https://{left_s}") for left_s in (60, 0, -1000)]
        damaged = [None, 1, "x", [], {}, {"token": FRESH}, {**good, "token": 1}]
        store = written({"tokens": [*stale, good, *damaged, kept("opaque", "https://opaque")]})
        store.save_token(FRESH, session(), BASE)
        assert content_of(store) == {
            "schema": "reka-cli/credentials/1",
            "tokens": [good, kept(FRESH, BASE)],
        }

    @pytest.mark.parametrize(
        "tokens", [None, 1, "x", {}, [None], [[]], [{"token": FRESH}]], ids=json.dumps
    )
    def test_is_none_if_the_file_holds_none_of_ours(self, written, tokens):
        assert written({"tokens": tokens}).token(session(), BASE) is None


@posix
class TestTheFile:
    @pytest.mark.parametrize("umask", [0, 0o022, 0o077])
    def test_is_for_its_owner_alone_whatever_the_umask(self, store, folder, umask):
        before = os.umask(umask)
        try:
            store.save_session(session())
            store.save_token(FRESH, session(), BASE)
        finally:
            os.umask(before)
        modes = {path.name: mode_of(path) for path in [folder, *folder.iterdir()]}
        assert modes == {"reka-cli": 0o700, "credentials.json": 0o600, "credentials.lock": 0o600}

    @pytest.mark.parametrize(
        "mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777]
    )
    def test_that_others_can_reach_is_refused(self, written, mode):
        store = written({"session": CANARY}, mode)
        expected = (
            f"{store.path} is not yours alone, so it is not used",
            f"chmod 600 {store.path}",
        )
        found = [
            failure(store.session),
            failure(lambda: store.token(session(), BASE)),
            failure(lambda: store.save_session(session())),
            failure(lambda: store.save_token(FRESH, session(), BASE)),
        ]
        assert (found, content_of(store)) == ([expected] * 4, {"session": CANARY})

    @pytest.mark.parametrize(
        "mode", [0o750, 0o720, 0o710, 0o705, 0o702, 0o701, 0o755, 0o777, 0o1777]
    )
    def test_in_a_folder_that_others_can_reach_is_refused(self, written, folder, mode):
        store = written({"session": CANARY})
        folder.chmod(mode)
        expected = (f"{folder} is not yours alone, so it is not used", f"chmod 700 {folder}")
        found = [
            failure(store.session),
            failure(lambda: store.token(session(), BASE)),
            failure(lambda: store.save_session(session())),
            failure(lambda: store.save_token(FRESH, session(), BASE)),
        ]
        assert (found, content_of(store)) == ([expected] * 4, {"session": CANARY})

    def test_is_not_begun_in_a_folder_that_others_can_reach(self, store, folder):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        expected = (f"{folder} is not yours alone, so it is not used", f"chmod 700 {folder}")
        assert (failure(lambda: store.save_session(session())), list(folder.iterdir())) == (
            expected,
            [],
        )

    def test_of_another_user_is_refused(self, written, monkeypatch):
        store = written({})
        monkeypatch.setattr(os, "geteuid", lambda: store.path.stat().st_uid + 1)
        expected = (
            f"{store.path} is not yours alone, so it is not used",
            f"chmod 600 {store.path}",
        )
        assert failure(store.session) == expected

    @pytest.mark.parametrize("exists", [True, False])
    def test_that_is_a_symbolic_link_is_refused(self, store, folder, tmp_path, exists):
        folder.mkdir(mode=0o700, parents=True)
        target = tmp_path / "elsewhere.json"
        if exists:
            target.write_text("{}", encoding="utf-8")
            target.chmod(0o600)
        store.path.symlink_to(target)
        found = [failure(store.session), failure(lambda: store.save_session(session()))]
        expected = (f"cannot read {store.path}: too many levels of symbolic links", None)
        assert (found, store.path.is_symlink()) == ([expected] * 2, True)
        assert (target.exists(), exists and target.read_text(encoding="utf-8")) == (
            exists,
            exists and "{}",
        )

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"{", b"\xff\xfe", b"null", b"[]", b"1", b"[" * 100_000),
            *(f'{{"session": "{CANARY}"'.encode(), CANARY.encode(), CANARY.encode() + b"\xff"),
        ],
        ids=[
            "empty",
            "bracket",
            "no_utf8",
            "null",
            "list",
            "number",
            "deep",
            "cut_off",
            "no_json",
            "half_utf8",
        ],
    )
    def test_that_is_damaged_is_said_to_be(self, written, content):
        store = written(content)
        expected = (f"{store.path} is damaged", "reka-cli logout")
        found = [failure(store.session), failure(lambda: store.save_session(session()))]
        assert (found, store.path.read_bytes()) == ([expected] * 2, content)

    def test_stays_as_it_was_when_the_disk_is_full(self, store, folder, monkeypatch):
        def full(_):
            raise OSError(28, "No space left on device")

        store.save_session(session())
        monkeypatch.setattr(os, "fsync", full)
        expected = (f"cannot write {store.path}: no space left on device", None)
        assert failure(lambda: store.save_session(session("new")), BadInput) == expected
        names = {path.name for path in folder.iterdir()}
        assert (store.session(), names) == (session(), {"credentials.json", "credentials.lock"})

    def test_keeps_what_a_later_version_put_there(self, written):
        store = written({"schema": "reka-cli/credentials/1", "api": {"key": CANARY}})
        store.save_token(FRESH, session(), BASE)
        assert content_of(store)["api"] == {"key": CANARY}


def base_of(writer, count):
    return f"https://space.reka.ai/{writer}/{count}"


# a process of its own: real clock, real time
WRITER = """
import sys
from pathlib import Path
from reka_cli.credentials.store import Store
from reka_cli.cookies.session import Cookie, Session
folder, writer, writes, token = sys.argv[1:]
session = Session("space.reka.ai", (Cookie("space.reka.ai", "appSession", "x"),))
for count in range(int(writes)):
    Store(Path(folder)).save_token(token, session, f"https://space.reka.ai/{writer}/{count}")
"""


@posix
class TestWritersAtTheSameTime:
    everything = sorted(
        base_of(writer, count) for writer in range(WRITERS) for count in range(WRITES)
    )

    def test_in_threads_lose_nothing_and_tear_nothing(self, folder):
        ready = Barrier(WRITERS)

        def write(writer):
            ready.wait()
            for count in range(WRITES):
                Store(folder).save_token(FRESH, session(), base_of(writer, count))
                assert Store(folder).token(session(), base_of(writer, count)) == FRESH

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(write, range(WRITERS)))
        assert (
            sorted(kept["base_url"] for kept in content_of(Store(folder))["tokens"])
            == self.everything
        )

    def test_in_processes_lose_nothing_and_tear_nothing(self, folder):
        endless = jwt(4_000_000_000)
        commands = [
            [sys.executable, "-c", WRITER, str(folder), str(writer), str(WRITES), endless]
            for writer in range(WRITERS)
        ]
        writers = [zygote.Popen(command, cwd=Path(__file__).parent.parent) for command in commands]
        codes = [writer.wait() for writer in writers]
        found = sorted(kept["base_url"] for kept in content_of(Store(folder))["tokens"])
        assert (codes, found) == ([0] * WRITERS, self.everything)

    def test_that_refresh_one_session_store_the_first_that_comes(self, folder):
        ready = Barrier(WRITERS)
        Store(folder).save_session(session("old"))
        mine = [session(f"new{writer}") for writer in range(WRITERS)]

        def refresh(refreshed):
            ready.wait()
            Store(folder).save_session(refreshed, replacing=session("old"))
            return Store(folder).session()

        with ThreadPoolExecutor(WRITERS) as pool:
            seen = list(pool.map(refresh, mine))
        assert seen[0] in mine
        assert seen == [seen[0]] * WRITERS


class TestAccessToTheWebSession:
    @pytest.fixture
    def cookies(self, tmp_path):
        """Give a function that writes a cookie file with sessions of these hosts, valued as the host is named."""

        def write(*hosts):
            path = tmp_path / "cookies.txt"
            lines = [f"{host}\tFALSE\t/\tTRUE\t0\tappSession\tfile-{host}\n" for host in hosts]
            path.write_text("# Netscape HTTP Cookie File\n" + "".join(lines), encoding="utf-8")
            return path

        return write

    @staticmethod
    def from_file(host):
        return Session(host, (Cookie(host, "appSession", f"file-{host}"),))

    @staticmethod
    def of(config):
        """Give the access without its store, and the path of that."""
        access = web_access(config)
        return access and (replace(access, store=None), access.store and access.store.path)

    def test_is_none_without_credentials(self, folder):
        assert (web_access(Config(folder)), folder.exists()) == (None, False)

    def test_is_the_stored_session(self, store, folder):
        store.save_session(session())
        expected = WebAccess(BASE, session=session(), session_is_stored=True)
        assert self.of(Config(folder)) == (expected, store.path)

    def test_is_the_cookie_file_before_the_store(self, store, folder, cookies):
        store.save_session(session())
        expected = WebAccess(f"https://{CHAT}", session=self.from_file(CHAT))
        assert self.of(Config(folder, cookies_file=cookies(CHAT))) == (expected, store.path)

    def test_is_the_token_before_the_cookie_file_and_the_store(self, store, folder, cookies):
        store.save_session(session(host=CHAT))
        config = Config(folder, token=CANARY, cookies_file=cookies(CHAT))
        assert self.of(config) == (WebAccess(BASE, token=CANARY), None)

    def test_does_not_look_at_what_the_token_beats(self, written, folder):
        written(b"damaged", 0o666)
        config = Config(folder, token=CANARY, cookies_file=folder / "nowhere")
        assert self.of(config) == (WebAccess(BASE, token=CANARY), None)

    def test_does_not_look_at_the_store_that_the_cookie_file_beats(self, written, folder, cookies):
        store = written(b"damaged", 0o666)
        expected = WebAccess(BASE, session=self.from_file(SPACE))
        assert self.of(Config(folder, cookies_file=cookies(SPACE))) == (expected, store.path)

    @pytest.mark.parametrize("host", [SPACE, CHAT])
    def test_is_at_the_host_of_the_session(self, store, folder, cookies, host):
        store.save_session(session(host=host))
        found = [web_access(Config(folder)), web_access(Config(folder, cookies_file=cookies(host)))]
        assert [access.base_url for access in found] == [f"https://{host}"] * 2

    @pytest.mark.parametrize(
        "base", ["http://127.0.0.1:8000/in/front", "https://chat.reka.ai:8443", "https://reka.ai"]
    )
    def test_is_at_the_base_if_one_is_given(self, store, folder, cookies, base):
        store.save_session(session())
        configs = [Config(folder, web_base=base, token=CANARY), Config(folder, web_base=base)]
        found = [
            web_access(config)
            for config in [
                *configs,
                Config(folder, web_base=base, cookies_file=cookies(SPACE, CHAT)),
            ]
        ]
        assert [access.base_url for access in found] == [base] * 3

    @pytest.mark.parametrize("host", [SPACE, CHAT])
    def test_is_the_session_of_the_host_of_the_base(self, folder, cookies, host):
        config = Config(
            folder, web_base=f"https://{host}:8443/in/front", cookies_file=cookies(SPACE, CHAT)
        )
        assert web_access(config).session == self.from_file(host)

    def test_is_not_the_stored_session_if_the_cookie_file_does_not_help(
        self, store, folder, cookies
    ):
        store.save_session(session())
        path = cookies("example.com")
        message = f"{path} has no session cookie (appSession) of space.reka.ai or chat.reka.ai"
        expected = (message, "log in at https://space.reka.ai and export again")
        assert failure(lambda: web_access(Config(folder, cookies_file=path))) == expected

    def test_is_not_the_stored_session_if_the_cookie_file_is_missing(self, store, folder, tmp_path):
        store.save_session(session())
        with pytest.raises(BadInput) as caught:
            web_access(Config(folder, cookies_file=tmp_path / "nowhere"))
        assert caught.value.message == f"cannot read {tmp_path / 'nowhere'}: no such file"

    @posix
    def test_is_refused_if_others_can_read_the_store(self, written, folder):
        store = written({}, 0o644)
        expected = (
            f"{store.path} is not yours alone, so it is not used",
            f"chmod 600 {store.path}",
        )
        assert failure(lambda: web_access(Config(folder))) == expected

    def test_shows_no_secret(self):
        cookie = f"Cookie(host='{SPACE}', name='appSession', expires_s={NOW + 1000.25!r})"
        expected = (
            f"WebAccess(base_url='{BASE}', session=Session(host='{SPACE}', cookies=({cookie},)), "
            "store=None, session_is_stored=False)"
        )
        assert repr(WebAccess(BASE, token=CANARY, session=session())) == expected
