"""`login`, `status` and `logout`: credentials that last, and are found nowhere but in their file."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zygote
from conftest import COOKIE_VALUE, ROOT, Result, Run, Service, write_cookies

from reka_cli.commands.status import format_relative_time

DAY = 86_400
ANSWER = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello\n"


@pytest.fixture
def env(service: Service) -> dict[str, str]:
    """A user whose Reka is the sandbox."""
    return {"REKA_WEB_BASE": service.url}


def firefox(
    home: Path, profile: str, value: str, ends_s: float, host: str = "space.reka.ai"
) -> Path:
    """Make a Firefox profile whose cookie database has one session, as Firefox 153 writes it."""
    folder = home / ".config/mozilla/firefox" / profile
    folder.mkdir(parents=True)
    database = sqlite3.connect(folder / "cookies.sqlite")
    database.execute("pragma user_version=17")
    database.execute(
        "create table moz_cookies(id integer primary key, originAttributes text not null default '', name text,"
        " value text, host text, path text, expiry integer, lastAccessed integer, creationTime integer,"
        " isSecure integer, isHttpOnly integer, inBrowserElement integer default 0, sameSite integer default 0,"
        " schemeMap integer default 0, isPartitionedAttributeSet integer default 0, updateTime integer)"
    )
    database.execute(
        "insert into moz_cookies(name, value, host, path, expiry, isSecure, isHttpOnly) values(?, ?, ?, '/', ?, 1, 1)",
        ("appSession", value, host, int(ends_s * 1000)),
    )
    database.commit()
    database.close()
    return folder / "cookies.sqlite"


def holders(folder: Path, secret: str) -> list[str]:
    """The files below a folder that hold a secret."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    )


class TestFromAFile:
    def test_the_session_is_checked_and_kept(
        self, run: Run, service: Service, env: dict[str, str], cookies_file: Path, home: Path
    ) -> None:
        result = run("login", "--cookies", str(cookies_file), env=env)

        told = (
            f"logged in at space.reka.ai, until the service ends it, from the file {cookies_file}\n"
        )
        assert result == Result(0, told, "")
        assert service.paths == ["/bff/auth/access_token"]
        assert holders(home, COOKIE_VALUE) == ["credentials.json"]
        assert run("ask", "hello", env=env) == Result(0, ANSWER, "")

    def test_it_may_come_through_standard_input(
        self, run: Run, env: dict[str, str], cookies_file: Path
    ) -> None:
        result = run("login", "--cookies", "-", env=env, stdin=cookies_file.read_bytes())

        told = "logged in at space.reka.ai, until the service ends it, from standard input\n"
        assert result == Result(0, told, "")

    def test_a_dead_session_is_not_kept(
        self, run: Run, env: dict[str, str], cookies_file: Path, home: Path
    ) -> None:
        write_cookies(cookies_file, {"appSession": "sandbox-expired"})

        result = run("login", "--cookies", str(cookies_file), env=env)

        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith(
            "error: the web session is no longer valid: the service wants a login\n"
        )
        assert list(home.iterdir()) == []

    def test_it_is_kept_unseen_if_that_is_wanted(
        self, run: Run, service: Service, env: dict[str, str], cookies_file: Path
    ) -> None:
        assert run("login", "--cookies", str(cookies_file), "--no-verify", env=env).exit_code == 0
        assert service.received == []

    def test_a_session_that_was_refreshed_by_the_check_is_the_one_that_is_kept(
        self, run: Run, env: dict[str, str], cookies_file: Path, home: Path
    ) -> None:
        write_cookies(cookies_file, {"appSession": "sandbox-rotate-a"})

        run("login", "--cookies", str(cookies_file), env=env)

        assert holders(home, "sandbox-rotate-ax") == ["credentials.json"]

    def test_a_file_that_is_none_is_told(self, run: Run, tmp_path: Path) -> None:
        result = run("login", "--cookies", str(tmp_path / "nothing.txt"))

        told = f"error: cannot read {tmp_path}/nothing.txt: no such file\n"
        assert result == Result(5, "", told)

    @pytest.mark.parametrize("way", ["file", "stdin"])
    def test_of_sessions_of_both_hosts_that_of_the_base_is_taken(
        self, run: Run, tmp_path: Path, way: str
    ) -> None:
        path = tmp_path / "both.txt"
        rows = [
            f"#HttpOnly_{host}\tFALSE\t/\tTRUE\t0\tappSession\tvalue-of-{host}"
            for host in ("space.reka.ai", "chat.reka.ai")
        ]
        path.write_text("# Netscape HTTP Cookie File\n" + "\n".join(rows) + "\n")

        given = {"stdin": path.read_bytes()} if way == "stdin" else {}
        name = "-" if way == "stdin" else str(path)
        result = run(
            "login",
            "--no-verify",
            "--cookies",
            name,
            env={"REKA_WEB_BASE": "https://chat.reka.ai"},
            **given,
        )

        assert (result.exit_code, result.stdout.partition(",")[0], result.stderr) == (
            0,
            "logged in at chat.reka.ai",
            "",
        )

    def test_a_store_that_cannot_be_written_is_told(
        self, run: Run, cookies_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        state = {"XDG_STATE_HOME": str(tmp_path / "file"), "REKA_HOME": "", "HOME": str(tmp_path)}
        told = f"error: cannot write {tmp_path}/file/reka-cli/credentials.json: no such folder\n"
        assert run("login", "--no-verify", "--cookies", str(cookies_file), env=state) == Result(
            5, "", told
        )


class TestFromABrowser:
    def test_the_newest_live_session_is_taken(
        self, run: Run, env: dict[str, str], home: Path
    ) -> None:
        firefox(home, "aa.old", "canary-older", time.time() + 1 * DAY)
        firefox(home, "bb.new", "canary-newer", time.time() + 5 * DAY)
        firefox(home, "cc.other", "canary-foreign", time.time() + 9 * DAY, host="notreka.ai")

        result = run("login", env=env)

        assert (result.exit_code, result.stderr) == (0, "")
        assert "logged in at space.reka.ai, until " in result.stdout
        assert "canary" not in result.stdout
        assert holders(home, "canary-newer") == ["cookies.sqlite", "credentials.json"]
        assert holders(home, "canary-older") == ["cookies.sqlite"]
        assert run("ask", "hello", env=env) == Result(0, ANSWER, "")

    def test_list_only_looks(
        self, run: Run, service: Service, env: dict[str, str], home: Path
    ) -> None:
        firefox(home, "aa.default", "canary-session", time.time() + DAY)

        result = run("login", "--list", env=env)

        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith("firefox\t")
        assert service.received == []
        assert holders(home, "canary-session") == ["cookies.sqlite"]

    def test_another_browser_can_be_meant(self, run: Run, env: dict[str, str], home: Path) -> None:
        firefox(home, "aa.default", "canary-session", time.time() + DAY)

        result = run("login", "--browser", "chromium", env=env)

        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith(
            "error: no browser has a session of Reka that can be used\nhint: "
        )

    def test_an_expired_session_is_told(self, run: Run, env: dict[str, str], home: Path) -> None:
        firefox(home, "aa.default", "canary-session", time.time() - DAY)

        result = run("login", env=env)

        assert (
            result.exit_code,
            "expired" in result.stdout,
            "canary" in result.stdout + result.stderr,
        ) == (
            3,
            True,
            False,
        )

    def test_it_works_as_cron_starts_it(self, env: dict[str, str], home: Path) -> None:
        firefox(home, "aa.default", "canary-session", time.time() + DAY)
        bare = {"HOME": str(home), "REKA_HOME": str(home / "reka"), "PATH": "/usr/bin:/bin", **env}
        ended = [
            zygote.run(
                [sys.executable, "-m", "reka_cli", *arguments],
                env=bare,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            for arguments in (["login"], ["ask", "hello", "-n"])
        ]

        assert [(one.returncode, one.stderr) for one in ended] == [(0, ""), (0, "")]


class TestSecretsThatAreTyped:
    @pytest.mark.parametrize("key", ["", "a b", "caf\u00e9", "a\x00b"])
    def test_what_is_no_key_is_refused(self, run: Run, key: str) -> None:
        result = run("login", "--api-key", stdin=f"{key}\n".encode())

        assert result == Result(
            5, "", "error: that is no API key: it is empty, or holds what no header can carry\n"
        )

    def test_a_key_is_kept_for_its_base_url_alone(
        self, run: Run, service: Service, home: Path
    ) -> None:
        base = {"REKA_API_BASE": f"{service.url}/v1", "REKA_MODEL": "sandbox"}

        result = run("login", "--api-key", env=base, stdin=b"canary-key-1234\n")

        assert result == Result(0, f"the key for {service.url}/v1 is kept\n", "")
        assert holders(home, "canary-key-1234") == ["credentials.json"]
        assert run("ask", "hello", env=base) == Result(0, ANSWER, "")
        assert service.received[-1].headers["authorization"] == "Bearer canary-key-1234"
        other = base | {"REKA_API_BASE": f"http://localhost:{service.host.rpartition(':')[2]}/v1"}
        assert run("ask", "hello", env=other).exit_code == 0
        assert "authorization" not in service.received[-1].headers

    def test_a_key_of_the_environment_beats_it(self, run: Run, service: Service) -> None:
        base = {"REKA_API_BASE": f"{service.url}/v1", "REKA_MODEL": "sandbox"}
        run("login", "--api-key", env=base, stdin=b"stored-key-1234\n")
        run("ask", "hello", env=base | {"REKA_API_KEY": "other-key-1234"})

        assert service.received[-1].headers["authorization"] == "Bearer other-key-1234"

    def test_a_key_that_is_not_taken_is_not_kept(
        self, run: Run, service: Service, home: Path
    ) -> None:
        result = run(
            "login",
            "--api-key",
            env={"REKA_API_BASE": f"{service.url}/v1"},
            stdin=b"sandbox-bad-key\n",
        )

        assert (result.exit_code, result.stdout, list(home.iterdir())) == (3, "", [])

    def test_a_token_is_kept(
        self, run: Run, service: Service, env: dict[str, str], home: Path
    ) -> None:
        result = run("login", "--token", env=env, stdin=f"{service.server.token}\n".encode())

        assert result == Result(0, "the token of the web session is kept\n", "")
        assert holders(home, service.server.token) == ["credentials.json"]
        assert run("ask", "hello", env=env) == Result(0, ANSWER, "")
        assert service.paths == ["/api/chat"]

    def test_a_prompt_on_a_terminal_shows_nothing_of_it(
        self, clean_env: dict[str, str], home: Path
    ) -> None:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "reka_cli", "login", "--token"]
        with zygote.Popen(
            command,
            env=clean_env,
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ):
            os.close(theirs)
            shown = b""
            while b"bearer token: " not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, b"canary-token-1234\n")
            while b"is kept" not in shown:
                shown += os.read(ours, 1000)
        os.close(ours)

        assert b"canary" not in shown
        assert holders(home, "canary-token-1234") == ["credentials.json"]

    def test_only_one_way_can_be_meant(self, run: Run) -> None:
        told = "error: only one of --browser, --cookies, --token and --api-key can be meant\n"
        assert run("login", "--token", "--api-key") == Result(2, "", told)


class TestExport:
    def test_it_is_a_cookie_file_for_another_machine(
        self, run: Run, env: dict[str, str], cookies_file: Path, tmp_path: Path, home: Path
    ) -> None:
        write_cookies(cookies_file, {"appSession.0": "canary-a", "appSession.1": "canary-b"})
        run("login", "--cookies", str(cookies_file), env=env)
        exported = tmp_path / "for-cron.txt"

        result = run("login", "--export", str(exported), env=env)

        assert result == Result(0, f"export REKA_COOKIES={exported}\n", "")
        assert exported.stat().st_mode & 0o777 == 0o600
        run("logout")
        assert run("ask", "hello", env=env | {"REKA_COOKIES": str(exported)}) == Result(
            0, ANSWER, ""
        )

    def test_standard_output_is_written_to_as_it_is(
        self, run: Run, env: dict[str, str], cookies_file: Path, tmp_path: Path
    ) -> None:
        write_cookies(cookies_file, {"appSession": "canary-a"})
        run("login", "--no-verify", "--cookies", str(cookies_file), env=env)
        place = tmp_path / "place"
        place.symlink_to("/dev/stdout")

        result = run("login", "--export", str(place), env=env)

        row = "#HttpOnly_space.reka.ai\tFALSE\t/\tTRUE\t0\tappSession\tcanary-a\n"
        told = f"# Netscape HTTP Cookie File\n{row}export REKA_COOKIES={place}\n"
        assert (result, place.is_symlink()) == (Result(0, told, ""), True)

    def test_there_must_be_something_to_export(self, run: Run, tmp_path: Path) -> None:
        result = run(
            "login", "--export", str(tmp_path / "x"), env={"REKA_HOME": str(tmp_path / "none")}
        )

        assert result.exit_code == 3


class TestStatus:
    def test_it_tells_of_every_provider(self, run: Run) -> None:
        lines = [line.split("\t") for line in run("status").stdout.splitlines()]

        assert [line[0] for line in lines] == ["api", "local", "sandbox", "web"]
        assert lines[0] == ["api", "not ready", "no key: reka-cli login --api-key"]
        assert lines[2] == ["sandbox", "ready", "nothing needed"]
        assert lines[3] == ["web", "not ready", "no session: reka-cli login"]

    def test_it_names_sources_and_lengths_and_no_secret(self, run: Run, cookies_file: Path) -> None:
        secrets = {"REKA_COOKIES": str(cookies_file), "REKA_API_KEY": "canary-key-1234"}

        lines = run("status", env=secrets).stdout.splitlines()

        assert (
            lines[3]
            == f"web\tready\tREKA_COOKIES ({cookies_file}); appSession of {len(COOKIE_VALUE)} characters"
        )
        assert (
            lines[0] == "api\tready\tREKA_API_KEY, for https://api.reka.ai/v1; key of 15 characters"
        )
        assert "canary" not in "".join(lines).replace(str(cookies_file), "")

    def test_it_is_json_for_programs(self, run: Run, service: Service) -> None:
        found = json.loads(run("status", "--json", env={"REKA_TOKEN": service.server.token}).stdout)

        web = found["providers"][3]
        assert (found["schema"], web["provider"], web["ready"], web["source"]) == (
            "reka-cli/status/1",
            "web",
            True,
            "REKA_TOKEN",
        )
        assert 0 < web["expires_s"] - time.time() <= DAY

    @pytest.mark.parametrize(
        ("value", "exit_code"),
        [("any-session", 0), ("sandbox-expired", 3), ("sandbox-login-page", 3)],
    )
    def test_check_tells_a_dead_session_from_a_live_one(
        self, run: Run, env: dict[str, str], cookies_file: Path, value: str, exit_code: int
    ) -> None:
        write_cookies(cookies_file, {"appSession": value})

        assert (
            run("status", "--check", env=env | {"REKA_COOKIES": str(cookies_file)}).exit_code
            == exit_code
        )

    def test_check_warns_when_few_days_are_left(
        self, run: Run, env: dict[str, str], tmp_path: Path
    ) -> None:
        path = tmp_path / "cookies.txt"
        path.write_text(
            f"# Netscape HTTP Cookie File\n.space.reka.ai\tTRUE\t/\tTRUE\t{time.time() + 1.5 * DAY:.0f}\tappSession\tx\n"
        )

        soon = run("status", "--check", env=env | {"REKA_COOKIES": str(path)})
        enough = run("status", "--check", "--warn-days", "1", env=env | {"REKA_COOKIES": str(path)})

        assert (soon.exit_code, soon.stderr) == (
            0,
            "notice: the credentials of web end in 1 day: reka-cli login\n",
        )
        assert (enough.exit_code, enough.stderr) == (0, "")

    def test_check_of_a_key_asks_for_the_models(self, run: Run, service: Service) -> None:
        base = {"REKA_API_BASE": f"{service.url}/v1"}

        assert run("status", "--check", env=base | {"REKA_API_KEY": "any-key"}).exit_code == 0
        assert (
            run("status", "--check", env=base | {"REKA_API_KEY": "sandbox-bad-key"}).exit_code == 3
        )
        assert service.paths == ["/v1/models"] * 2

    def test_check_of_an_old_token_exits_3(self, run: Run, env: dict[str, str]) -> None:
        import base64

        claims = base64.urlsafe_b64encode(b'{"exp": 1000000000}').decode().rstrip("=")
        result = run("status", "--check", env=env | {"REKA_TOKEN": f"e30.{claims}.x"})

        assert (result.exit_code, "has expired" in result.stderr) == (3, True)

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (6.5 * DAY, "in 6 days"),
            (1.5 * DAY, "in 1 day"),
            (5.5 * 3600, "in 5 hours"),
            (90, "in 1 minute"),
            (5, "now"),
            (-3.5 * DAY, "3 days ago"),
        ],
    )
    def test_a_moment_is_put_in_words(self, seconds: float, words: str) -> None:
        assert format_relative_time(time.time() + seconds) == words


@pytest.mark.parametrize(
    "name", ["a b;touch x", "it's", "x\x1b]0;y\x07\u202e.txt", "a\\b'\n", "$HOME", "~"], ids=repr
)
def test_the_line_to_paste_names_the_exported_file(
    run: Run, env: dict[str, str], cookies_file: Path, tmp_path: Path, name: str
) -> None:
    run("login", "--cookies", str(cookies_file), env=env)
    path = tmp_path / name
    line = run("login", "--export", str(path), env=env).stdout
    script = f'{line}printf %s "$REKA_COOKIES"'
    pasted = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)

    assert (pasted.stdout, path.exists()) == (str(path), True)
    assert line.removesuffix("\n").isprintable()


def test_logout_removes_what_was_kept(
    run: Run, env: dict[str, str], cookies_file: Path, home: Path
) -> None:
    run("login", "--cookies", str(cookies_file), env=env)

    results = [run("logout"), run("logout")]

    rest = "the browser stays logged in, and environment variables still count\n"
    assert results == [
        Result(0, f"removed {home}/credentials.json; {rest}", ""),
        Result(0, f"there was nothing stored; {rest}", ""),
    ]
    assert holders(home, COOKIE_VALUE) == []


@pytest.mark.slow
def test_a_secret_is_found_nowhere_but_in_its_file(
    run: Run, service: Service, env: dict[str, str], home: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir(mode=0o700)
    env = env | {
        "TMPDIR": str(temporary),
        "XDG_RUNTIME_DIR": str(temporary),
        "REKA_PROVIDER": "web",
    }
    firefox(home, "aa.default", "canary-session-value", time.time() + DAY)
    faults = (
        "401",
        "403",
        "429",
        "500",
        "html",
        "cut",
        "garbage",
        "error-event",
        "length",
        "hang-up",
        "redirect",
    )
    commands = [
        ["login"],
        ["login", "--list"],
        ["login", "--browser", "firefox:nobody"],
        ["status"],
        ["status", "--json", "--check"],
        ["models", "--debug"],
        *(
            ["ask", "hello", "-n", "--debug", "--retries", "0", "-m", f"sandbox-{fault}"]
            for fault in faults
        ),
        ["ask", "hello", "-n", "--debug", "--max-tokens", "5"],
        ["ask", "hello", "-n", "--debug", "-i", "missing.jpg"],
    ]

    said = "".join(
        f"{one.stdout}{one.stderr}" for one in (run(*command, env=env) for command in commands)
    )
    tokens = {
        one.headers["authorization"].removeprefix("Bearer ")
        for one in service.received
        if "authorization" in one.headers
    }

    assert tokens
    assert [secret for secret in ("canary-session-value", *tokens) if secret in said] == []
    assert holders(home, "canary-session-value") == ["cookies.sqlite", "credentials.json"]
    assert {name for token in tokens for name in holders(home, token)} <= {"credentials.json"}
    assert list(temporary.rglob("*")) == []
