"""Every text in which users have their cookies, recognized by its content and never by its name.

Each format is one file of this package. It has `READERS`, functions that return the cookies of a
document, or None for what is not their format; `RANK`, lower for what is harder to mistake, which is
tried first; and `NAMES`, what users call the formats.
"""

from __future__ import annotations

import sys
from types import ModuleType

from reka_cli import discovery
from reka_cli.cookies.formats._document import Document
from reka_cli.cookies.session import Cookie
from reka_cli.errors import BadInput

_LWP = "#LWP-Cookies-"


def parse_cookies(document: Document) -> list[Cookie]:
    """Read the cookies of any host, whole or not; raise BadInput if the format is not known or cannot be read.

    Raises NotLoggedIn, with the cure, for an export that a browser has stripped of its cookies.
    """
    if document.text.startswith(_LWP):
        raise BadInput(
            f"{document.source} is an LWP cookie file, which is not read",
            hint="save it as cookies.txt",
        )
    for module in _modules():
        for reader in module.READERS:
            cookies: list[Cookie] | None = reader(document)
            if cookies is not None:
                return cookies
    raise BadInput(
        f"{document.source} is not a cookie file of a known format", hint=known_formats()
    )


def known_formats() -> str:
    """Return the names of all formats, as a hint."""
    names = [name for module in _modules() for name in module.NAMES]
    return f"known formats: {', '.join(names)}, database of Firefox or Chrome"


def _modules() -> list[ModuleType]:
    package = sys.modules[__name__]
    modules = [discovery.load(package, name) for name in discovery.names_in(package)]
    return sorted(modules, key=lambda module: int(module.RANK))
