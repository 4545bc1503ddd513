import json
import os
import traceback
from pathlib import Path

import pytest

from reka_cli.cookies import files
from reka_cli.cookies.files import read_session
from reka_cli.cookies.formats import known_formats, parse_cookies
from reka_cli.cookies.formats._document import Document
from reka_cli.cookies.session import Cookie, Session
from reka_cli.errors import BadInput, DeadlineExceeded, NotLoggedIn

SPACE, CHAT = "space.reka.ai", "chat.reka.ai"
NOW = 1_800_000_000.0
SOON, LATER, PAST = NOW + 100, NOW + 200, NOW - 1
CANARY = "canary-5e55104"
HEADER = "# Netscape HTTP Cookie File\n# https://curl.se/docs/http-cookies.html\n\n"
EXPORT = "log in at https://space.reka.ai and export again"


def line(host=SPACE, name="appSession", value="v", expiry="0", separator="\t"):
    return separator.join([host, "FALSE", "/", "TRUE", expiry, name, value])


def row(host=SPACE, name="appSession", value="v", **others):
    return {
        "domain": host,
        "name": name,
        "value": value,
        "path": "/",
        "secure": True,
        "httpOnly": True,
        **others,
    }


def session(value="v", expires_s=None, host=SPACE):
    return Session(host, (Cookie(host, "appSession", value, expires_s),))


@pytest.fixture
def read(tmp_path):
    """Write a cookie file of text, bytes or JSON and give the session in it."""

    def written_and_read(content, host=None):
        path = tmp_path / "cookies"
        data = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return read_session(path, host, NOW)

    return written_and_read


@pytest.fixture
def failure(read, tmp_path):
    """Give class, message and hint of the error for a cookie file; its path is `FILE` in the message."""

    def of(content, host=None):
        with pytest.raises((BadInput, NotLoggedIn)) as caught:
            read(content, host)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        error = caught.value
        return type(error), error.message.replace(str(tmp_path / "cookies"), "FILE"), error.hint

    return of


class TestANetscapeFile:
    @pytest.mark.parametrize(
        "content",
        [
            HEADER + line() + "\n",
            "# HTTP Cookie File\n" + line(),
            line(),
            "\n\n" + line() + "\n\n",
            HEADER + "#HttpOnly_" + line() + "\n",
            HEADER + line("." + SPACE) + "\n",
            HEADER + line("Space.Reka.AI") + "\n",
            "\ufeff" + HEADER + line() + "\n",
            "\ufeff" + line() + "\n",
            (HEADER + line() + "\n").replace("\n", "\r\n"),
            (HEADER + line() + "\n").encode("utf-16"),
            b"\xfe\xff" + (HEADER + line()).encode("utf-16-be"),
            HEADER + line(separator="  ") + "\n",
            HEADER + "#HttpOnly_" + line(separator=" ") + "\n",
            HEADER + line() + "\tLax\n",
            HEADER + line() + "\tLax\tMedium\n",
            HEADER + line(value="v ") + "\n",
            HEADER
            + "# "
            + line(value="commented")
            + "\n"
            + line()
            + "\n#"
            + line(value="commented")
            + "\n",
            HEADER
            + "\n".join(
                [
                    "x",
                    "a\tb\tc",
                    SPACE,
                    line(name="_ga", value="a b"),
                    line("example.com"),
                    line(),
                    "end",
                ]
            ),
        ],
        ids=[
            *(
                "with_header",
                "with_the_old_header",
                "without_header",
                "between_blank_lines",
                "http_only",
                "leading_dot",
            ),
            *(
                "capitals",
                "bom_and_header",
                "bom_alone",
                "crlf",
                "utf16",
                "utf16_big_endian",
                "blanks_for_tabs",
            ),
            *(
                "http_only_and_blanks_for_tabs",
                "eight_columns",
                "nine_columns",
                "blank_at_the_end",
                "comments",
                "bad_lines",
            ),
        ],
    )
    def test_gives_its_session(self, read, content):
        assert read(content) == session()

    @pytest.mark.parametrize(
        ("expiry", "expires_s"),
        [
            *(
                ("0", None),
                ("-1", None),
                ("", None),
                ("never", None),
                ("nan", None),
                ("inf", None),
                ("1" * 400, None),
            ),
            *(("1800000100", SOON), ("1800000100.25", SOON + 0.25), ("1.8000001e9", SOON)),
            *(("1800000100000", SOON), ("1800000100250", SOON + 0.25), ("13444473700000000", SOON)),
        ],
    )
    def test_says_when_the_session_ends(self, read, expiry, expires_s):
        assert read(HEADER + line(expiry=expiry)) == session(expires_s=expires_s)

    def test_gives_a_session_in_chunks(self, read):
        content = (
            HEADER
            + line(name="appSession.1", value="b")
            + "\n"
            + line(name="appSession.0", value="a")
            + "\n"
        )
        assert read(content).header == "appSession.0=a; appSession.1=b"

    def test_gives_a_session_of_the_whole_domain(self, read):
        assert read(line(".reka.ai"), CHAT) == Session(
            CHAT, (Cookie("reka.ai", "appSession", "v"),)
        )

    def test_gives_every_cookie_of_any_host(self):
        text = "\n".join(
            [line(), line(".example.com", "_ga", "GA1", "1800000100"), line(CHAT, "x", "", "-1")]
        )
        cookies = [
            Cookie(SPACE, "appSession", "v"),
            Cookie("example.com", "_ga", "GA1", SOON),
            Cookie(CHAT, "x", ""),
        ]
        assert parse_cookies(Document(text, "it", SPACE, NOW)) == cookies


class TestAJsonFile:
    @pytest.mark.parametrize(
        ("rows", "expires_s"),
        [
            ([row(session=True, hostOnly=True, sameSite="lax", storeId=None)], None),
            ([row(session=False, expirationDate=1800000100.25)], SOON + 0.25),
            ([row(session=False, expirationDate=1800000100)], SOON),
            ([row(expirationDate="1800000100")], SOON),
            ([row(expirationDate=None, session=True)], None),
            (
                [row(expires=-1, session=True, size=12, sameParty=False, sourceScheme="Secure")],
                None,
            ),
            ([row(expires=1800000100.25, session=False, size=12)], SOON + 0.25),
            ([row(expires=1800000100250)], SOON + 0.25),
            ([row(expiry=1800000100)], SOON),
            ([row(expires="")], None),
            ([row(expires="2027-01-15T08:00:00Z")], None),
            ([row(expires=[1])], None),
            ([row(expires=10**400)], None),
            ([row(expires=0, expirationDate=1800000100)], SOON),
        ],
        ids=[
            *(
                "cookie_editor_session",
                "cookie_editor_expiry",
                "whole_seconds",
                "a_number_as_text",
                "null",
            ),
            *(
                "puppeteer_session",
                "puppeteer_expiry",
                "milliseconds",
                "webdriver_expiry",
                "empty",
                "a_date",
            ),
            *("no_number", "a_number_too_large", "the_first_key_that_says"),
        ],
    )
    def test_says_when_the_session_ends(self, read, rows, expires_s):
        assert read(rows) == session(expires_s=expires_s)

    @pytest.mark.parametrize(
        "content",
        [
            "\n  " + json.dumps([row()], indent=4),
            "\ufeff" + json.dumps([row()]),
            json.dumps([row()]).encode("utf-16"),
            [row("." + SPACE)],
            [
                None,
                1,
                "x",
                [],
                {},
                {"domain": SPACE},
                {**row(), "value": 1},
                row("example.com"),
                row(name="_ga"),
                row(),
            ],
        ],
        ids=["indented", "bom", "utf16", "leading_dot", "bad_rows"],
    )
    def test_gives_its_session(self, read, content):
        assert read(content) == session()

    def test_gives_a_session_in_chunks(self, read):
        rows = [
            row(name=f"appSession.{index}", value=value)
            for index, value in ((2, "c"), (0, "a"), (1, "b"))
        ]
        assert read(rows).header == "appSession.0=a; appSession.1=b; appSession.2=c"


def as_netscape(cookies):
    return HEADER + "\n".join(
        line(host, name, value, f"{expiry or 0:.0f}") for host, name, value, expiry in cookies
    )


def as_json(cookies):
    return [row(host, name, value, expirationDate=expiry) for host, name, value, expiry in cookies]


@pytest.mark.parametrize("form", [as_netscape, as_json])
class TestAFileWithSessionsOfBothHosts:
    def test_gives_that_of_the_other_host_if_the_base_has_none(self, read, form):
        assert read(form([(SPACE, "appSession", SPACE, LATER)]), CHAT) == session(
            SPACE, LATER, SPACE
        )

    @pytest.mark.parametrize("host", [SPACE, CHAT])
    @pytest.mark.parametrize(("space_expires_s", "chat_expires_s"), [(SOON, LATER), (LATER, SOON)])
    def test_gives_that_of_the_base_host(self, read, form, host, space_expires_s, chat_expires_s):
        ends = {SPACE: space_expires_s, CHAT: chat_expires_s}
        cookies = [(one, "appSession", one, expiry) for one, expiry in ends.items()]
        assert read(form(cookies), host) == session(host, ends[host], host)

    @pytest.mark.parametrize(
        ("space_expires_s", "chat_expires_s", "host"),
        [
            (SOON, LATER, CHAT),
            (LATER, SOON, SPACE),
            (None, LATER, SPACE),
            (SOON, None, CHAT),
            (PAST, SOON, CHAT),
        ],
    )
    @pytest.mark.parametrize("base_host", [None, "127.0.0.1", "localhost"])
    def test_gives_the_one_that_ends_later(
        self, read, form, base_host, space_expires_s, chat_expires_s, host
    ):
        ends = {SPACE: space_expires_s, CHAT: chat_expires_s}
        cookies = [(one, "appSession", one, expiry) for one, expiry in ends.items()]
        assert read(form(cookies), base_host) == session(host, ends[host], host)


KNOWN = known_formats()
UNKNOWN = (BadInput, "FILE is not a cookie file of a known format", KNOWN)


class TestAFileThatIsNoCookieFile:
    @pytest.mark.parametrize(
        "content",
        [
            "",
            " \n\n",
            CANARY,
            f"the cookie that I found in my browser is called {CANARY} or so\n",
            f"<html><body class='login page of Reka' id='a' data-b='c' data-d='e'>{CANARY}</body></html>",
            f'"{CANARY}"',
            f"# a comment with {CANARY}\n",
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + CANARY.encode(),
            b"\x00" * 100,
            CANARY.encode() + b"\xff",
            b"\xff\xfe" + CANARY.encode() + b"x",
        ],
        ids=[
            *(
                "empty",
                "blank",
                "a_value",
                "prose",
                "a_page",
                "a_json_string",
                "comments",
                "an_image",
                "zeros",
            ),
            *("no_utf8", "half_utf16"),
        ],
    )
    def test_is_refused_with_the_formats_that_are_known(self, failure, content):
        assert failure(content) == UNKNOWN

    @pytest.mark.parametrize(
        "content",
        [
            "[",
            json.dumps([row(value=CANARY)])[:-1],
            json.dumps([row(value=CANARY)]) + "x",
            "[" * 100_000,
            f"[{CANARY}]",
            f'{{"cookies": "{CANARY}',
            '{"a":' * 100_000,
            "[" + "1" * 5000 + "]",
        ],
        ids=[
            *(
                "a_bracket",
                "no_end",
                "more_after_the_end",
                "too_deep",
                "no_json",
                "an_object_without_end",
            ),
            *("an_object_too_deep", "a_number_too_long"),
        ],
    )
    def test_is_refused_if_its_json_is_not_whole(self, failure, content):
        assert failure(content) == (BadInput, "FILE is not whole JSON", KNOWN)

    @pytest.mark.parametrize(
        "content",
        [
            *(
                [CANARY],
                [1, None],
                [[row(value=CANARY)]],
                {"cookies": [CANARY]},
                {"log": [CANARY]},
                {"a": {"b": CANARY}},
            ),
            {"name": "appSession", "value": [CANARY]},
        ],
        ids=[
            "texts",
            "numbers",
            "lists",
            "a_state_of_texts",
            "a_log_without_entries",
            "a_tree",
            "a_value_that_is_none",
        ],
    )
    def test_is_refused_if_its_json_has_no_cookies(self, failure, content):
        assert failure(content) == (
            BadInput,
            "FILE is JSON, but not cookies in a known form",
            KNOWN,
        )

    def test_is_refused_if_it_is_too_large(self, failure, monkeypatch):
        monkeypatch.setattr(files, "LARGEST", 100)
        assert failure(line(value=CANARY) + "\n" * 100) == (
            BadInput,
            "FILE is too large for a cookie file",
            None,
        )

    def test_is_refused_if_it_is_missing(self, tmp_path):
        with pytest.raises(BadInput) as caught:
            read_session(tmp_path / "nowhere", None, NOW)
        message = f"cannot read {tmp_path / 'nowhere'}: no such file"
        assert (caught.value.message, caught.value.hint) == (message, None)

    def test_is_refused_if_it_is_a_folder(self, tmp_path):
        with pytest.raises(BadInput) as caught:
            read_session(tmp_path, None, NOW)
        message = f"cannot read {tmp_path}: is a directory"
        assert (caught.value.message, caught.value.hint) == (message, None)

    def test_is_not_waited_for_without_end_if_it_is_a_pipe(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "_LONGEST_WAIT_S", 0.1)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DeadlineExceeded) as caught:
            read_session(tmp_path / "pipe", None, NOW)
        assert caught.value.message == f"nothing came from {tmp_path}/pipe within 0.1 s"

    def test_is_refused_if_no_file_can_have_its_name(self):
        with pytest.raises(BadInput) as caught:
            read_session(Path("a\0b"), None, NOW)
        assert caught.value.message == "cannot read ab: embedded null byte"


BOTH = "space.reka.ai or chat.reka.ai"


class TestAFileWithoutALiveSession:
    @pytest.mark.parametrize(
        ("content", "host", "message"),
        [
            (HEADER, None, f"FILE has no session cookie (appSession) of {BOTH}"),
            (HEADER, SPACE, f"FILE has no session cookie (appSession) of {BOTH}"),
            ("[]", None, f"FILE has no session cookie (appSession) of {BOTH}"),
            (
                line(name="_ga", value=CANARY),
                None,
                f"FILE has no session cookie (appSession) of {BOTH}",
            ),
            (
                [row(name="_ga", value=CANARY)],
                CHAT,
                f"FILE has no session cookie (appSession) of {BOTH}",
            ),
            (
                line("example.com", value=CANARY),
                None,
                f"FILE has no session cookie (appSession) of {BOTH}",
            ),
            (
                line("evilreka.ai", value=CANARY),
                None,
                f"FILE has no session cookie (appSession) of {BOTH}",
            ),
            (
                line("space.reka.ai.evil.example", value=CANARY),
                SPACE,
                f"FILE has no session cookie (appSession) of {BOTH}",
            ),
            (
                [row("www.reka.ai", value=CANARY)],
                None,
                f"FILE has no session cookie (appSession) of {BOTH}",
            ),
            (
                line(value=CANARY, expiry="1799999999"),
                None,
                f"the session of {BOTH} in FILE expired on 2027-01-15",
            ),
            (
                line(value=CANARY, expiry="1799999999"),
                SPACE,
                f"the session of {BOTH} in FILE expired on 2027-01-15",
            ),
            (
                line(value=CANARY, expiry="1799999999000"),
                SPACE,
                f"the session of {BOTH} in FILE expired on 2027-01-15",
            ),
            (
                [row(value=CANARY, expirationDate=PAST)],
                SPACE,
                f"the session of {BOTH} in FILE expired on 2027-01-15",
            ),
            (
                line(".reka.ai", value=CANARY, expiry="1799999999"),
                SPACE,
                f"the session of {BOTH} in FILE expired on 2027-01-15",
            ),
            (
                "\n".join(line(name=f"appSession.{index}", value=CANARY) for index in (2, 0)),
                None,
                f"the session of {BOTH} in FILE is not whole, or damaged: it has appSession.0, appSession.2",
            ),
            (
                [row(name="appSession.1", value=CANARY), row(name="appSession.1", value=CANARY)],
                SPACE,
                f"the session of {BOTH} in FILE is not whole, or damaged: it has appSession.1",
            ),
            (
                "\n".join(
                    [
                        line(name="appSession.1", value=CANARY),
                        line(name="_ga", value=CANARY, expiry="1"),
                    ]
                ),
                SPACE,
                f"the session of {BOTH} in FILE is not whole, or damaged: it has appSession.1",
            ),
            (
                line(".reka.ai", name="appSession.1", value=CANARY),
                CHAT,
                f"the session of {BOTH} in FILE is not whole, or damaged: it has appSession.1",
            ),
        ],
        ids=[
            *(
                "netscape_without_cookies",
                "netscape_without_cookies_for_a_host",
                "json_without_cookies",
            ),
            *(
                "another_cookie",
                "another_cookie_in_json",
                "a_foreign_host",
                "a_host_that_ends_alike",
            ),
            *("a_host_that_begins_alike", "another_host_of_reka", "expired", "expired_for_a_host"),
            *(
                "expired_in_milliseconds",
                "expired_in_json",
                "expired_for_the_domain",
                "a_gap",
                "no_first_chunk",
            ),
            *("no_first_chunk_beside_an_expired_other", "no_first_chunk_of_the_domain"),
        ],
    )
    def test_says_what_is_missing(self, failure, content, host, message):
        assert failure(content, host) == (NotLoggedIn, message, EXPORT)

    @pytest.mark.parametrize(
        "value",
        [f"{CANARY}\u00e9", f'"{CANARY}"', f"{CANARY};x=1", f"{CANARY} x", f"{CANARY}\r\nX: 1"],
    )
    def test_does_not_repeat_a_value_that_cannot_be_sent(self, failure, value):
        message = f"the session of {BOTH} in FILE is not whole, or damaged: it has appSession"
        assert failure([row(value=value)], SPACE) == (NotLoggedIn, message, EXPORT)
