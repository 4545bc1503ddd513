"""`reka-cli login`: the user's credentials, from a browser, a file or a hidden prompt, into the store."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from reka_cli import credentials
from reka_cli.client import Client, run_to_completion
from reka_cli.commands._options import INPUT, OUTPUT, CheckTimeoutOption, QuietOption
from reka_cli.config import Config
from reka_cli.cookies.session import Session, netscape
from reka_cli.cookies.tokens import is_bearer
from reka_cli.credentials import WebAccess
from reka_cli.credentials.store import Store
from reka_cli.errors import BadInput, NotLoggedIn, UsageError
from reka_cli.escapes import clean
from reka_cli.files import output_file, show_path, translate_write_errors, write_text
from reka_cli.limits.call import Call, Limits
from reka_cli.limits.deadline import Deadline
from reka_cli.terminal import Terminal
from reka_cli.terminal.stdin import secret

if TYPE_CHECKING:
    from reka_cli.cookies.browsers import ProfileResult

_LARGEST_STDIN = 50 << 20  # bytes of a cookie file


def login(
    browser: Annotated[
        str | None,
        Option(
            "--browser",
            metavar="NAME[:PROFILE]",
            help="Take the web session from this browser only, or from one of its profiles.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    container: Annotated[
        str | None,
        Option(
            "--container",
            metavar="NAME",
            help="Take the web session from this Firefox container.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    cookies: Annotated[
        str | None,
        Option(
            "--cookies",
            metavar="FILE",
            help="Take the web session from a cookie file, or with - from standard input.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    token: Annotated[
        bool,
        Option(
            "--token",
            help="Read a bearer token of the web session, from a hidden prompt or standard input.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    api_key: Annotated[
        bool,
        Option(
            "--api-key",
            help="Read an API key, from a hidden prompt or standard input.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    no_verify: Annotated[
        bool,
        Option(
            "--no-verify",
            help="Store the credentials without asking the service whether it accepts them.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    only_list: Annotated[
        bool,
        Option(
            "--list",
            help="List the browser profiles and what was found in each, and store nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    export: Annotated[
        str | None,
        Option(
            "--export",
            metavar="FILE",
            help="Write the web session to a cookie file, for use on another machine.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    timeout: CheckTimeoutOption = 60.0,
    quiet: QuietOption = False,
) -> None:
    """Log in with the web session of a browser, or an API key.

    Examples:
        reka-cli login --api-key
        reka-cli login --browser firefox
        reka-cli login --cookies cookies.txt

    The credentials are stored and used for every question. Secrets are read from a hidden prompt
    or standard input, never from the command line.
    """
    if sum(map(bool, (browser or container or only_list, cookies, token, api_key))) > 1:
        raise UsageError("only one of --browser, --cookies, --token and --api-key can be meant")
    terminal = Terminal(quiet=quiet)
    config = Config.read()
    store = Store(config.state_dir)
    if api_key:
        _keep_key(config, store, terminal, None if no_verify else timeout)
    elif token:
        _keep_token(store, terminal)
    elif only_list:
        _search_profiles(browser, container, terminal)
    elif cookies or not (export and store.session()):
        session, source = (
            _read_file(cookies, config.web_host)
            if cookies
            else _read_browser(browser, container, terminal)
        )
        if not no_verify:
            session = _verify(session, config, timeout, terminal)
        store.save_session(session, source=source)
        terminal.write(f"logged in at {session.host}, {_format_expiry(session)}, from {source}\n")
    if export:
        _export(store, Path(export), Deadline.after(timeout), terminal)


def _keep_key(config: Config, store: Store, terminal: Terminal, check_s: float | None) -> None:
    base_url = config.api_base or credentials.API_BASE
    key = _read("API key")
    if check_s is not None:
        asked = replace(config, api_base=base_url, api_key=key)
        with Client("api", config=asked, timeout_s=check_s) as client:
            client.check(notice=terminal.notice)
    store.save_key(key, base_url, "a prompt" if sys.stdin.isatty() else "standard input")
    terminal.write(f"the key for {base_url} is kept\n")


def _keep_token(store: Store, terminal: Terminal) -> None:
    token = _read("bearer token")
    store.save_bearer(token, "a prompt" if sys.stdin.isatty() else "standard input")
    terminal.write("the token of the web session is kept\n")


def _read(what: str) -> str:
    text = secret(what)
    if not is_bearer(text):
        raise BadInput(f"that is no {what}: it is empty, or holds what no header can carry")
    return text


def _read_file(name: str, host: str | None) -> tuple[Session, str]:
    from reka_cli.cookies.files import parse_session, read_session

    if name != "-":
        return read_session(Path(name), host), f"the file {show_path(name)}"
    data = sys.stdin.buffer.read(_LARGEST_STDIN) if sys.stdin else b""
    return parse_session(data, "standard input", host), "standard input"


def _read_browser(
    browser: str | None, container: str | None, terminal: Terminal
) -> tuple[Session, str]:
    from reka_cli.cookies.browsers import HINTS

    found = _search_profiles(browser, container, terminal)
    live = [
        (one.session.expires_s or float("inf"), one, one.session) for one in found if one.session
    ]
    if live:
        _, newest, session = max(live, key=lambda candidate: candidate[0])
        return session, f"{newest.profile.browser}, profile {newest.profile.name}"
    problem = next(
        (one.problem for one in found if one.problem not in (None, "no_session")), "no_session"
    )
    if not found:
        problem = "no_browser"
    raise NotLoggedIn(
        "no browser has a session of Reka that can be used", hint=HINTS.get(problem or "")
    )


def _search_profiles(
    browser: str | None, container: str | None, terminal: Terminal
) -> list[ProfileResult]:
    """Look through the profiles that are wanted, a line each."""
    from reka_cli.cookies import browsers

    name, _, profile_name = (browser or "").partition(":")
    found = []
    for profile in browsers.profiles():
        if name.lower() in ("", profile.browser.lower()) and profile_name.lower() in (
            "",
            profile.name.lower(),
        ):
            one = browsers.find_session(profile, time.time(), container, _browser_timeout_s())
            line = "\t".join(
                " ".join(clean(part).split())
                for part in (profile.browser, profile.name, one.message)
            )
            terminal.write(f"{line}\n")
            found.append(one)
    return found


def _browser_timeout_s() -> float:
    """How long a browser's key may take: on macOS somebody has to read and answer a question first."""
    return 60.0 if sys.platform == "darwin" and sys.stdin and sys.stdin.isatty() else 15.0


def _verify(session: Session, config: Config, timeout_s: float, terminal: Terminal) -> Session:
    """Ask the service for a token, and give the session as it is after that."""
    from reka_cli.providers.web import Reka
    from reka_cli.transport import ConnectionPool

    access = WebAccess(config.web_base or f"https://{session.host}", session=session)
    call = Call(Limits(Deadline.after(timeout_s)))
    with closing(ConnectionPool()) as pool:
        return (
            run_to_completion(
                Reka(config, pool, access=access).renew_session(call), terminal.notice
            )
            or session
        )


def _export(store: Store, path: Path, deadline: Deadline, terminal: Terminal) -> None:
    session = store.session()
    if session is None:
        raise NotLoggedIn("there is no stored session to export", hint="reka-cli login")
    with output_file(path, deadline, private=True) as descriptor, translate_write_errors(path):
        write_text(descriptor, netscape(session))
    terminal.write(f"export REKA_COOKIES={shlex.quote(clean(str(path)))}\n")


def _format_expiry(session: Session) -> str:
    if session.expires_s is None:
        return "until the service ends it"
    return f"until {time.strftime('%Y-%m-%d %H:%M', time.localtime(session.expires_s))}"
