"""Every text in which users have their cookies, recognised by its content and never by its name."""

from __future__ import annotations

from reka_cli.cookies.formats import commands, headers, json_exports, netscape
from reka_cli.cookies.formats.document import KNOWN, Document
from reka_cli.errors import BadInput
from reka_cli.session import Cookie

_LWP = "#LWP-Cookies-"
_READERS = (  # each gives None for what is not its format; the first that knows the text has it
    json_exports.cookies,
    netscape.cookies,
    commands.curl_cookies,
    commands.powershell_cookies,
    commands.fetch_cookies,
    headers.block_cookies,
    headers.line_cookies,
    headers.bare_cookies,
)


def cookies_in(document: Document) -> list[Cookie]:
    """Read the cookies of any host, whole or not; raise BadInput if the format is not known or cannot be read.

    Raises NotLoggedIn, with the cure, for an export that a browser has stripped of its cookies.
    """
    if document.text.startswith(_LWP):
        raise BadInput(f"{document.source} is an LWP cookie file, which is not read", hint="save it as cookies.txt")
    for reader in _READERS:
        cookies = reader(document)
        if cookies is not None:
            return cookies
    raise BadInput(f"{document.source} is not a cookie file of a known format", hint=KNOWN)
