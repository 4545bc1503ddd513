"""Extra headers for the API, as gateways want them: `[api.headers]` of config.toml and `--header`.

A value is `env:NAME`, `file:PATH`, or the text itself for a header that holds no secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from reka_cli.errors import UsageError
from reka_cli.escapes import one_line
from reka_cli.files import read, show_path
from reka_cli.hosts import is_loopback
from reka_cli.limits.deadline import Deadline

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_LARGEST_FILE = 1 << 16  # bytes
_LONGEST_WAIT_S = 5.0  # for a file that is a pipe
# the headers that say how a request is framed, and those that the transport decides
_RESERVED = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_SECRET_WORDS = re.compile(
    r"(?:^|[-_])(?:auth|authentication|authorization|bearer|cookies?|credentials?|jwt|key|keys"
    r"|pass|passwd|session|signature)(?:[-_]|$)|api-?key|token|secret|password|x-auth",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"(?:bearer|basic|token)\s|\w+://[^/]*@", re.IGNORECASE)


def read_headers(headers: Mapping[str, str], base_url: str) -> dict[str, str]:
    """Return the headers with the values that are sent to `base_url`.

    Raises UsageError for a name that no header has, a value that is missing, and a secret that is
    written out.
    """
    return {name: _read_value(name, value, base_url) for name, value in headers.items()}


def merge_headers(headers: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return both; of two with one name, whatever its case, the extra one."""
    replaced = {name.lower() for name in extra}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return {**kept, **extra}


def _read_value(name: str, value: str, base_url: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise UsageError(f"{one_line(name)!r} is not the name of a header")
    if name.lower() in _RESERVED:
        raise UsageError(f"the header {name} cannot be set")
    kind, _, source = value.partition(":")
    if kind == "env" and source:
        content = os.environ.get(source, "")
        origin = f"the variable {one_line(source)}"
    elif kind == "file" and source:
        content = _read_file(name, source, base_url)
        origin = show_path(source)
    else:
        content, origin = value, "its value"
        if _SECRET_WORDS.search(name) or _SECRET_VALUE.match(value):
            raise UsageError(
                f"the header {name} may hold a secret, which must not be written out",
                hint=f"--header {name}=env:NAME, or {name}=file:PATH",
            )
    content = content.strip()
    if not content:
        raise UsageError(f"the header {name} is empty: nothing is in {origin}")
    if not content.isprintable() or not content.isascii():
        raise UsageError(f"the header {name} has characters that no header can have")
    return content


def _read_file(name: str, path: str, base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise UsageError(f"the header {name} comes from a file, which is not sent without https")
    # a Path cannot expand the tilde of an unknown user
    expanded = Path(os.path.expanduser(path))  # noqa: PTH111
    content = read(expanded, _LARGEST_FILE, Deadline.after(_LONGEST_WAIT_S), UsageError)
    return content[:_LARGEST_FILE].decode("utf-8", "replace")
