"""Requests as the developer tools copy them: curl for bash and for cmd.exe, PowerShell, fetch of JavaScript."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise

from reka_cli.cookies.formats._document import Document, host_of_domain, host_of_url
from reka_cli.cookies.formats.headers import parse_cookie_header
from reka_cli.cookies.session import Cookie
from reka_cli.errors import BadInput, NotLoggedIn

_CURL = re.compile(r"curl(?:\.exe)?\s")
_CMD = re.compile(r"[^'\"]*\^\"")  # the first quotation mark is cmd.exe's
_CARET = re.compile(r"\^(.)", re.DOTALL)
_CARET_AT_THE_END = re.compile(r"\^[ \t]*\n")
# possessive (`++`): what was read is not read again when a quotation mark is missing
_PART = r"'[^']*+'|\$'(?:[^'\\]++|\\.)*+'|\"(?:[^\"\\]++|\\.)*+\"|\\.|[^\s'\"\\$]++|\$"
_PARTS = re.compile(_PART, re.DOTALL)
_PLAIN = re.compile(r"[\w:/.-]{1,256}")
_WORD = re.compile(rf"\s*+((?:{_PART})++)", re.DOTALL)
_ANSI_C = re.compile(r"\\(?:u([0-9a-fA-F]{1,4})|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_CONTROLS = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_ESCAPED_IN_QUOTES = re.compile(r"\\([\"\\$`\n])")
_LONGEST_WORD = 1 << 20  # no header is longer
_OPTION = re.compile(r"(-b|-H|--cookie(?==|\Z)|--header(?==|\Z))=?(.*)", re.DOTALL)
_TAKES_ANOTHER_URL = ("-e", "--referer", "-x", "--proxy")

_POWERSHELL = re.compile(r"System\.Net\.Cookie\(|\bInvoke-(?:WebRequest|RestMethod)\b")
_STRING = r"\s*+(\"(?:[^\"`]|`.){0,16384}+\"|'[^']{0,16384}+')\s*+"
_NET_COOKIE = re.compile(
    rf"System\.Net\.Cookie\({_STRING},{_STRING}(?:,{_STRING})?(?:,{_STRING})?\)", re.DOTALL
)
_BACKTICK = re.compile(r"`(.)", re.DOTALL)

_FETCH = re.compile(r"(?:await\s+)?fetch\(\s*[\"'`]https?:")
_FETCH_CALL = re.compile(r"fetch\(\s*\"(https?:(?:[^\"\\]++|\\.)*+)\"\s*,\s*(?=\{)")


def curl_cookies(document: Document) -> list[Cookie] | None:
    """Read one or several curl commands; of two cookies with one name and host the later counts."""
    if not _CURL.match(document.text):
        return None
    found: dict[tuple[str, str], Cookie] = {}
    for command in _commands(_words(document)):
        host = _host(command)
        for header in _cookie_headers(command):
            found |= {
                (cookie.host, cookie.name): cookie for cookie in parse_cookie_header(header, host)
            }
    return list(found.values())


def powershell_cookies(document: Document) -> list[Cookie] | None:
    """Read every `New-Object System.Net.Cookie(name, value[, path[, domain]])`."""
    if not _POWERSHELL.search(document.text):
        return None
    found = []
    for match in _NET_COOKIE.finditer(document.text):
        name, value, _, domain = (_plain(literal) for literal in match.groups(""))
        found.append(Cookie(host_of_domain(domain) if match[4] else document.host, name, value))
    return found


def fetch_cookies(document: Document) -> list[Cookie] | None:
    """Read the options of each `fetch`; raise NotLoggedIn if the browser left the cookies out, as for the browser."""
    if not _FETCH.match(document.text):
        return None
    calls = list(_fetch_calls(document.text))
    if not calls:
        hint = "copy the request again: Copy as fetch (Node.js)"
        raise BadInput(f"{document.source} is not a whole call of fetch", hint=hint)
    headers = [(host, header) for host, header in calls if header is not None]
    if not headers:
        hint = "copy the request again: Copy as fetch (Node.js), or Copy as cURL"
        raise NotLoggedIn(f"{document.source} is a call of fetch without cookies", hint=hint)
    return [cookie for host, header in headers for cookie in parse_cookie_header(header, host)]


def _words(document: Document) -> Iterator[str]:
    """Cut into words as bash does; words that are too long for a header come back empty."""
    text = document.text
    if _CMD.match(text):
        text = _CARET.sub(lambda match: match[1].strip("\n"), text)
    text = _CARET_AT_THE_END.sub(" ", text)
    end = 0
    while match := _WORD.match(text, end):
        end = match.end()
        yield _plain_word(match[1])
    if text[end:].strip():
        hint = "copy the request again: Copy as cURL"
        raise BadInput(f"{document.source} is not a whole curl command", hint=hint)


def _plain_word(word: str) -> str:
    if _PLAIN.fullmatch(word):  # most words, and ten times faster
        return word
    return _PARTS.sub(_unquote, word) if len(word) <= _LONGEST_WORD else ""


def _unquote(match: re.Match[str]) -> str:
    part = match[0]
    if part.startswith("$'"):
        return _ANSI_C.sub(_control, part[2:-1])
    if part[0] == "'":
        return part[1:-1]
    if part[0] == '"':
        return _ESCAPED_IN_QUOTES.sub(lambda escape: escape[1].strip("\n"), part[1:-1])
    return part[1:].strip("\n") if part[0] == "\\" else part


def _control(match: re.Match[str]) -> str:
    for digits, base in ((match[1], 16), (match[2], 16), (match[3], 8)):
        if digits:
            return chr(int(digits, base))
    return _CONTROLS.get(match[4], match[4])


def _commands(words: Iterator[str]) -> Iterator[list[str]]:
    """Cut where the developer tools put one command after another."""
    command: list[str] = []
    for word in words:
        if word in (";", "&", "&&"):
            yield command
            command = []
        elif word:
            command.append(word)
    yield command


def _host(command: list[str]) -> str:
    for before, word in pairwise(command):
        if before not in _TAKES_ANOTHER_URL and (host := host_of_url(word)):
            return host
    return ""


def _cookie_headers(command: list[str]) -> Iterator[str]:
    words = iter(command)
    for word in words:
        match = _OPTION.fullmatch(word) if word[0] == "-" else None
        if not match:
            continue
        option, argument = match[1], match[2] or next(words, "")
        if option in ("-b", "--cookie"):
            yield argument
        elif argument[:7].lower() == "cookie:":
            yield argument[7:]


def _plain(literal: str) -> str:
    return _BACKTICK.sub(r"\1", literal[1:-1]) if literal.startswith('"') else literal[1:-1]


def _fetch_calls(text: str) -> Iterator[tuple[str, str | None]]:
    """Give the host and the cookie header of each call that is whole."""
    decoder, end = json.JSONDecoder(), 0
    while match := _FETCH_CALL.search(text, end):
        end = match.end()
        try:
            options, end = decoder.raw_decode(text, end)
        except (ValueError, RecursionError):
            return  # not `continue`: each of these errors counts the lines from the beginning
        headers = options.get("headers")
        named = (
            {key.lower(): value for key, value in headers.items()}
            if isinstance(headers, dict)
            else {}
        )
        header = named.get("cookie")
        yield host_of_url(match[1]), header if isinstance(header, str) else None


READERS = (
    curl_cookies,
    powershell_cookies,
    fetch_cookies,
)
RANK = 30
NAMES = ("curl (bash, cmd)", "PowerShell", "fetch (Node.js)")
