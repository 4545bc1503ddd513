"""Secrets at rest: one 0600 file in a 0700 folder, replaced whole, locked while it is changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reka_cli.cookies.session import Cookie, Session
from reka_cli.cookies.tokens import is_bearer, token_expiry_s
from reka_cli.errors import NotLoggedIn
from reka_cli.files import (
    NO_FOLLOW,
    NO_WAIT,
    hold_lock,
    is_ours_alone,
    read_error,
    replace_state,
    translate_write_errors,
)
from reka_cli.hosts import HOSTS
from reka_cli.limits.deadline import Deadline

_SCHEMA = "reka-cli/credentials/1"
_LOCK_S = 1.5  # a change takes milliseconds, and a question that waits has a deadline
_TOKEN_MARGIN_S = 60.0


class Store:
    """The credentials file of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "credentials.json"

    def session(self) -> Session | None:
        """Give the stored web session, if there is one."""
        return _session_from(self._read().get("session"))

    def save_session(
        self, session: Session, replacing: Session | None = None, source: str | None = None
    ) -> None:
        """Store a web session and where it came from; with `replacing`, only if that one is still the stored one."""
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
        """Give the stored bearer token of the web session, one that was pasted."""
        return _secret(self._read().get("bearer"), "token")

    def save_bearer(self, token: str, source: str) -> None:
        """Store a bearer token of the web session in place of a session."""

        def change(content: dict[str, Any]) -> None:
            content.pop("session", None)
            content["bearer"] = {"token": token, **_origin(source)}

        self._change(change)

    def key(self, base_url: str) -> str | None:
        """Give the stored API key, if it was stored for this base URL."""
        kept = self._read().get("api_key")
        return _secret(kept, "key") if _secret(kept, "base_url") == base_url else None

    def save_key(self, key: str, base_url: str, source: str) -> None:
        """Store an API key for one base URL."""
        self._change(
            lambda content: content.update(
                api_key={"key": key, "base_url": base_url, **_origin(source)}
            )
        )

    def origin(self, what: str) -> tuple[str, float] | None:
        """Tell where "session", "bearer" or "api_key" came from, and when (seconds since the epoch)."""
        kept = self._read().get(what)
        source = _secret(kept, "source")
        return (
            (source, float(kept.get("saved_at_s") or 0))
            if source and isinstance(kept, dict)
            else None
        )

    def clear(self) -> bool:
        """Remove the file; False if there is none."""
        with translate_write_errors(self.path):
            there = self.path.exists()
            self.path.unlink(missing_ok=True)
        return there

    def token(self, session: Session, base_url: str) -> str | None:
        """Give the token minted from `session` at `base_url`, unless it ends within a minute."""
        for kept in _tokens(self._read()):
            if (
                kept["session"] == session.fingerprint
                and kept["base_url"] == base_url
                and _is_fresh(kept["token"])
            ):
                return str(kept["token"])
        return None

    def save_token(
        self, token: str, session: Session, base_url: str, *, session_is_stored: bool = False
    ) -> None:
        """Keep a minted token beside the others that are still good.

        With `session_is_stored`, only if the session is still the stored one: after a logout
        nothing of it is kept.
        """

        def change(content: dict[str, Any]) -> None:
            if session_is_stored and _session_from(content.get("session")) != session:
                return
            bound = {"session": session.fingerprint, "base_url": base_url}
            others = [
                kept
                for kept in _tokens(content)
                if _is_fresh(kept["token"]) and bound.items() - kept.items()
            ]
            content["tokens"] = [*others, {**bound, "token": token}]

        self._change(change)

    def _read(self) -> dict[str, Any]:
        try:
            # not blocking: a pipe with this name is refused below, not waited for
            descriptor = os.open(self.path, os.O_RDONLY | NO_FOLLOW | NO_WAIT)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise read_error(self.path, error, NotLoggedIn) from error
        try:
            _check_permissions(os.fstat(descriptor), self.path, "600")
            _check_permissions(self._folder.stat(), self._folder, "700")
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
        """Change the content under the lock; raise BadInput if it cannot be written, NotLoggedIn if it is not ours."""
        with translate_write_errors(self.path):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_permissions(self._folder.stat(), self._folder, "700")
            with hold_lock(self._folder / "credentials.lock", Deadline.after(_LOCK_S)):
                content = self._read()
                change(content)
                if content:
                    replace_state(self.path, json.dumps({"schema": _SCHEMA, **content}, indent=1))


def _check_permissions(status: os.stat_result, path: Path, mode: str) -> None:
    if not is_ours_alone(status, 0o077):
        raise NotLoggedIn(
            f"{path} is not yours alone, so it is not used", hint=f"chmod {mode} {path}"
        )


def _origin(source: str) -> dict[str, Any]:
    return {"source": source, "saved_at_s": time.time()}


def _previous_origin(before: Any) -> dict[str, Any]:
    kept = before if isinstance(before, dict) else {}
    return {name: kept[name] for name in ("source", "saved_at_s") if name in kept}


def _secret(kept: Any, name: str) -> str | None:
    value = kept.get(name) if isinstance(kept, dict) else None
    return value if isinstance(value, str) else None


def _session_from(value: Any) -> Session | None:
    try:
        cookies = tuple(
            Cookie(
                str(one["host"]),
                str(one["name"]),
                str(one["value"]),
                one["expires_s"] and float(one["expires_s"]),
            )
            for one in value["cookies"]
        )
        return Session(str(value["host"]), cookies) if value["host"] in HOSTS and cookies else None
    except (KeyError, TypeError, ValueError):
        return None


def _tokens(content: dict[str, Any]) -> list[dict[str, str]]:
    kept = content.get("tokens")
    wanted = ("session", "base_url", "token")
    rows = kept if isinstance(kept, list) else []
    return [
        row
        for row in rows
        if isinstance(row, dict) and all(isinstance(row.get(key), str) for key in wanted)
    ]


def _is_fresh(token: str) -> bool:
    expires_s = token_expiry_s(token)
    return is_bearer(token) and expires_s is not None and expires_s - _TOKEN_MARGIN_S > time.time()
