"""Secrets at rest: one 0600 file in a 0700 folder, replaced as a whole, locked while it is changed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reka_cli.config import NOWHERE
from reka_cli.cookies.session import Cookie, Session, is_cookie_value, is_session_name
from reka_cli.cookies.tokens import is_bearer, token_expiry_s
from reka_cli.errors import NotLoggedIn, UsageError
from reka_cli.files import (
    NO_FOLLOW,
    NO_WAIT,
    hold_lock,
    is_ours_alone,
    quote_for_shell,
    read_error,
    remove_state,
    replace_state,
    show_path,
    translate_write_errors,
)
from reka_cli.hosts import DOMAIN, HOSTS
from reka_cli.limits.deadline import Deadline

_SCHEMA = "reka-cli/credentials/1"
_TOKEN_MARGIN_S = 60.0
_LARGEST = 16 << 20  # bytes; a session has a few thousand
_LAST_MOMENT_S = 1e13  # a calendar can name it
_LOCK_S = 1.5  # a change takes milliseconds, and a question that waits has a deadline


class Store:
    """The credentials file of one folder; in `config.NOWHERE` there is none, and nothing is stored.

    Methods that change the file raise BadInput if it cannot be written, and UsageError if it would
    be nowhere. All methods but `clear` raise NotLoggedIn if it is damaged or others can read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "credentials.json"
        self._lock_path = folder / "credentials.lock"
        self._logout_seen = self._last_logout()

    def session(self) -> Session | None:
        """Return the stored web session, if there is one."""
        return _session_from(self._read().get("session"))

    def save_session(
        self,
        session: Session,
        replacing: Session | None = None,
        source: str | None = None,
    ) -> None:
        """Store a web session and where it came from.

        With `replacing`, it is stored only if that session is still the stored one.
        """
        cookies = [
            {"host": one.host, "name": one.name, "value": one.value, "expires_s": one.expires_s}
            for one in session.cookies
        ]

        def change(content: dict[str, Any]) -> None:
            before = content.get("session")
            if replacing is None or _session_from(before) == replacing:
                origin = _origin(source) if source else _previous_origin(before)
                content["session"] = {"host": session.host, "cookies": cookies, **origin}
                if source:
                    content.pop("bearer", None)  # the last login counts

        self._change(change)

    def bearer(self) -> str | None:
        """Return the stored bearer token of the web session, if there is one."""
        return _secret_from(self._read().get("bearer"), "token")

    def save_bearer(self, token: str, source: str) -> None:
        """Store a bearer token of the web session in place of a session."""

        def change(content: dict[str, Any]) -> None:
            content.pop("session", None)
            content["bearer"] = {"token": token, **_origin(source)}

        self._change(change)

    def key(self, base_url: str) -> str | None:
        """Return the stored API key, if it was stored for this base URL."""
        kept = self._read().get("api_key")
        return _secret_from(kept, "key") if _text(kept, "base_url") == base_url else None

    def save_key(self, key: str, base_url: str, source: str) -> None:
        """Store an API key for one base URL."""

        def change(content: dict[str, Any]) -> None:
            content["api_key"] = {"key": key, "base_url": base_url, **_origin(source)}

        self._change(change)

    def origin(self, what: str) -> tuple[str, float | None] | None:
        """Return where "session", "bearer" or "api_key" came from, and when it was stored.

        The time is in seconds since the epoch, None if it is not known.
        """
        kept = self._read().get(what)
        source = _text(kept, "source")
        if not source or not isinstance(kept, dict):
            return None
        return source, _moment_s(kept.get("saved_at_s"))

    def clear(self) -> bool:
        """Remove the file and what a killed process left of it. Returns False if there was none.

        A question that is on its way stores no token afterwards. If another process holds the lock
        for longer than that takes, the file is removed all the same.
        """
        with translate_write_errors(self.path), contextlib.ExitStack() as stack:
            if self._folder.is_dir():
                lock = hold_lock(self._lock_path, Deadline.after(_LOCK_S))
                with contextlib.suppress(OSError):
                    stack.enter_context(lock)
                    self._lock_path.write_text(f"logout {time.time()}")
            return remove_state(self.path)

    def token(self, session: Session, base_url: str) -> str | None:
        """Return the token minted from `session` at `base_url`, unless it ends within a minute."""
        bound = {"session": session.fingerprint, "base_url": base_url}
        for kept in _tokens(self._read()):
            if bound.items() <= kept.items() and _is_fresh(kept["token"]):
                return kept["token"]
        return None

    def save_token(
        self,
        token: str,
        session: Session,
        base_url: str,
        *,
        session_is_stored: bool = False,
    ) -> None:
        """Store a minted token beside the others that are still good.

        It is not stored after a logout: with `session_is_stored`, if the session is no longer the
        stored one; without, if the logout came after this object was created.
        """

        def change(content: dict[str, Any]) -> None:
            if session_is_stored:
                is_current = _session_from(content.get("session")) == session
            else:
                is_current = self._last_logout() == self._logout_seen
            if not is_current:
                return
            bound = {"session": session.fingerprint, "base_url": base_url}
            others = [
                kept
                for kept in _tokens(content)
                if _is_fresh(kept["token"]) and not bound.items() <= kept.items()
            ]
            content["tokens"] = [*others, {**bound, "token": token}]

        self._change(change)

    def _last_logout(self) -> bytes:
        """Return what the last logout wrote into the lock file; empty if there was none."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDONLY | NO_FOLLOW | NO_WAIT)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(64)
        except OSError:
            return b""

    def _read(self) -> dict[str, Any]:
        try:
            # without waiting: a pipe with this name is rejected below
            descriptor = os.open(self.path, os.O_RDONLY | NO_FOLLOW | NO_WAIT)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise read_error(self.path, error, NotLoggedIn) from error
        try:
            _check_permissions(os.fstat(descriptor), self.path, "600")
            _check_permissions(self._folder.stat(), self._folder, "700")
            content = _parse(descriptor)
        finally:
            os.close(descriptor)
        if content is None:
            raise NotLoggedIn(f"{show_path(self.path)} is damaged", hint="reka-cli logout")
        return content

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        if self._folder == NOWHERE:
            raise UsageError(
                "there is no home folder to store credentials in", hint="export REKA_HOME=FOLDER"
            )
        with translate_write_errors(self.path):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_permissions(self._folder.stat(), self._folder, "700")
            with hold_lock(self._lock_path, Deadline.after(_LOCK_S)):
                content = self._read()
                change(content)
                if content:
                    replace_state(self.path, json.dumps({"schema": _SCHEMA, **content}, indent=1))


def _parse(descriptor: int) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is none."""
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(_LARGEST + 1)
        content = json.loads(data) if len(data) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _check_permissions(status: os.stat_result, path: Path, mode: str) -> None:
    if not is_ours_alone(status, 0o077):
        raise NotLoggedIn(
            f"{show_path(path)} is not yours alone, so it is not used",
            hint=f"chmod {mode} {quote_for_shell(path)}",
        )


# What another program, or a later version, may have written is not trusted


def _origin(source: str) -> dict[str, Any]:
    return {"source": source, "saved_at_s": time.time()}


def _previous_origin(before: Any) -> dict[str, Any]:
    kept = before if isinstance(before, dict) else {}
    return {name: kept[name] for name in ("source", "saved_at_s") if name in kept}


def _text(kept: Any, name: str) -> str | None:
    value = kept.get(name) if isinstance(kept, dict) else None
    return value if isinstance(value, str) else None


def _secret_from(kept: Any, name: str) -> str | None:
    value = _text(kept, name)
    return value if value is not None and is_bearer(value) else None


def _moment_s(value: Any) -> float | None:
    """Return a moment that a file names, in seconds since the epoch; None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        moment_s = float(value)
    except OverflowError:
        return None
    return moment_s if abs(moment_s) < _LAST_MOMENT_S else None


def _session_from(value: Any) -> Session | None:
    """Return the web session that the file holds; None if it holds none, or one that cannot be sent."""
    host = _text(value, "host")
    rows = value.get("cookies") if isinstance(value, dict) else None
    if host not in HOSTS or not isinstance(rows, list) or not rows:
        return None
    cookies = [_cookie_from(row) for row in rows]
    whole = [cookie for cookie in cookies if cookie is not None]
    return Session(host, tuple(whole)) if len(whole) == len(cookies) else None


def _cookie_from(row: Any) -> Cookie | None:
    host, name, value = (_text(row, key) for key in ("host", "name", "value"))
    if host not in (*HOSTS, DOMAIN) or name is None or value is None:
        return None
    if not is_session_name(name) or not is_cookie_value(value):
        return None
    return Cookie(host, name, value, _moment_s(row.get("expires_s")))


def _tokens(content: dict[str, Any]) -> list[dict[str, str]]:
    kept = content.get("tokens")
    rows = kept if isinstance(kept, list) else []
    return [row for row in rows if _is_token_row(row)]


def _is_token_row(row: Any) -> bool:
    return all(_text(row, key) is not None for key in ("session", "base_url", "token"))


def _is_fresh(token: str) -> bool:
    expires_s = token_expiry_s(token)
    return is_bearer(token) and expires_s is not None and expires_s - _TOKEN_MARGIN_S > time.time()
