"""Preferences and folders: environment before file before default (a flag beats them all, at its command)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from reka_cli.errors import UsageError
from reka_cli.escapes import one_line
from reka_cli.files import read, show_path, translate_read_errors
from reka_cli.hosts import is_loopback, is_reka_host
from reka_cli.limits.deadline import Deadline

# what `reka-cli help environment` shows; a variable or key that is not here is not read
VARIABLES = {
    "REKA_API_KEY": "API key. It is never written to disk.",
    "REKA_API_BASE": "Base URL of an OpenAI-compatible server, ending in /v1: https, or this machine.",
    "REKA_COOKIES": "Path of a cookie file with the web session.",
    "REKA_TOKEN": "Bearer token of the web session, instead of cookies. It is never written to disk.",
    "REKA_WEB_BASE": "Origin of the web session: a host of reka.ai, or this machine.",
    "REKA_PROVIDER": "Default provider.",
    "REKA_MODEL": "Default model.",
    "REKA_HOME": "One folder for all files of reka-cli.",
}
STANDARD_VARIABLES = {
    "HTTPS_PROXY, ALL_PROXY, NO_PROXY": "Proxy for requests, and hosts that are reached without it.",
    "REQUESTS_CA_BUNDLE, SSL_CERT_FILE": "File with the certificates to trust, instead of the built-in ones.",
    "SSL_CERT_DIR": "Folder with the certificates to trust, as `openssl rehash` makes it.",
    "NO_COLOR": "Any value turns colors off.",
    "COLUMNS": "Width of the output where it cannot be measured, such as in a pipe.",
    "TERM": "With the value dumb, nothing is repainted and no color is used.",
}
PREFERENCES = {
    "model": "Default model.",
    "provider": "Default provider.",
    "[api.headers]": 'Headers for the provider api: NAME = "env:NAME", "file:PATH", or a value that is no secret.',
}
FILES = {
    "~/.config/reka-cli/config.toml": "The keys above. It never holds a secret.",
    "~/.local/state/reka-cli/credentials.json": (
        "What login stored, and the access token. Mode 0600 in a 0700 folder; rejected if others can read it."
    ),
    "~/.local/state/reka-cli/limits.json": "Rate limits that services asked for, shared by all your processes.",
    "~/.cache/reka-cli/": "Model lists.",
}
_TEXTS = ("model", "provider")  # the preferences that are a text
NOWHERE = Path(os.devnull, "reka-cli")  # where nothing can be kept
_LARGEST = 1 << 20  # bytes of config.toml
_LONGEST_WAIT_S = 5.0  # for one that is a pipe


@dataclass(frozen=True)
class Config:
    """What the environment and `config.toml` say: `state_dir` is for credentials, `cache_dir` for lists of models."""

    state_dir: Path
    provider: str = "auto"
    model: str | None = None
    web_base: str | None = None
    cookies_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    cache_dir: Path | None = None
    api_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # as written

    @property
    def web_host(self) -> str | None:
        return urlsplit(self.web_base).hostname if self.web_base else None

    @classmethod
    def read(
        cls, environ: Mapping[str, str] | None = None, *, insecure_http: bool = False
    ) -> Config:
        """Read the environment and the file; raise UsageError where one of them cannot be meant so.

        With `insecure_http`, REKA_API_BASE may be http:// on another machine.
        """
        given = os.environ if environ is None else environ
        env = {name: given[name] for name in VARIABLES if given.get(name, "").strip()}
        config_dir, state_dir, cache_dir = _folders(env)
        preferences, headers = _preferences(config_dir / "config.toml")
        cookies = env.get("REKA_COOKIES")
        return cls(
            state_dir=state_dir,
            cache_dir=cache_dir,
            provider=env.get("REKA_PROVIDER") or preferences.get("provider", "auto"),
            model=env.get("REKA_MODEL") or preferences.get("model"),
            web_base=_web_base(env.get("REKA_WEB_BASE")),
            cookies_file=_path(cookies) if cookies else None,
            token=env["REKA_TOKEN"].strip() if "REKA_TOKEN" in env else None,
            api_base=_api_base(env.get("REKA_API_BASE"), insecure_http=insecure_http),
            api_key=env["REKA_API_KEY"].strip() if "REKA_API_KEY" in env else None,
            api_headers=headers,
        )


def parse_headers(texts: Iterable[str]) -> dict[str, str]:
    """Return the headers that are written NAME=VALUE. Raises UsageError for another form."""
    headers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError("a header needs a name and a value", hint="--header NAME=VALUE")
        headers[name.strip()] = value.strip()
    return headers


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises RuntimeError for an unknown user


def _folders(env: Mapping[str, str]) -> tuple[Path, Path, Path]:
    if "REKA_HOME" in env:
        home = _path(env["REKA_HOME"])
        return home, home, home / "cache"
    if not _has_home():
        return NOWHERE, NOWHERE, NOWHERE
    import platformdirs

    dirs = platformdirs.PlatformDirs("reka-cli", appauthor=False)
    return dirs.user_config_path, dirs.user_state_path, dirs.user_cache_path


def _has_home() -> bool:
    """Return whether there is a home folder: a container may have neither HOME nor a user's entry."""
    return os.path.isabs(os.path.expanduser("~"))  # noqa: PTH111, PTH117 - a Path raises


def _preferences(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the preferences of config.toml, and its `[api.headers]`."""
    if path.parent == NOWHERE:
        return {}, {}
    deadline = Deadline.after(_LONGEST_WAIT_S)
    content = read(path, _LARGEST, deadline, UsageError, missing_ok=True)
    if len(content) > _LARGEST:
        raise UsageError(f"{show_path(path)} is larger than {_LARGEST >> 20} MB")
    if not content:
        return {}, {}
    import tomllib

    with translate_read_errors(path, UsageError):
        table = tomllib.loads(content.decode("utf-8-sig"))
    headers = _api_headers(path, table.pop("api", {}))
    for name, value in table.items():
        if name not in _TEXTS or not isinstance(value, str):
            known = ", ".join(PREFERENCES)
            raise UsageError(
                f"{path}: {name} is not a preference, or not a text",
                hint=f"known preferences: {known}",
            )
    return table, headers


def _api_headers(path: Path, table: object) -> dict[str, str]:
    headers = table.get("headers", {}) if isinstance(table, dict) else None
    if not isinstance(headers, dict) or not all(isinstance(one, str) for one in headers.values()):
        raise UsageError(f"{show_path(path)}: a header of [api.headers] is not a text")
    unknown = [name for name in table if name != "headers"] if isinstance(table, dict) else []
    if unknown:
        name = one_line(unknown[0])
        raise UsageError(f"{show_path(path)}: [api] has no key {name!r}", hint="[api.headers]")
    return headers


def _web_base(base: str | None) -> str | None:
    """Check that a session sent to `base` can only reach Reka or this machine."""
    if base is None:
        return None
    url, scheme, hostname = _parts(base)
    loopback = is_loopback(hostname)
    if not (loopback or is_reka_host(hostname)):
        raise UsageError(
            "REKA_WEB_BASE must be a host of reka.ai or of this machine: the session goes there",
            hint="export REKA_WEB_BASE=https://space.reka.ai",
        )
    if scheme != "https" and not (loopback and scheme == "http"):
        raise UsageError(
            "REKA_WEB_BASE must begin with https://",
            hint=f"export REKA_WEB_BASE=https://{hostname}",
        )
    return url


def _api_base(base: str | None, *, insecure_http: bool) -> str | None:
    """Check that nobody on the way can read what is sent to `base`, unless that was allowed."""
    if base is None:
        return None
    url, scheme, hostname = _parts(base)
    if scheme not in ("http", "https") or not hostname:
        raise UsageError(
            "REKA_API_BASE is not the URL of a host", hint="export REKA_API_BASE=https://HOST/v1"
        )
    if scheme == "http" and not (is_loopback(hostname) or insecure_http):
        raise UsageError(
            f"REKA_API_BASE is http: the way to {hostname} is not private",
            hint="--insecure-http allows it",
        )
    if not url.endswith("/v1"):
        raise UsageError("REKA_API_BASE must end in /v1", hint=f"export REKA_API_BASE={url}/v1")
    return url


def _parts(base: str) -> tuple[str, str, str]:
    """Return URL, scheme and host name, which is "" for a URL that two parsers could understand differently.

    What `urlsplit` rejects has no host name either: that differs between releases of Python.
    """
    url = _connectable(base.strip().rstrip("/"))
    try:
        parts = urlsplit(url)
        hostname, port = parts.hostname or "", parts.port
    except ValueError:
        return url, "", ""
    host = f"[{hostname}]" if ":" in hostname else hostname
    plain = parts.netloc.lower() == (host if port is None else f"{host}:{port}") and not set(
        "?#\\"
    ) & set(url)
    plain = plain and url.isprintable() and url.isascii() and " " not in url
    return url, parts.scheme, hostname if plain else ""


def _connectable(url: str) -> str:
    """Return a URL with the address to connect to for one to listen at, such as http://0.0.0.0:8080."""
    return re.sub(
        r"^(https?://)(0\.0\.0\.0|\[::\])(?=[:/]|$)",
        lambda match: match[1] + ("127.0.0.1" if match[2] == "0.0.0.0" else "[::1]"),  # noqa: S104
        url,
        flags=re.IGNORECASE,
    )
