import pytest

from reka_cli.cookies.session import Cookie, Session, names, session_of, sessions

SPACE, CHAT = "space.reka.ai", "chat.reka.ai"
NOW = 1_800_000_000.0
SOON, LATER = NOW + 100, NOW + 200
CANARY = "canary-5e55104"


def cookie(name="appSession", value="v", expires_s=None, host=SPACE):
    return Cookie(host, name, value, expires_s)


def chunks(*indices, expires_s=None, host=SPACE):
    return [cookie(f"appSession.{index}", f"v{index}", expires_s, host) for index in indices]


def header_of(cookies, host=SPACE):
    """Give what would be sent to `host`."""
    found = session_of(cookies, host, NOW)
    return found and found.header


class TestTheCookiesOfASession:
    @pytest.mark.parametrize(
        ("cookies", "header"),
        [
            ([], None),
            ([cookie()], "appSession=v"),
            (chunks(0), "appSession.0=v0"),
            (chunks(0, 1, 2), "appSession.0=v0; appSession.1=v1; appSession.2=v2"),
            (chunks(2, 0, 1), "appSession.0=v0; appSession.1=v1; appSession.2=v2"),
            (chunks(*range(12)), "; ".join(f"appSession.{index}=v{index}" for index in range(12))),
            (chunks(1), None),
            (chunks(0, 2), None),
            (chunks(1, 2), None),
            ([*chunks(0, 2), *chunks(1, expires_s=NOW)], None),
            ([*chunks(0, expires_s=NOW), *chunks(1)], None),
        ],
        ids=[
            "none",
            "plain",
            "one_chunk",
            "chunks",
            "chunks_out_of_order",
            "more_than_ten_chunks",
            "no_first_chunk",
            "a_gap",
            "a_gap_at_the_beginning",
            "an_expired_chunk",
            "an_expired_first_chunk",
        ],
    )
    def test_are_the_plain_one_or_chunks_without_a_gap(self, cookies, header):
        assert header_of(cookies) == header

    @pytest.mark.parametrize(
        ("plain_expires_s", "chunks_expire_s", "header"),
        [
            (LATER, SOON, "appSession=v"),
            (SOON, SOON, "appSession=v"),
            (SOON, LATER, "appSession.0=v0; appSession.1=v1"),
            (None, LATER, "appSession=v"),
            (None, None, "appSession=v"),
            (SOON, None, "appSession.0=v0; appSession.1=v1"),
            (NOW, SOON, "appSession.0=v0; appSession.1=v1"),
            (SOON, NOW, "appSession=v"),
            (NOW, NOW, None),
        ],
    )
    def test_are_the_plain_one_beside_chunks_unless_it_ends_before_them(
        self, plain_expires_s, chunks_expire_s, header
    ):
        plain, parts = cookie(expires_s=plain_expires_s), chunks(0, 1, expires_s=chunks_expire_s)
        assert [header_of([plain, *parts]), header_of([*parts, plain])] == [header, header]

    def test_are_the_plain_one_beside_later_chunks_with_a_gap(self):
        assert header_of([cookie(expires_s=SOON), *chunks(0, 2, expires_s=LATER)]) == "appSession=v"

    @pytest.mark.parametrize(
        "host", [CHAT, "www.reka.ai", "evilreka.ai", "reka.ai.evil.example", "reka.ai ", "", "ai"]
    )
    def test_are_none_of_another_host(self, host):
        assert header_of([cookie(host=host)]) is None

    @pytest.mark.parametrize("host", [SPACE, CHAT])
    def test_may_belong_to_the_whole_domain(self, host):
        assert session_of([cookie(host="reka.ai")], host, NOW) == Session(
            host, (cookie(host="reka.ai"),)
        )

    def test_of_the_host_itself_beat_those_of_the_domain(self):
        own, domain = cookie(value="own"), cookie(value="domain", host="reka.ai")
        assert [header_of([own, domain]), header_of([domain, own])] == [
            "appSession=own",
            "appSession=own",
        ]

    @pytest.mark.parametrize(
        ("expires_s", "header"),
        [(NOW - 1, None), (NOW, None), (NOW + 1, "appSession=v"), (0, None)],
    )
    def test_have_not_expired(self, expires_s, header):
        assert header_of([cookie(expires_s=expires_s)]) == header

    @pytest.mark.parametrize(
        "octet",
        ["\r", "\n", "\r\nX-Evil: 1", ";", ",", '"', "\\", " ", "\t", "\x00", "\x7f", "é", "🐈"],
    )
    def test_have_no_octet_that_would_break_a_header(self, octet):
        values = [octet, f"a{octet}b", f"a{octet}", f"{octet}a"]
        assert [header_of([cookie(value=value)]) for value in values] == [None] * 4

    def test_are_not_empty(self):
        assert header_of([cookie(value="")]) is None

    def test_may_have_every_octet_of_the_standard(self):
        value = "".join(chr(octet) for octet in range(0x21, 0x7F) if chr(octet) not in '",;\\')
        assert header_of([cookie(value=value)]) == f"appSession={value}"

    @pytest.mark.parametrize(
        "name",
        [
            "appsession",
            "appSession.",
            "appSession.x",
            "appSession.-1",
            "appSession.1000",
            "appSession.٠",
            "xappSession",
            "_ga",
            "",
        ],
    )
    def test_have_the_name_of_a_session(self, name):
        assert (header_of([cookie(name)]), names([cookie(name)])) == (None, [])

    def test_are_named_whether_or_not_they_are_whole(self):
        assert names([*chunks(2), cookie("_ga"), cookie(), *chunks(0)]) == [
            "appSession.2",
            "appSession",
            "appSession.0",
        ]


class TestSessionsOfSeveralHosts:
    @pytest.mark.parametrize(
        ("space_expires_s", "chat_expires_s", "order"),
        [
            (SOON, LATER, [CHAT, SPACE]),
            (LATER, SOON, [SPACE, CHAT]),
            (SOON, SOON, [SPACE, CHAT]),
            (None, LATER, [SPACE, CHAT]),
            (LATER, None, [CHAT, SPACE]),
            (None, None, [SPACE, CHAT]),
            (NOW, SOON, [CHAT]),
            (NOW, NOW, []),
        ],
    )
    def test_come_with_the_one_that_lasts_longest_first(
        self, space_expires_s, chat_expires_s, order
    ):
        space, chat = cookie(expires_s=space_expires_s), cookie(expires_s=chat_expires_s, host=CHAT)
        both = {SPACE: Session(SPACE, (space,)), CHAT: Session(CHAT, (chat,))}
        expected = [both[host] for host in order]
        assert [sessions([space, chat], NOW), sessions(iter([chat, space]), NOW)] == [
            expected,
            expected,
        ]

    def test_are_two_when_the_cookie_is_of_the_domain(self):
        found = sessions([cookie(host="reka.ai")], NOW)
        assert found == [Session(host, (cookie(host="reka.ai"),)) for host in (SPACE, CHAT)]

    def test_are_none_when_every_host_is_foreign(self):
        assert sessions([cookie(host="evilreka.ai"), cookie(host="example.com")], NOW) == []


class TestExpiry:
    @pytest.mark.parametrize(
        ("expiries", "expires_s"),
        [([None], None), ([SOON], SOON), ([LATER, SOON, None], SOON), ([None, None], None)],
    )
    def test_of_a_session_is_that_of_its_first_part_to_go(self, expiries, expires_s):
        parts = tuple(
            cookie(f"appSession.{index}", expires_s=expiry) for index, expiry in enumerate(expiries)
        )
        assert Session(SPACE, parts).expires_s == expires_s


PLAIN = Session(SPACE, (cookie(value="old", expires_s=SOON),))
CHUNKED = Session(SPACE, tuple(chunks(0, 1, expires_s=SOON)))
AN_HOUR = "Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=3600"


class TestARefreshedSession:
    @pytest.mark.parametrize(
        ("set_cookie", "value", "expires_s"),
        [
            ("appSession=new", "new", None),
            ("appSession=new;", "new", None),
            ("appSession = new ; Path=/", "new", None),
            ('appSession="new"', "new", None),
            ("appSession=a=b==; Path=/", "a=b==", None),
            ("appSession=new; Max-Age=3600", "new", NOW + 3600),
            ("appSession=new; MAX-AGE=3600", "new", NOW + 3600),
            ("appSession=new; Max-Age=soon", "new", None),
            ("appSession=new; Expires=Fri, 15 Jan 2027 09:00:00 GMT", "new", NOW + 3600),
            ("appSession=new; expires=Fri, 15-Jan-2027 09:00:00 GMT", "new", NOW + 3600),
            ("appSession=new; Expires=Friday, 15-Jan-27 09:00:00 GMT", "new", NOW + 3600),
            ("appSession=new; Expires=tomorrow", "new", None),
            ("appSession=new; Expires=Fri, 15 Jan 99999 09:00:00 GMT", "new", None),
            ("appSession=new; Max-Age=60; Expires=Fri, 15 Jan 2027 09:00:00 GMT", "new", NOW + 60),
            ("appSession=new; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", "new", NOW + 60),
            (
                "appSession=new; Domain=.reka.ai; Path=/a b; HttpOnly; Secure; SameSite=None",
                "new",
                None,
            ),
            ("appSession=new; Secure; Partitioned; Priority=High; What Ever", "new", None),
        ],
    )
    def test_has_the_new_value_and_expiry(self, set_cookie, value, expires_s):
        assert PLAIN.refresh([set_cookie], NOW) == Session(
            SPACE, (cookie(value=value, expires_s=expires_s),)
        )

    @pytest.mark.parametrize(
        "set_cookie",
        [
            [],
            ["_ga=x; Max-Age=0", "appsession=x", "appSessionX=x", "appSession.x=x"],
            [
                "",
                ";",
                "=",
                "appSession",
                "appSession; Max-Age=0",
                "x=1; appSession=x",
                "x=1, appSession=x",
            ],
        ],
        ids=["nothing", "foreign_names", "no_cookies"],
    )
    def test_is_the_same_when_nothing_of_it_was_set(self, set_cookie):
        assert [PLAIN.refresh(set_cookie, NOW), CHUNKED.refresh(set_cookie, NOW)] == [
            PLAIN,
            CHUNKED,
        ]

    def test_grows_into_chunks(self):
        gone = "appSession=; Path=/; Max-Age=0"
        received = [f"appSession.1=b; {AN_HOUR}", gone, f"appSession.0=a; {AN_HOUR}"]
        expected = (
            cookie("appSession.0", "a", NOW + 3600),
            cookie("appSession.1", "b", NOW + 3600),
        )
        assert PLAIN.refresh(received, NOW) == Session(SPACE, expected)

    def test_shrinks_into_a_plain_cookie(self):
        gone = [f"appSession.{index}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT" for index in (0, 1)]
        expected = Session(SPACE, (cookie(value="new", expires_s=NOW + 3600),))
        assert CHUNKED.refresh([*gone, f"appSession=new; {AN_HOUR}"], NOW) == expected

    def test_shrinks_into_fewer_chunks(self):
        received = ["appSession.0=a", "appSession.1=; Max-Age=0"]
        assert CHUNKED.refresh(received, NOW) == Session(SPACE, (cookie("appSession.0", "a"),))

    def test_keeps_the_chunks_that_were_not_set(self):
        expected = (*chunks(0, expires_s=SOON), cookie("appSession.1", "b"))
        assert CHUNKED.refresh(["appSession.1=b"], NOW) == Session(SPACE, expected)

    def test_takes_the_place_of_a_cookie_of_the_domain(self):
        domain = Session(SPACE, (cookie(value="old", host="reka.ai"),))
        assert domain.refresh(["appSession=new; Domain=reka.ai"], NOW) == Session(
            SPACE, (cookie(value="new"),)
        )

    @pytest.mark.parametrize(
        "set_cookie",
        [
            ["appSession=; Max-Age=0"],
            ["appSession="],
            ["appSession=x; Max-Age=0"],
            ["appSession=x; Max-Age=-1"],
            ["appSession=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
            ["appSession=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
            ["appSession=new", "appSession=; Max-Age=0"],
        ],
    )
    def test_is_none_when_it_was_ended(self, set_cookie):
        assert PLAIN.refresh(set_cookie, NOW) is None

    def test_is_none_when_a_chunk_of_it_was_ended(self):
        assert CHUNKED.refresh(["appSession.0=; Max-Age=0"], NOW) is None

    def test_is_none_when_it_has_expired_meanwhile(self):
        assert PLAIN.refresh([], SOON) is None


class TestWhatMayBeShown:
    session = Session(SPACE, (cookie(value=CANARY, expires_s=SOON),))

    def test_of_a_session_is_all_but_its_values(self):
        expected = f"Cookie(host='{SPACE}', name='appSession', expires_s={SOON!r})"
        assert repr(self.session) == f"Session(host='{SPACE}', cookies=({expected},))"

    def test_of_a_fingerprint_is_nothing_of_the_session(self):
        fingerprint = self.session.fingerprint
        assert (
            len(fingerprint),
            set(fingerprint) <= set("0123456789abcdef"),
            CANARY in fingerprint,
        ) == (
            64,
            True,
            False,
        )

    def test_a_fingerprint_is_that_of_what_is_sent(self):
        same = Session(CHAT, (cookie(value=CANARY, expires_s=LATER, host="reka.ai"),))
        other = Session(SPACE, (cookie(value=CANARY + "2", expires_s=SOON),))
        assert (
            same.fingerprint == self.session.fingerprint,
            other.fingerprint == self.session.fingerprint,
        ) == (
            True,
            False,
        )


@pytest.mark.parametrize("names", [["__session"], ["__session__0", "__session__1"]])
def test_the_names_of_newer_libraries_are_known(names):
    cookies = [Cookie("space.reka.ai", name, "value") for name in names]
    found = session_of(cookies, "space.reka.ai", 0)
    assert found is not None
    assert [one.name for one in found.cookies] == names


def test_the_name_that_was_seen_wins():
    cookies = [Cookie("space.reka.ai", name, "value") for name in ("__session", "appSession")]
    found = session_of(cookies, "space.reka.ai", 0)
    assert found is not None
    assert found.header == "appSession=value"
