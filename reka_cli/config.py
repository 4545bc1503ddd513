"""Preferences and folders: environment before file before default (a flag beats them all, at its command)."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from reka_cli.errors import UsageError
from reka_cli.session import is_loopback, is_reka_host

_PREFERENCES = ("model", "provider")


@dataclass(frozen=True)
class Config:
    """What the environment and `config.toml` say; `state_dir` is where credentials rest."""

    state_dir: Path
    provider: str = "auto"
    model: str | None = None
    web_base: str | None = None
    cookies_file: Path | None = None
    token: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read the environment and the file; raise UsageError where one of them cannot be meant so."""
        env = {name: value for name, value in (os.environ if environ is None else environ).items() if value.strip()}
        config_dir, state_dir = _folders(env)
        preferences = _preferences(config_dir / "config.toml")
        cookies = env.get("REKA_COOKIES")
        return cls(
            state_dir=state_dir,
            provider=env.get("REKA_PROVIDER") or preferences.get("provider", "auto"),
            model=env.get("REKA_MODEL") or preferences.get("model"),
            web_base=_web_base(env.get("REKA_WEB_BASE")),
            cookies_file=_path(cookies) if cookies else None,
            token=env["REKA_TOKEN"].strip() if "REKA_TOKEN" in env else None,
        )


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises RuntimeError for an unknown user


def _folders(env: Mapping[str, str]) -> tuple[Path, Path]:
    if "REKA_HOME" in env:
        home = _path(env["REKA_HOME"])
        return home, home
    import platformdirs

    dirs = platformdirs.PlatformDirs("reka-cli", appauthor=False)
    return dirs.user_config_path, dirs.user_state_path


def _preferences(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    for name, value in table.items():
        if name not in _PREFERENCES or not isinstance(value, str):
            known = ", ".join(_PREFERENCES)
            raise UsageError(f"{path}: {name} is not a preference, or not a text", hint=f"known preferences: {known}")
    return table


def _web_base(base: str | None) -> str | None:
    """Check that a session sent to `base` can only reach Reka or this machine."""
    if base is None:
        return None
    url = base.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        hostname, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError("REKA_WEB_BASE is not a URL") from error
    loopback = is_loopback(hostname)
    host = f"[{hostname}]" if ":" in hostname else hostname
    # what requests makes of a host with anything else in it need not be what urlsplit makes of it
    plain = parts.netloc.lower() == (host if port is None else f"{host}:{port}") and not {"?", "#"} & set(url)
    if not (plain and (loopback or is_reka_host(hostname))):
        raise UsageError(
            "REKA_WEB_BASE must be a host of reka.ai or of this machine: the session goes there",
            hint="export REKA_WEB_BASE=https://space.reka.ai",
        )
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise UsageError("REKA_WEB_BASE must begin with https://", hint=f"export REKA_WEB_BASE=https://{hostname}")
    return url
