"""Cookie files of any format, damaged: a session or an error of ours, in no time, and no value in its words."""

from __future__ import annotations

import json
import random

from fuzz._draw import mutated
from reka_cli.cookies.files import parse_session
from reka_cli.errors import RekaError

HOST, VALUE = "space.reka.ai", "canary5e55104"
URL = f"https://{HOST}/api/me"
ROW = {
    "domain": HOST,
    "name": "appSession",
    "path": "/",
    "value": VALUE,
    "expirationDate": 1_900_000_000,
    "hostOnly": True,
}
ENTRY = {
    "startedDateTime": "2026-11-22T10:00:00.000Z",
    "time": 12.5,
    "request": {"url": URL, "headers": [{"name": "Cookie", "value": f"_ga=1; appSession={VALUE}"}]},
    "response": {"headers": [{"name": "Set-Cookie", "value": f"appSession={VALUE}; Max-Age=60"}]},
}
SAMPLES = [
    text.encode()
    for text in (
        f"# Netscape HTTP Cookie File\n#HttpOnly_{HOST}\tFALSE\t/\tTRUE\t1900000000\tappSession\t{VALUE}\n",
        json.dumps([ROW]),
        json.dumps({"cookies": [ROW], "origins": []}),
        json.dumps({"url": URL, "cookies": [ROW]}),
        json.dumps({"log": {"version": "1.2", "entries": [ENTRY]}}),
        f"curl '{URL}' -H 'accept: */*' -b 'appSession={VALUE}' --compressed",
        f'curl ^"{URL}^" ^\n -H ^"accept: */*^" ^\n -b ^"appSession={VALUE}^"',
        f"curl $'{URL}' -H $'Cookie: appSession={VALUE}\\u0021'",
        f'$session.Cookies.Add((New-Object System.Net.Cookie("appSession", "{VALUE}", "/", "{HOST}")))\nInvoke-WebRequest -Uri "{URL}"',
        f'fetch("{URL}", {{"headers": {{"cookie": "appSession={VALUE}"}}, "method": "GET"}});',
        f"GET /api/me HTTP/1.1\nHost: {HOST}\nCookie: appSession={VALUE}\n",
        f"Cookie: appSession.0={VALUE}; appSession.1={VALUE}",
        f"Set-Cookie: appSession={VALUE}; Path=/; Expires=Wed, 01 Jan 2031 00:00:00 GMT; Secure",
        VALUE * 10,
    )
]
WORDS = (b"'", b'"', b"\\", b"^", b"^\n", b"`", b"$'", b"{", b"[", b"]}", b"\t", b"\n", b"; ", b"=", b"curl ", b"\0", b"\xff", b"\\u", b"#HttpOnly_", b"1e999", b"appSession=")  # fmt: skip


def once(data: random.Random) -> None:
    content = mutated(data, data.choice(SAMPLES), WORDS)
    if data.random() < 0.1:
        content = content.decode("utf-8", "replace").encode("utf-16")
    try:
        parse_session(content, "file", data.choice((HOST, None)), 1_800_000_000.0)
    except RekaError as error:
        said = f"{error.message} {error.hint} {error.__context__}"
    else:
        said = ""
    assert VALUE not in said, content
