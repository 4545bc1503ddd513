"""Every form in which users have their cookies, as one table: what is read from each, or what is said instead."""

import base64
import json
import sys
import traceback
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reka_cli.cookies.files import parse_session, read_session
from reka_cli.cookies.formats import known_formats
from reka_cli.cookies.session import Cookie, Session
from reka_cli.errors import BadInput, NotLoggedIn, RekaError

SPACE, CHAT = "space.reka.ai", "chat.reka.ai"
NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC
SOON, PAST = NOW + 100, NOW - 100
CANARY = "canary-5e55104"
BOTH = "space.reka.ai or chat.reka.ai"
EXPORT = "log in at https://space.reka.ai and export again"
URL = f"https://{SPACE}/api/me"
SENT = f"_ga=GA1.1; appSession={CANARY}; theme=dark"


def live(host=SPACE, expires_s=None, value=CANARY, cookie_host=None):
    return Session(host, (Cookie(cookie_host or host, "appSession", value, expires_s),))


def chunks(*values):
    return Session(
        SPACE,
        tuple(Cookie(SPACE, f"appSession.{index}", value) for index, value in enumerate(values)),
    )


def jwe(**claims):
    head = base64.urlsafe_b64encode(
        json.dumps({"alg": "dir", "enc": "A256GCM", **claims}).encode()
    ).decode()
    return f"{head.rstrip('=')}..{CANARY}.{CANARY}.{CANARY}"


def row(**others):
    return {"domain": SPACE, "name": "appSession", "path": "/", "value": CANARY, **others}


def entry(sent=None, received=(), url=URL, **others):
    headers = [{"name": "cookie", "value": sent}] if sent else []
    answers = [{"name": "Set-Cookie", "value": value} for value in received]
    return {"request": {"url": url, "headers": headers}, "response": {"headers": answers}, **others}


def har(*entries):
    return {"log": {"version": "1.2", "entries": list(entries)}}


def fetched(*headers, url=URL):
    options = {"headers": {"accept": "*/*", **dict(headers)}, "body": None, "method": "GET"}
    return f'fetch("{url}", {json.dumps(options, indent=2)});'


def net_cookie(*arguments):
    quoted = ", ".join(f'"{argument}"' for argument in arguments)
    return (
        "$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession\n"
        f"$session.Cookies.Add((New-Object System.Net.Cookie({quoted})))\n"
        f'Invoke-WebRequest -UseBasicParsing -Uri "{URL}" `\n-WebSession $session\n'
    )


NETSCAPE = f"# Netscape HTTP Cookie File\n\n#HttpOnly_{SPACE}\tFALSE\t/\tTRUE\t{SOON:.0f}\tappSession\t{CANARY}\n"
COOKIE_EDITOR = [
    row(
        hostOnly=True,
        httpOnly=True,
        session=False,
        expirationDate=SOON,
        storeId=None,
        sameSite="lax",
    )
]
RAW_REQUEST = f"GET /api/me HTTP/1.1\nHost: {SPACE}\nAccept: */*\nCookie: {SENT}\n"
DATED = jwe(iat=PAST, uat=PAST, exp=SOON)

SAMPLES = {
    "netscape": (NETSCAPE, live(expires_s=SOON)),
    "netscape without heading": (NETSCAPE.partition("\n\n")[2], live(expires_s=SOON)),
    "netscape with bom": ("\ufeff" + NETSCAPE, live(expires_s=SOON)),
    "netscape with crlf": (NETSCAPE.replace("\n", "\r\n"), live(expires_s=SOON)),
    "netscape in utf-16": (NETSCAPE.encode("utf-16"), live(expires_s=SOON)),
    "netscape with blanks": (NETSCAPE.replace("\t", "   "), live(expires_s=SOON)),
    "netscape with a byte that is none": (
        NETSCAPE.encode() + b"x.example\tTRUE\t/\tTRUE\t0\tx\t\xff\n",
        live(expires_s=SOON),
    ),
    "netscape for the domain": (
        f"reka.ai\tTRUE\t/\tTRUE\t0\tappSession\t{CANARY}",
        live(cookie_host="reka.ai"),
    ),
    "cookie-editor": (COOKIE_EDITOR, live(expires_s=SOON)),
    "cookie-editor for the domain": (
        [row(domain="reka.ai", hostOnly=False)],
        live(cookie_host="reka.ai"),
    ),
    "editthiscookie": ([row(hostOnly=True, session=True, storeId="0", id=1)], live()),
    "a partitioned cookie beside it": (
        [row(), row(partitionKey={"topLevelSite": "https://x.example"}, value="x")],
        live(),
    ),
    "puppeteer": ([row(expires=-1, size=24, session=True, sourceScheme="Secure")], live()),
    "puppeteer with an address": (
        [{"name": "appSession", "value": CANARY, "url": f"https://{CHAT}/"}],
        live(CHAT),
    ),
    "selenium": ([row(expiry=SOON, secure=True)], live(expires_s=SOON)),
    "one cookie": (row(domain=f".{SPACE}"), live()),
    "one cookie without a host": ({"name": "appSession", "value": CANARY}, live()),
    "playwright": (
        {"cookies": [row(expires=SOON, sameSite="Lax")], "origins": []},
        live(expires_s=SOON),
    ),
    "playwright, indented": (
        json.dumps({"cookies": [row(expires=-1)], "origins": []}, indent=2),
        live(),
    ),
    "j2team": (
        {"url": f"https://{CHAT}/chat", "cookies": [row(domain=CHAT, expirationDate=SOON)]},
        live(CHAT, SOON),
    ),
    "j2team without domains": (
        {"url": URL, "cookies": [{"name": "appSession", "value": CANARY}]},
        live(),
    ),
    "map": ({"_ga": "GA1.1", "appSession": CANARY}, live()),
    "map with chunks": ({"appSession.1": "b", "appSession.0": "a"}, chunks("a", "b")),
    "har": (har(entry("_ga=1", url="https://x.example/"), entry(SENT)), live()),
    "har: a later set-cookie": (
        har(entry(SENT.replace(CANARY, "old"), [f"appSession={CANARY}; Path=/"])),
        live(),
    ),
    "har: a later cookie": (
        har(
            entry("appSession=old", ["appSession=older"]),
            entry(SENT, startedDateTime="2099-01-01T00:00:00Z"),
        ),
        live(),
    ),
    "har: a request that overtook the answer": (
        har(
            entry(
                "appSession=old",
                [f"appSession={CANARY}"],
                startedDateTime="2027-01-15T08:00:00.000Z",
                time=500.5,
            ),
            entry("appSession=old", startedDateTime="2027-01-15T08:00:00.200Z", time=50),
        ),
        live(),
    ),
    "har: the age counts from the answer": (
        har(
            entry(
                SENT, [f"appSession={CANARY}; Max-Age=300"], startedDateTime="2027-01-15T07:56:40Z"
            ),
            entry(SENT, startedDateTime="2027-01-15T07:56:41Z"),
        ),
        live(expires_s=SOON),
    ),
    "har: several in one header": (
        har(entry(None, [f"_ga=1\nappSession={CANARY}; Domain=.reka.ai"])),
        live(cookie_host="reka.ai"),
    ),
    "har: no dates": (
        har(entry(SENT, startedDateTime="2027-13-45", time="x"), entry(SENT, startedDateTime=1)),
        live(),
    ),
    "har: entries that are none": (
        har(None, 1, {}, {"request": {"url": 1, "headers": [1, {"name": "cookie"}]}}, entry(SENT)),
        live(),
    ),
    "curl of chrome": (
        f"curl '{URL}' \\\n  -H 'accept: */*' \\\n  -b '{SENT}' \\\n  --compressed",
        live(),
    ),
    "curl of firefox": (
        f"curl '{URL}' --compressed -X POST -H 'Accept: */*' -H 'Cookie: {SENT}' --data-raw 'a b'",
        live(),
    ),
    "curl with crlf": (f"curl '{URL}' \\\r\n  -H 'cookie: {SENT}'\r\n", live()),
    "curl with ansi-c quotes": (
        f"curl $'{URL}?q=\\u0021' -b $'a=it\\'s\\u0021; \\x61pp\\123ession={CANARY}'",
        live(),
    ),
    "curl with long options": (
        f'curl --referer https://x.example --header="X: y" --cookie="{SENT}" {URL}',
        live(),
    ),
    "curl with short options": (f'curl -s "{URL}" -b"{SENT}"', live()),
    "curl with double quotes": (
        f'curl "{URL}" -H "Cookie: a=\\"1\\"; appSession={CANARY}"',
        live(),
    ),
    "curl, several": (
        f"curl 'https://x.example/' -b 'appSession=x' ;\ncurl '{URL}' -b '{SENT}'",
        live(),
    ),
    "curl of cmd.exe": (
        f'curl ^"{URL}?a=1^&b=^%^202^" ^\r\n  -H ^"accept: it\'s ^\\^"^" ^\r\n  -b ^"_ga=^%^20; appSession={CANARY}^"',
        live(),
    ),
    "curl of an old cmd.exe": (
        f'curl "{URL}" ^\r\n -H "Cookie: {SENT}" ^\r\n --compressed',
        live(),
    ),
    "powershell": (net_cookie("appSession", CANARY, "/", SPACE), live()),
    "powershell for the domain": (
        net_cookie("appSession", CANARY, "/", ".reka.ai"),
        live(cookie_host="reka.ai"),
    ),
    "powershell with backticks": (
        net_cookie("_ga", '`"`$', "/", SPACE) + net_cookie("`appSession", CANARY, "/", SPACE),
        live(),
    ),
    "powershell without a host": (net_cookie("appSession", CANARY), live()),
    "fetch of node.js": (fetched(("cookie", SENT)), live()),
    "fetch, several": (
        f"{fetched(url='https://x.example/')} ;\nawait {fetched(('Cookie', SENT))}",
        live(),
    ),
    "request headers": (RAW_REQUEST, live()),
    "request headers with crlf": (RAW_REQUEST.replace("\n", "\r\n"), live()),
    "request headers of http/2": (
        f":authority: {CHAT}:443\n:method: GET\ncookie: a=1\ncookie: appSession={CANARY}",
        live(CHAT),
    ),
    "request headers, each value below its name": (
        f":authority:\n{CHAT}\ncookie:\n{SENT}\naccept:\n*/*",
        live(CHAT),
    ),
    "request and answer": (
        f"{RAW_REQUEST}\nHTTP/1.1 200 OK\nSet-Cookie: appSession=new; HttpOnly\n",
        live(value="new"),
    ),
    "header line": (f"Cookie: {SENT}", live()),
    "header line in lower case": (f"cookie: {SENT}\r\n", live()),
    "header string": (SENT, live()),
    "header string of cookie-editor": (f"_ga=GA1%2E1;appSession={CANARY};", live()),
    "header string in quotes": (f"'{SENT}'\n", live()),
    "header string with a name twice": (f"appSession={CANARY}; appSession=x", live()),
    "header string with chunks": ("appSession.0=a; appSession.1=b", chunks("a", "b")),
    "set-cookie line": (
        f"Set-Cookie: appSession={CANARY}; Path=/; HttpOnly; Secure; SameSite=Lax",
        live(),
    ),
    "set-cookie line with an age": (
        f"set-cookie: appSession={CANARY}; Max-Age=100",
        live(expires_s=SOON),
    ),
    "set-cookie value": (
        f"appSession={CANARY}; Path=/; Expires=Fri, 15 Jan 2027 08:01:40 GMT; Secure",
        live(expires_s=SOON),
    ),
    "set-cookie for the other host": (
        f"Set-Cookie: appSession={CANARY}; Domain={CHAT}",
        live(CHAT),
    ),
    "bare value": (DATED, live(value=DATED, expires_s=SOON)),
    "bare value in quotes": (f'"{jwe()}"\n', live(value=jwe())),
    "value that says its end": ({"appSession": DATED}, live(value=DATED, expires_s=SOON)),
    "value whose end the cookie says": (
        [row(value=jwe(exp=PAST), expires=SOON)],
        live(value=jwe(exp=PAST), expires_s=SOON),
    ),
}


def without(name="FILE"):
    return NotLoggedIn, f"{name} has no session cookie (appSession) of {BOTH}", EXPORT


def expired(date):
    return NotLoggedIn, f"the session of {BOTH} in FILE expired on {date}", EXPORT


KNOWN = known_formats()
UNKNOWN = (BadInput, "FILE is not a cookie file of a known format", KNOWN)
STRIPPED = (
    NotLoggedIn,
    "FILE is a HAR file without cookies",
    "export it again with sensitive data (the developer tools' settings, Network)",
)
NOT_WHOLE_CURL = (
    BadInput,
    "FILE is not a whole curl command",
    "copy the request again: Copy as cURL",
)
NOT_WHOLE_FETCH = (
    BadInput,
    "FILE is not a whole call of fetch",
    "copy the request again: Copy as fetch (Node.js)",
)
BROWSER_FETCH = (
    NotLoggedIn,
    "FILE is a call of fetch without cookies",
    "copy the request again: Copy as fetch (Node.js), or Copy as cURL",
)

REFUSED = {
    "lwp": (
        f'#LWP-Cookies-2.0\nSet-Cookie3: appSession={CANARY}; path="/"; domain="{SPACE}"; version=0\n',
        (BadInput, "FILE is an LWP cookie file, which is not read", "save it as cookies.txt"),
    ),
    "safari": (
        b"cook\x00\x00\x00\x01" + CANARY.encode(),
        (
            BadInput,
            "FILE holds Safari's cookies, which are not read from a file",
            "on macOS: reka-cli login --browser safari",
        ),
    ),
    "a database that is no file": (
        b"SQLite format 3\x00" + CANARY.encode(),
        (
            BadInput,
            "FILE is a database of cookies, which is read only from its own file",
            "give the path of the database",
        ),
    ),
    "har, sanitised": (har(entry(), entry()), STRIPPED),
    "har without entries": (har(), STRIPPED),
    "har of a neighbour": (har(entry(SENT, url="https://space.reka.ai.evil.example/")), without()),
    "har of a user name": (har(entry(SENT, url=f"https://{SPACE}@evil.example/")), without()),
    "har of a user name behind": (
        har(entry(SENT, url=f"https://evil.example\\@{SPACE}/")),
        without(),
    ),
    "har with the cookie of another": (
        har(entry(None, [f"appSession={CANARY}; Domain={CHAT}"])),
        without(),
    ),
    "har with a logout": (
        har(entry(SENT, ["appSession=; Max-Age=0"], startedDateTime="2027-01-14T08:00:00Z")),
        expired("2027-01-14"),
    ),
    "a map of other cookies": ({"_ga": CANARY}, without()),
    "an empty map": ({}, without()),
    "a list whose domains are none": ([row(domain=None)], without()),
    "the site of reka.ai alone": ([row(domain="reka.ai", hostOnly=True)], without()),
    "the site of reka.ai alone in netscape": (
        f"reka.ai\tFALSE\t/\tTRUE\t0\tappSession\t{CANARY}",
        without(),
    ),
    "a partitioned cookie alone": ([row(partitionKey="https://x.example")], without()),
    "curl without cookies": (f"curl '{URL}' -H 'accept: */*' -b", without()),
    "curl to a neighbour": (f"curl 'https://my{SPACE}/' -b '{SENT}'", without()),
    "curl to nowhere": (f"curl -b '{SENT}'", without()),
    "curl with the name of a jar": (f"curl '{URL}' -b {CANARY}.txt", without()),
    "curl that is cut off": (f"curl '{URL}' -b '{SENT}", NOT_WHOLE_CURL),
    "curl of cmd.exe that is cut off": (f'curl ^"{URL}^" ^\n -b ^"{SENT}', NOT_WHOLE_CURL),
    "powershell without cookies": (f'Invoke-WebRequest -UseBasicParsing -Uri "{URL}"', without()),
    "powershell of a neighbour": (net_cookie("appSession", CANARY, "/", "reka.ai"), without()),
    "powershell that is cut off": (net_cookie("appSession", CANARY, "/", SPACE)[:150], without()),
    "fetch of a browser": (fetched(), BROWSER_FETCH),
    "fetch of a browser with credentials": (
        f'await fetch("{URL}", {{"credentials": "include"}});',
        BROWSER_FETCH,
    ),
    "fetch with a cookie that is none": (fetched(("cookie", [CANARY])), BROWSER_FETCH),
    "fetch that is cut off": (fetched(("cookie", SENT))[:-20], NOT_WHOLE_FETCH),
    "fetch written by hand": (
        f"fetch('{URL}', {{headers: {{cookie: '{CANARY}'}}}})",
        NOT_WHOLE_FETCH,
    ),
    "fetch from a neighbour": (fetched(("cookie", SENT), url="http://reka.ai/"), without()),
    "request headers of a neighbour": (RAW_REQUEST.replace(SPACE, "www.reka.ai"), without()),
    "request headers of a strange host": (RAW_REQUEST.replace(SPACE, "[::1]"), without()),
    "a cookie header with nothing": ("Cookie:", without()),
    "set-cookie that deletes": (
        f"Set-Cookie: appSession={CANARY}; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        expired("1970-01-01"),
    ),
    "set-cookie of a neighbour": (
        f"Set-Cookie: appSession={CANARY}; Domain=evil.example",
        without(),
    ),
    "set-cookie of another name": (f"other={CANARY}; Path=/", without()),
    "a value that says its end": (jwe(exp=PAST), expired("2027-01-15")),
    "a chunk that says its end": (
        {"appSession.0": jwe(exp=PAST), "appSession.1": CANARY},
        expired("2027-01-15"),
    ),
    "an expired cookie beside a damaged one": (
        [row(expires=PAST), row(domain=CHAT, value=f"{CANARY} x")],
        expired("2027-01-15"),
    ),
    "half a value": (f"{CANARY}.{CANARY}.{CANARY}", UNKNOWN),
    "a version in five parts": ("1.2.3.4.5", UNKNOWN),
    "a value with a break": (DATED[:20] + "\n" + DATED[20:], UNKNOWN),
    "settings in lines": (f"A=1\nSECRET={CANARY}\n", UNKNOWN),
    "an address": (f"https://{SPACE}/?appSession={CANARY}", UNKNOWN),
    "six tabs that are no cookie": (f"a\tb\tc\td\te\tf\t{CANARY}", UNKNOWN),
    "a line longer than any header": (f"a={CANARY}" + "x" * (1 << 20), UNKNOWN),
}


def data_of(content):
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def failure(data, path=None):
    """Give class, message and hint of the error; look for the value in all that a person could see of it."""
    with pytest.raises(RekaError) as caught:
        parse_session(data, "FILE", None, NOW, path)
    error = caught.value
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(error) + str(error.hint)
    assert error.__context__ is None
    return type(error), error.message, error.hint


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_gives_its_session(name):
    content, expected = SAMPLES[name]
    found = parse_session(data_of(content), "FILE", None, NOW)
    assert found == expected
    assert CANARY not in repr(found)


@pytest.mark.parametrize("name", REFUSED)
def test_what_gives_no_session_is_refused_with_the_cure(name):
    content, expected = REFUSED[name]
    assert failure(data_of(content)) == expected


@pytest.mark.parametrize(
    "content", [f"appSession={CANARY}", {"appSession": CANARY}, f"Cookie: {SENT}", jwe()]
)
def test_a_format_without_a_host_is_of_the_host_that_is_asked_for(content):
    assert parse_session(data_of(content), "FILE", CHAT, NOW).host == CHAT


def test_a_format_without_a_host_is_of_space_if_the_base_is_no_host_of_reka():
    assert parse_session(SENT.encode(), "FILE", "127.0.0.1", NOW) == live()


def test_the_hint_for_an_unknown_format_is_one_line_with_every_format():
    words = "Netscape Cookie-Editor Puppeteer Selenium Playwright J2TEAM HAR curl cmd PowerShell fetch headers Set-Cookie value Firefox Chrome"
    assert "\n" not in KNOWN
    assert [word for word in words.split() if word not in KNOWN] == []


class TestADatabase:
    @pytest.fixture
    def read_database(self, monkeypatch):
        """Put what `browsers.read_database` gives, and give what it was asked for."""
        asked = []

        def put(answer):
            def read_database(path, now_s):
                asked.append((path, now_s))
                if isinstance(answer, Exception):
                    raise answer
                return answer

            module = types.ModuleType("reka_cli.cookies.browsers")
            module.read_database = read_database
            monkeypatch.setitem(sys.modules, "reka_cli.cookies.browsers", module)
            return asked

        return put

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "copied.txt"
        path.write_bytes(b"SQLite format 3\x00" + CANARY.encode() * 10)
        return path

    def test_is_read_from_its_file(self, read_database, path):
        asked = read_database(
            [Cookie("example.com", "appSession", "x"), Cookie(SPACE, "appSession", CANARY, SOON)]
        )
        assert read_session(path, None, NOW) == live(expires_s=SOON)
        assert asked == [(path, NOW)]

    def test_may_be_larger_than_a_text(self, read_database, path, monkeypatch):
        monkeypatch.setattr("reka_cli.cookies.files.LARGEST", 20)
        read_database([Cookie(SPACE, "appSession", CANARY)])
        assert read_session(path, None, NOW) == live()

    @pytest.mark.parametrize(
        "error", [BadInput("locked", hint="close it"), NotLoggedIn("nothing", hint="log in")]
    )
    def test_passes_on_why_it_cannot_be_read(self, read_database, path, error):
        read_database(error)
        assert failure(path.read_bytes(), path) == (type(error), error.message, error.hint)

    def test_says_what_is_missing(self, read_database, path):
        read_database([Cookie(SPACE, "appSession", CANARY, PAST)])
        assert failure(path.read_bytes(), Path("FILE")) == expired("2027-01-15")


def mutated(data):
    """Cut, double, splice in what the formats are made of: most of it is still recognised."""
    pieces = st.sampled_from(
        [
            b"",
            b"\x00",
            b"\xff",
            b'"',
            b"'",
            b"\\",
            b"^",
            b"`",
            b"{",
            b"[",
            b"\t",
            b"\n",
            b";",
            b"=",
            b"\\ud800",
            b"1e999",
            b"9" * 400,
        ]
    )
    places = st.tuples(st.integers(0, len(data)), st.integers(0, 8), pieces)
    return st.lists(places, max_size=4).map(lambda edits: _edited(data, edits))


def _edited(data, edits):
    for place, cut, piece in edits:
        data = data[:place] + piece + data[place + cut :]
    return data


EVERY = [data_of(content) for content, _ in [*SAMPLES.values(), *REFUSED.values()]]
EVERY = [data for data in EVERY if len(data) < 10_000]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(str.encode),
        st.sampled_from(EVERY).flatmap(mutated),
    )
)
def test_whatever_the_bytes_there_is_a_session_or_an_error_of_ours_without_a_value(data):
    try:
        found = parse_session(data, "FILE", None, NOW)
    except RekaError as error:
        seen = "".join(traceback.format_exception(error)) + repr(error) + str(error.hint)
    else:
        seen = repr(found)
        assert all(cookie.host in (SPACE, CHAT, "reka.ai") for cookie in found.cookies)
    assert CANARY not in seen
