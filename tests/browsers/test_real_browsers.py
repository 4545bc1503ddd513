"""The session out of real browsers: Debian's `chromium` and `firefox-esr`, closed and running."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browsers import Chromium, Firefox, Site, firefox_binary, served, wait_for
from conftest import ROOT, Result, Service

from reka_cli.cookies.browsers import Profile, ProfileResult, find_session, profiles

SPACE, CHAT = "space.reka.ai", "chat.reka.ai"
CHUNKS = {"appSession.0": "c0" * 1985, "appSession.1": "c1" * 600}
SINGLE = "eyJhbGciOiJkaXIifQ.." + "s" * 900
NEIGHBOURS = ("myspace.reka.ai", "notreka.ai")
LASTING = "Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age="
COOKIES = {
    (SPACE, "/"): [
        *(f"{name}={value}; {LASTING}90000" for name, value in CHUNKS.items()),
        f"_ga=1; {LASTING}90000",
    ],
    (SPACE, "/renewed"): [
        f"{name}={'new' + value[3:]}; {LASTING}95000" for name, value in CHUNKS.items()
    ],
    (SPACE, "/partitioned"): [
        "appSession=OTHER; Max-Age=99000; Path=/; Secure; SameSite=None; Partitioned"
    ],
    (CHAT, "/"): [f"appSession={SINGLE}; {LASTING}80000"],
    **{(host, "/"): [f"appSession=FOREIGN; {LASTING}99000"] for host in NEIGHBOURS},
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="apt-get install chromium"),
    pytest.mark.skipif(not firefox_binary(), reason="apt-get install firefox-esr"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="apt-get install openssl"),
]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    yield
    assert list(tmp_path.glob("reka-cli-*")) == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("site"), COOKIES) as site:
        yield site


@dataclass(frozen=True)
class ChromiumHome:
    """A home in which Chromium was used, and what was to be seen while it ran."""

    path: Path
    while_running: ProfileResult


@pytest.fixture(scope="module")
def chromium(site: Site, tmp_path_factory: pytest.TempPathFactory) -> ChromiumHome:
    home = tmp_path_factory.mktemp("chromium")
    # its own home is another one: it does not let itself be steered in its usual place
    browser = Chromium(home / ".config/chromium", tmp_path_factory.mktemp("elsewhere"), site.port)
    try:
        for url in (f"{SPACE}/", f"{CHAT}/", *(f"{host}/" for host in NEIGHBOURS)):
            browser.visit(f"https://{url}")
        (profile,) = profiles(home)
        while_running = find_session(profile, time.time())
        browser.visit("https://evil.example/frame")
        wait_for(lambda: (SPACE, "appSession") in browser.cookies())
        browser.close()
    finally:
        browser.kill()
    return ChromiumHome(home, while_running)


@dataclass
class FirefoxHome:
    """A home in which Firefox is running, and the container it has a login in."""

    path: Path
    browser: Firefox
    container: str

    def look(self, container: str | None = None) -> ProfileResult:
        (profile,) = profiles(self.path)
        assert (profile.browser, profile.name) == ("firefox", "lab")
        return find_session(profile, time.time(), container)


@pytest.fixture(scope="module")
def firefox(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirefoxHome]:
    home = tmp_path_factory.mktemp("firefox")
    browser = Firefox(home)
    try:
        for url in (
            f"{SPACE}:{site.port}/",
            f"{CHAT}:{site.port}/",
            *(f"{host}:{site.port}/" for host in NEIGHBOURS),
        ):
            browser.visit(f"https://{url}")
        browser.visit(f"https://evil.example:{site.port}/frame")
        browser.run_privileged(IN_CONTAINER)
        yield FirefoxHome(home, browser, "Lab")
    finally:
        browser.kill()


IN_CONTAINER = """
const service = ChromeUtils.importESModule("resource://gre/modules/ContextualIdentityService.sys.mjs").ContextualIdentityService;
const userContextId = service.create("Lab", "briefcase", "red").userContextId;
Services.cookies.add("space.reka.ai", "/", "appSession", "CONTAINER", true, true, false, Date.now() + 864e5,
  {userContextId}, Ci.nsICookie.SAMESITE_LAX, Ci.nsICookie.SCHEME_HTTPS);
"""


def values(found: ProfileResult) -> dict[str, str] | None:
    return (
        {cookie.name: cookie.value for cookie in found.session.cookies} if found.session else None
    )


def own_copy(home: Path, tmp_path: Path) -> Profile:
    (profile,) = profiles(home)
    return Profile(
        profile.browser,
        profile.name,
        Path(shutil.copy(profile.database, tmp_path / profile.database.name)),
    )


def changed(profile: Profile, *statements: str) -> Profile:
    with contextlib.closing(sqlite3.connect(profile.database)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return profile


def test_a_closed_chromium_gives_the_session(chromium: ChromiumHome) -> None:
    (profile,) = profiles(chromium.path)
    found = find_session(profile, time.time())
    assert (profile.browser, values(found), found.problem) == ("chromium", CHUNKS, None)
    assert found.session
    assert found.session.host == SPACE
    assert found.session.expires_s
    assert 89_000 < found.session.expires_s - time.time() < 90_000


def test_a_running_chromium_that_has_written_nothing_yet_says_so(chromium: ChromiumHome) -> None:
    found = chromium.while_running
    assert found.problem == "no_session"
    assert (
        found.message == "no Reka login; while it runs, the browser writes cookies up to 30 s late"
    )


def test_a_chromium_with_the_session_in_another_sites_page_only_says_so(
    chromium: ChromiumHome, tmp_path: Path
) -> None:
    profile = changed(
        own_copy(chromium.path, tmp_path), "delete from cookies where top_frame_site_key = ''"
    )
    assert find_session(profile, time.time()).problem == "partitioned_only"


def test_the_other_host_is_taken_when_it_alone_has_a_session(
    chromium: ChromiumHome, tmp_path: Path
) -> None:
    profile = changed(
        own_copy(chromium.path, tmp_path), f"delete from cookies where host_key = '{SPACE}'"
    )
    assert values(find_session(profile, time.time())) == {"appSession": SINGLE}


def test_cron_reads_a_chromium_without_any_environment(chromium: ChromiumHome) -> None:
    code = "import time; from reka_cli.cookies.browsers import find_session, profiles; print(find_session(profiles()[0], time.time()).message)"
    command = ["env", "-i", f"HOME={chromium.path}", sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout[:14], ended.stderr) == ("session until ", "")


@pytest.mark.skipif(not shutil.which("dbus-run-session"), reason="apt-get install dbus")
def test_a_keyring_that_hangs_ends_at_the_deadline_and_only_for_what_needs_it(
    chromium: ChromiumHome, tmp_path: Path
) -> None:
    services = tmp_path / "dbus-1/services"
    services.mkdir(parents=True)
    (services / "secrets.service").write_text(
        "[D-BUS Service]\nName=org.freedesktop.secrets\nExec=/bin/sleep 9\n"
    )
    v11 = "update cookies set encrypted_value = cast('v11' || substr(encrypted_value, 4) as blob)"
    in_keyring = changed(own_copy(chromium.path, tmp_path), v11)
    (plain,) = profiles(chromium.path)
    code = """if True:
        import json, sys, time
        from pathlib import Path
        from reka_cli.cookies.browsers import Profile, find_session
        for path in sys.argv[1:]:
            began = time.monotonic()
            print(json.dumps([find_session(Profile("chromium", "", Path(path)), time.time(), None, 2.0).problem, time.monotonic() - began]))
    """
    paths = [str(plain.database), str(in_keyring.database)]
    ended = subprocess.run(
        ["dbus-run-session", "--", sys.executable, "-c", code, *paths],
        env=os.environ | {"XDG_DATA_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    (plain_problem, plain_s), (problem, hung_s) = map(json.loads, ended.stdout.splitlines())
    assert (plain_problem, problem) == (None, "keyring_timeout")
    assert plain_s < 2 < hung_s < 4


def test_a_running_firefox_gives_the_session_and_the_renewed_one(
    firefox: FirefoxHome, site: Site
) -> None:
    wait_for(lambda: values(firefox.look()) == CHUNKS)
    firefox.browser.visit(f"https://{SPACE}:{site.port}/renewed")
    renewed = {name: "new" + value[3:] for name, value in CHUNKS.items()}
    wait_for(lambda: values(firefox.look()) == renewed)
    (profile,) = profiles(firefox.path)
    # what the library, and any other reader of the main file alone, still sees
    assert b"new" + b"c0" * 10 not in profile.database.read_bytes()


def test_a_container_of_firefox_is_named_and_read(firefox: FirefoxHome) -> None:
    wait_for(lambda: firefox.look().containers == ("Lab",))
    assert values(firefox.look(container="lab")) == {"appSession": "CONTAINER"}


def test_a_closed_firefox_gives_the_same(firefox: FirefoxHome, site: Site, tmp_path: Path) -> None:
    firefox.browser.visit(f"https://{SPACE}:{site.port}/")
    firefox.browser.close()
    found = firefox.look()
    assert (values(found), found.containers) == (CHUNKS, ("Lab",))
    assert found.session
    assert found.session.expires_s
    assert 89_000 < found.session.expires_s - time.time() < 90_000
    only_partitioned = "delete from moz_cookies where originAttributes = '' or originAttributes like '^userContextId%'"
    assert (
        find_session(
            changed(own_copy(firefox.path, tmp_path), only_partitioned), time.time()
        ).problem
        == "partitioned_only"
    )


def test_login_from_real_profiles_lasts_for_a_cron_job(
    chromium: ChromiumHome, firefox: FirefoxHome, service: Service, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(chromium.path / ".config/chromium", home / ".config/chromium", symlinks=True)
    shutil.copytree(firefox.path / ".config/mozilla", home / ".config/mozilla", symlinks=True)
    bare = {"HOME": str(home), "PATH": "/usr/bin:/bin", "REKA_WEB_BASE": service.url}

    def run(*arguments: str) -> Result:
        ended = subprocess.run(
            [sys.executable, "-m", "reka_cli", *arguments],
            env=bare,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)

    login, ask, check = (
        run("login"),
        run("ask", "hello", "-n"),
        run("status", "--check", "--warn-days", "0"),
    )

    assert (login.exit_code, login.stderr) == (0, "")
    assert {line.split("\t")[0] for line in login.stdout.splitlines()[:-1]} == {
        "chromium",
        "firefox",
    }
    assert login.stdout.splitlines()[-1].startswith(f"logged in at {SPACE}, until 20")
    assert service.received[0].headers["cookie"].startswith("appSession.0=")
    assert (ask.exit_code, ask.stderr) == (0, "")
    assert ask.stdout.endswith("Your question was: hello\n")
    assert (check.exit_code, check.stderr) == (0, "")
    secrets = ("c0c0", "c1c1", "ssss", "FOREIGN")
    assert [one for one in secrets if one in "".join(map(str, (login, ask, check)))] == []
    kept = (home / ".local/state/reka-cli/credentials.json").read_text()
    assert ("FOREIGN" in kept, SINGLE in kept) == (False, False)
