"""The child process in which browser_cookie3 decrypts: one JSON request on stdin, one JSON answer on stdout.

A process of its own because the library asks the desktop's keyring with no time limit, prints to stdout, and takes
its bus address from the environment alone. What it is given is a private copy with nothing but our rows in it.
An answer is `{"cookies": [[host, name, value, expires_s, path], ...]}` or `{"code": "...", "type": "..."}`: never the
text of an error, which may hold part of a cookie.
"""

from __future__ import annotations

import json
import os
import sys
from http.cookiejar import CookieJar
from typing import Any

_WRONG_KEY = "Unable to get key for cookie decryption"


def main() -> None:
    answer = _own_stdout()
    request = json.load(sys.stdin)
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump(_decrypt_request(request), file)


def _own_stdout() -> int:
    """Keep the real stdout for the answer; what the library prints goes where nobody reads."""
    os.umask(0o077)
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def _decrypt_request(request: dict[str, Any]) -> dict[str, Any]:
    try:
        # asked for by name in the closed list of browsers.py
        jar = _jar(str(request["function"]), str(request["file"]), request["key_file"])
        return {"cookies": _cookies(jar, set(request["hosts"]))}
    except Exception as error:  # noqa: BLE001 - whatever the library lets out becomes one of our words
        return {"code": _code(error, bool(request["keyring"])), "type": type(error).__name__}


def _jar(function: str, file: str, key_file: str | None) -> CookieJar:
    import browser_cookie3

    # the domain only narrows: the library finds it anywhere in a host, so that `_cookies` compares the whole name
    jar: CookieJar = getattr(browser_cookie3, function)(
        cookie_file=file, domain_name="reka.ai", key_file=key_file
    )
    return jar


def _cookies(jar: CookieJar, hosts: set[str]) -> list[list[Any]]:
    own = (one for one in jar if one.domain in hosts and isinstance(one.value, str))
    return [[one.domain, one.name, one.value, one.expires, one.path] for one in own]


def _code(error: Exception, keyring: bool) -> str:
    """Name an error; `keyring` says that a cookie needs the one on the bus."""
    if type(error).__name__ == "BrowserCookieError" and error.args == (_WRONG_KEY,):
        return "undecryptable"
    if not keyring:
        return "library_error"
    if isinstance(error, KeyError) and str(error.args[0]).startswith("/org/freedesktop/secrets/"):
        return "keyring_locked"  # the item is there, its secret is not given
    if isinstance(error, TimeoutError):
        return "keyring_timeout"  # the bus took the connection and never answered the greeting
    if isinstance(error, (OSError, ValueError, EOFError)):
        return "keyring_missing"  # an address that is none, or where nobody is
    return "library_error"


if __name__ == "__main__":
    main()
