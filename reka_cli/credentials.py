"""Secrets at rest: one 0600 file in a 0700 folder, replaced whole, locked while it is changed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reka_cli.config import Config
from reka_cli.cookies.files import read_session
from reka_cli.deadline import in_time
from reka_cli.errors import NotLoggedIn
from reka_cli.session import HOSTS, Cookie, Session, is_bearer, is_reka_host, token_expiry_s

API_BASE = "https://api.reka.ai/v1"
_SCHEMA = "reka-cli/credentials/1"
_TOKEN_MARGIN_S = 60.0
_LONGEST_LOCK_S = 10.0  # a change takes milliseconds; a stopped process holds the lock for ever
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_POSIX = os.name == "posix"


@dataclass(frozen=True)
class WebAccess:
    """How to get into the web session at `base_url`: a `token` as it is, or a `session` to mint one from.

    `store` keeps what is minted; `session_is_stored` says that the session itself came from there too.
    """

    base_url: str
    token: str | None = field(default=None, repr=False)
    session: Session | None = None
    store: Store | None = None
    session_is_stored: bool = False


@dataclass(frozen=True)
class ApiAccess:
    """How to get into the OpenAI-compatible API at `base_url`; a server of one's own may want no `key`."""

    base_url: str
    key: str | None = field(default=None, repr=False)


def api_access(config: Config) -> ApiAccess | None:
    """Give the credentials of the API; None if there are none and the base wants some."""
    access = ApiAccess(config.api_base or API_BASE, config.api_key)
    if access.key:
        _check("REKA_API_KEY", access.key)
    own_server = not is_reka_host(urlsplit(access.base_url).hostname or "")
    return access if access.key or own_server else None


def web_access(config: Config) -> WebAccess | None:
    """Give the credentials of the web session, environment before store; None if there are none.

    Raises BadInput or NotLoggedIn for a cookie file that does not help, NotLoggedIn for a store others can read.
    """
    if config.token:
        _check("REKA_TOKEN", config.token)
        return WebAccess(config.web_base or f"https://{HOSTS[0]}", token=config.token)
    store = Store(config.state_dir)
    if config.cookies_file:
        base_host = urlsplit(config.web_base).hostname if config.web_base else None
        session: Session | None = read_session(config.cookies_file, base_host)
        stored = False
    else:
        session, stored = store.session(), True
    if session is None:
        return None
    return WebAccess(config.web_base or f"https://{session.host}", None, session, store, stored)


def _check(variable: str, secret: str) -> None:
    if not is_bearer(secret):
        raise NotLoggedIn(f"{variable} holds what no header can carry", hint=f"export {variable}=... once more")


class Store:
    """The credentials file of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "credentials.json"

    def session(self) -> Session | None:
        """Give the stored web session, if there is one."""
        return _session_from(self._read().get("session"))

    def save_session(self, session: Session, replacing: Session | None = None) -> None:
        """Store a web session; with `replacing`, only if that one is still the stored one."""

        def change(content: dict[str, Any]) -> None:
            if replacing is None or _session_from(content.get("session")) == replacing:
                content["session"] = {
                    "host": session.host,
                    "cookies": [
                        {"host": one.host, "name": one.name, "value": one.value, "expires_s": one.expires_s}
                        for one in session.cookies
                    ],
                }

        self._change(change)

    def token(self, session: Session, base_url: str) -> str | None:
        """Give the token minted from `session` at `base_url`, unless it ends within a minute."""
        for kept in _tokens(self._read()):
            if kept["session"] == session.fingerprint and kept["base_url"] == base_url and _is_fresh(kept["token"]):
                return str(kept["token"])
        return None

    def save_token(self, token: str, session: Session, base_url: str) -> None:
        """Keep a minted token beside the others that are still good."""

        def change(content: dict[str, Any]) -> None:
            bound = {"session": session.fingerprint, "base_url": base_url}
            others = [kept for kept in _tokens(content) if _is_fresh(kept["token"]) and bound.items() - kept.items()]
            content["tokens"] = [*others, {**bound, "token": token}]

        self._change(change)

    def _read(self) -> dict[str, Any]:
        try:
            # not blocking: a pipe with this name is refused below, not waited for
            descriptor = os.open(self.path, os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise NotLoggedIn(f"cannot read {self.path}: {error.strerror}") from error
        try:
            _refuse_if_wide(os.fstat(descriptor), self.path, "600")
            _refuse_if_wide(self._folder.stat(), self._folder, "700")
            with os.fdopen(os.dup(descriptor), encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError, RecursionError):
            content = None
        finally:
            os.close(descriptor)
        if not isinstance(content, dict):
            raise NotLoggedIn(f"{self.path} is damaged", hint=f"rm {self.path}, then log in again")
        return content

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_if_wide(self._folder.stat(), self._folder, "700")
        with _locked(self._folder / "credentials.lock"):
            content = self._read()
            change(content)
            self._replace({"schema": _SCHEMA, **content})

    def _replace(self, content: dict[str, Any]) -> None:
        temporary = self._folder / ".credentials.json.new"
        temporary.unlink(missing_ok=True)  # left by a process that was killed; the lock says that it is nobody's now
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _refuse_if_wide(status: os.stat_result, path: Path, mode: str) -> None:
    if _POSIX and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        raise NotLoggedIn(f"{path} is not yours alone, so it is not used", hint=f"chmod {mode} {path}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if not _POSIX:
        yield  # os.replace alone keeps the file whole; the last writer wins
        return
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int) -> None:
    import fcntl

    try:
        in_time(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX), _LONGEST_LOCK_S)
    except TimeoutError as error:
        raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock") from error


def _session_from(value: Any) -> Session | None:
    try:
        cookies = tuple(
            Cookie(str(one["host"]), str(one["name"]), str(one["value"]), one["expires_s"] and float(one["expires_s"]))
            for one in value["cookies"]
        )
        return Session(str(value["host"]), cookies) if value["host"] in HOSTS and cookies else None
    except (KeyError, TypeError, ValueError):
        return None


def _tokens(content: dict[str, Any]) -> list[dict[str, str]]:
    kept = content.get("tokens")
    wanted = ("session", "base_url", "token")
    rows = kept if isinstance(kept, list) else []
    return [row for row in rows if isinstance(row, dict) and all(isinstance(row.get(key), str) for key in wanted)]


def _is_fresh(token: str) -> bool:
    expires_s = token_expiry_s(token)
    return is_bearer(token) and expires_s is not None and expires_s - _TOKEN_MARGIN_S > time.time()
