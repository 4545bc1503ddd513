"""Netscape's `cookies.txt`: lines of domain, flag, path, secure, expiry, name, value.

`http.cookiejar.MozillaCookieJar` is not used: it puts the line it cannot read into its error, and loses session cookies
(expiry 0) and whole files over one bad line.
"""

from __future__ import annotations

from reka_cli.cookies.formats._document import Document, expiry_s, host_of_domain
from reka_cli.cookies.session import Cookie

_HTTP_ONLY = "#HttpOnly_"
_SHORTEST_LINE = 12  # seven fields of at least a character, but for the expiry and the value
_FLAGS = {"TRUE": True, "FALSE": False}


def cookies(document: Document) -> list[Cookie] | None:
    """Read the lines that are cookies and skip the others; a file with the heading may have none."""
    lines = (line for line in document.text.split("\n") if len(line) >= _SHORTEST_LINE)
    found = [cookie for line in lines if (cookie := _cookie(line))]
    first = document.text.partition("\n")[0].lower()
    return found if found or (first.startswith("#") and "http cookie file" in first) else None


def _cookie(line: str) -> Cookie | None:
    line = line.removeprefix(_HTTP_ONLY)
    fields = line.split("\t", 7)
    if len(fields) < 7:  # tabs become blanks when a file is pasted
        fields = line.split(None, 7)
    if len(fields) < 7 or line.startswith("#") or fields[1].upper() not in _FLAGS:
        return None
    domain, flag, _, _, expiry, name, value, *_ = fields
    return Cookie(
        host_of_domain(domain, _FLAGS[flag.upper()]), name.strip(), value.strip(), expiry_s(expiry)
    )


READERS = (cookies,)
RANK = 20
NAMES = ("Netscape cookies.txt",)
