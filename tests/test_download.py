"""Images by URL, from servers of every manner."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sites import PASSWORD, PIXEL, Handler, Site, image, locked, moved, served

from reka_cli.errors import (
    BadInput,
    DeadlineExceeded,
    NetworkError,
    RateLimited,
    RekaError,
    ServiceError,
)
from reka_cli.images.file_content import MAX_IMAGE_BYTES, FoundImage, InMemory
from reka_cli.images.sources import find
from reka_cli.limits.deadline import Deadline


@pytest.fixture
def other() -> Iterator[Site]:
    with served() as site:
        yield site


def refused(url: str, deadline: Deadline | None = None) -> RekaError:
    with pytest.raises(RekaError) as caught:
        list(find(url, deadline))
    return caught.value


def as_value(error: RekaError) -> tuple[type[RekaError], str, str | None]:
    return type(error), error.message, error.hint


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class TestWhatComes:
    @pytest.mark.parametrize(
        "media_type", ["image/png", "text/html", "image/jpeg", "application/octet-stream", ""]
    )
    def test_what_the_server_says_it_is_does_not_matter(self, site: Site, media_type: str) -> None:
        site.pages["/a/cat%20one.png?key=secret"] = lambda handler: handler.answer(
            200, PIXEL, Content_Type=media_type
        )

        found = list(find(f"{site.url}/a/cat%20one.png?key=secret#xywh=percent%3A0,0,50,50"))

        part = "xywh=percent:0,0,50,50"
        assert found == [FoundImage(InMemory(PIXEL), f"cat one.png#{part}", None, part)]

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("/photos/", "photos"),
            ("/%1B%5B2Jx%0A.png", "x .png"),
            ("/a#top", "a"),
        ],
    )
    def test_an_image_is_called_by_the_end_of_its_path(
        self, site: Site, path: str, name: str
    ) -> None:
        site.pages[path.partition("#")[0] or "/"] = image

        assert list(find(f"x={site.url}{path}")) == [FoundImage(InMemory(PIXEL), name, "x")]

    def test_nothing_of_ours_goes_there(self, site: Site) -> None:
        site.pages["/x"] = image
        list(find(f"{site.url}/x"))

        (_, headers) = site.received[0]
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}

    def test_a_netrc_is_not_read(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login user password {PASSWORD}\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        site.pages["/x"] = locked('Basic realm="x"')
        refused(f"{site.url}/x")

        assert site.authorizations == [("/x", None)]

    def test_compression_that_nobody_asked_for_is_undone(self, site: Site) -> None:
        site.pages["/x"] = lambda handler: handler.answer(
            200, gzip.compress(PIXEL), Content_Encoding="gzip"
        )

        assert list(find(f"{site.url}/x")) == [FoundImage(InMemory(PIXEL), "x")]

    def test_what_grows_while_it_is_unpacked_is_cut_off(self, site: Site) -> None:
        bomb = gzip.compress(bytes(MAX_IMAGE_BYTES + 1))
        site.pages["/x"] = lambda handler: handler.answer(200, bomb, Content_Encoding="gzip")

        assert as_value(refused(f"{site.url}/x")) == (
            BadInput,
            f"{site.url}/x is larger than 50 MB",
            None,
        )

    def test_bytes_without_end_are_cut_off(self, site: Site) -> None:
        def endless(handler: Handler) -> None:
            handler.answer(200, b"", Content_Length=None, Content_Type="image/png")
            while not site.stopping.is_set():
                handler.wfile.write(bytes(1 << 20))

        site.pages["/x"] = endless

        assert as_value(refused(f"{site.url}/x")) == (
            BadInput,
            f"{site.url}/x is larger than 50 MB",
            None,
        )

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ({"status": 404, "body": b"nothing"}, (BadInput, "URL answered 404 (Not Found)", None)),
            ({"status": 403}, (BadInput, "URL answered 403 (Forbidden)", None)),
            ({"status": 999}, (ServiceError, "URL answered 999", None)),
            ({"status": 300}, (BadInput, "URL answered 300 (Multiple Choices)", None)),
            ({"status": 429, "Retry_After": "7"}, (RateLimited, "URL answered 429 (Too Many Requests)", None)),
            ({"status": 503}, (ServiceError, "URL answered 503 (Service Unavailable)", None)),
            ({"body": b"x", "Content_Length": 1 << 40}, (BadInput, "URL is larger than 50 MB", None)),
            ({"body": PIXEL, "Content_Length": 1000}, (NetworkError, "the connection to HOST failed: it ended in the middle", None)),
            ({"body": PIXEL, "Content_Encoding": "gzip"}, (ServiceError, "the response of HOST cannot be read: its compression is broken", None)),
            ({"body": PIXEL, "Content_Encoding": "gzip, gzip"}, (ServiceError, "URL came packed more than once", None)),
            ({"body": b"\n <!-- a --> <!DOCTYPE html><p>log in", "Content_Type": "image/png"}, (BadInput, "URL is a web page, not an image", None)),
            ({"body": b"<HTML><body>", "Content_Type": "text/html"}, (BadInput, "URL is a web page, not an image", None)),
            ({"Content_Type": "multipart/x-mixed-replace;boundary=x"}, (BadInput, "URL is a live stream, not a file", "-i with the camera's snapshot URL")),
        ],
    )  # fmt: skip
    def test_what_is_no_image_is_an_error_that_names_it(
        self, site: Site, answer: dict[str, object], error: tuple[type[RekaError], str, str | None]
    ) -> None:
        site.pages["/x?token=canary-1"] = lambda handler: handler.answer(**answer)  # type: ignore[arg-type]
        kind, message, hint = as_value(refused(f"{site.url}/x?token=canary-1"))

        shown = message.replace(f"{site.url}/x?…", "URL").replace(
            site.url.removeprefix("http://"), "HOST"
        )
        assert (kind, shown, hint) == error

    def test_a_body_made_of_comments_is_looked_through_quickly(self, site: Site) -> None:
        site.pages["/x"] = lambda handler: handler.answer(200, b"<!---->" * 1000)

        assert list(find(f"{site.url}/x")) == [FoundImage(InMemory(b"<!---->" * 1000), "x")]

    def test_a_busy_server_says_how_long(self, site: Site) -> None:
        site.pages["/x"] = lambda handler: handler.answer(429, Retry_After=7)

        assert refused(f"{site.url}/x").retry_after_s == 7


class TestDeadlines:
    def test_a_body_that_drips_is_given_up(self, site: Site) -> None:
        def drip(handler: Handler) -> None:
            handler.answer(200, b"", Content_Length=1000)
            while not site.stopping.wait(0.02):
                handler.wfile.write(b"x")

        site.pages["/x"] = drip

        assert as_value(refused(f"{site.url}/x", Deadline.after(0.3))) == (
            DeadlineExceeded,
            f"{site.url}/x did not come within 0.3 s",
            "--timeout SECONDS allows more time",
        )

    def test_headers_that_drip_are_given_up(self, site: Site) -> None:
        def drip(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not site.stopping.wait(0.02):
                handler.wfile.write(b"x")

        site.pages["/x"] = drip

        assert (
            refused(f"{site.url}/x", Deadline.after(0.3)).message
            == f"{site.url}/x did not come within 0.3 s"
        )

    def test_an_image_has_less_time_than_the_question(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reka_cli.images.sources.web._DOWNLOAD_S", 0.2)
        site.pages["/x"] = lambda handler: site.stopping.wait(20) and None

        assert as_value(refused(f"{site.url}/x", Deadline.after(600))) == (
            DeadlineExceeded,
            f"{site.url}/x did not come within 0.2 s",
            None,
        )

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("http://127.0.0.1:PORT/x", "cannot reach 127.0.0.1:PORT: connection refused"),
            ("https://SITE/x", "the connection to SITE failed: no TLS"),
        ],
    )
    def test_a_host_that_cannot_be_reached_is_a_network_error(
        self, site: Site, url: str, message: str
    ) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port, host = str(unused.getsockname()[1]), site.url.removeprefix("http://")
            error = refused(url.replace("PORT", port).replace("SITE", host))

        assert isinstance(error, NetworkError)
        assert error.message.partition(" (")[0] == message.replace("PORT", port).replace(
            "SITE", host
        )


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_they_are_followed(self, site: Site, other: Site, status: int) -> None:
        site.pages["/a/x"] = moved("../b?c#d", status)
        site.pages["/b?c"] = moved(f"{other.url}/y", status)
        other.pages["/y"] = image

        assert list(find(f"{site.url}/a/x")) == [FoundImage(InMemory(PIXEL), "x")]

    @pytest.mark.parametrize(
        ("location", "told"),
        [
            ("file:///etc/passwd", "file"),
            ("data:image/png;base64,AAAA", "data"),
            ("ftp://host/x", "ftp"),
            ("http://[::1", "http"),
        ],
    )
    def test_they_lead_to_no_other_kind_of_place(
        self, site: Site, location: str, told: str
    ) -> None:
        site.pages["/x"] = moved(location)

        message = f"{site.url}/x redirects to what is no http(s) URL: {told}"
        assert as_value(refused(f"{site.url}/x")) == (BadInput, message, None)

    def test_a_loop_is_left(self, site: Site) -> None:
        site.pages["/x"] = moved("/y")
        site.pages["/y"] = moved("/x")

        assert as_value(refused(f"{site.url}/x")) == (
            BadInput,
            f"{site.url}/x redirects more than 5 times",
            None,
        )
        assert len(site.received) == 6

    def test_one_that_leads_nowhere_leads_to_itself(self, site: Site) -> None:
        site.pages["/x"] = lambda handler: handler.answer(302)

        assert refused(f"{site.url}/x").message == f"{site.url}/x redirects more than 5 times"


class TestCredentials:
    def test_basic_ones_are_sent_when_they_are_asked_for(self, site: Site) -> None:
        site.pages["/x"] = locked('Basic realm="camera"')
        found = list(find(site.with_password("/x", "us%C3%A9r", "p%3Aw%40")))

        assert found == [FoundImage(InMemory(PIXEL), "x")]
        assert site.authorizations == [("/x", None), ("/x", basic("usér", "p:w@"))]

    def test_they_are_not_sent_where_nobody_asks(self, site: Site) -> None:
        site.pages["/x"] = image
        list(find(site.with_password("/x")))

        assert site.authorizations == [("/x", None)]

    @pytest.mark.parametrize(
        ("algorithm", "digest"), [("MD5", hashlib.md5), ("SHA-256", hashlib.sha256)]
    )
    def test_digest_is_preferred(
        self, site: Site, algorithm: str, digest: Callable[[bytes], hashlib._Hash]
    ) -> None:
        asked = f'Digest realm="camera", nonce="n1", qop="auth", algorithm={algorithm}, opaque="o"'
        site.pages["/x?y=1"] = locked(
            'Basic realm="camera"', 'Digest realm="x", nonce="n0", algorithm=NEW', asked
        )
        list(find(site.with_password("/x?y=1")))

        sent = dict(
            re.findall(
                r'(\w+)="?([^",]*)"?', (site.authorizations[-1][1] or "").removeprefix("Digest ")
            )
        )

        def hashed(*parts: str) -> str:
            return digest(":".join(parts).encode()).hexdigest()

        secret = hashed("user", "camera", PASSWORD)
        response = hashed(secret, "n1", sent["nc"], sent["cnonce"], "auth", hashed("GET", "/x?y=1"))
        assert sent == {
            "username": "user", "realm": "camera", "nonce": "n1", "uri": "/x?y=1", "response": response, "opaque": "o",
            "algorithm": algorithm, "qop": "auth", "nc": "00000001", "cnonce": sent["cnonce"],
        }  # fmt: skip

    @pytest.mark.parametrize(
        "challenges", [(), ("",), ("Negotiate",), ("Digest",), ('Digest realm="x"',), ('Digest realm="x", nonce="n", qop="other"',)]
    )  # fmt: skip
    def test_no_other_way_is_known(self, site: Site, challenges: tuple[str, ...]) -> None:
        site.pages["/x"] = locked(*challenges)

        message = f"{site.url}/x does not take this user name and password"
        assert as_value(refused(site.with_password("/x"))) == (BadInput, message, None)

    def test_wrong_ones_are_sent_once(self, site: Site) -> None:
        site.pages["/x"] = lambda handler: handler.answer(401, WWW_Authenticate="Basic")

        assert (
            refused(site.with_password("/x")).message
            == f"{site.url}/x does not take this user name and password"
        )
        assert len(site.received) == 2

    def test_a_place_that_wants_some_says_how(self, site: Site) -> None:
        site.pages["/x?k=1"] = locked("Basic")

        message = f"{site.url}/x?… wants a user name and a password"
        hint = f"-i {site.url.replace('//', '//USER:PASSWORD@')}/x"
        assert as_value(refused(f"{site.url}/x?k=1")) == (BadInput, message, hint)

    def test_they_stay_with_their_origin(self, site: Site, other: Site) -> None:
        site.pages["/x"] = moved(f"{other.url.replace('//', '//a:b@')}/y")
        other.pages["/y"] = locked("Basic")

        assert (
            refused(site.with_password("/x")).message
            == f"{other.url}/y wants a user name and a password"
        )
        assert other.authorizations == [("/y", None)]

    def test_they_go_along_inside_their_origin(self, site: Site) -> None:
        site.pages["/x"] = moved("/y")
        site.pages["/y"] = locked("Basic")
        list(find(site.with_password("/x")))

        assert site.authorizations == [("/x", None), ("/y", None), ("/y", basic("user", PASSWORD))]

    @pytest.mark.parametrize(
        "url",
        [
            "http://user:PW@/x",
            "http://user:PW@host:port/x",
            "http://user:PW@[::1/x",
            "http://user:PW@a..b/x",
        ],
    )
    def test_a_url_that_is_none_is_not_repeated_with_them(self, url: str) -> None:
        error = refused(url.replace("PW", PASSWORD))

        assert type(error) is BadInput
        assert PASSWORD not in error.message

    def test_the_log_shows_none_of_them(self, site: Site) -> None:
        site.pages["/x?signature=canary-2"] = locked("Basic")
        site.pages["/y?signature=canary-3"] = image
        site.pages["/x"] = moved("/y?signature=canary-3")
        lines: list[str] = []
        list(find(site.with_password("/x?signature=canary-2"), log=lines.append))
        list(find(site.with_password("/x"), log=lines.append))

        log = "\n".join(lines)
        assert [line for line in lines if line.startswith(">")] == [
            f"> GET {site.url}/x?[redacted]",
            f"> GET {site.url}/x?[redacted]",
            f"> GET {site.url}/x",
            f"> GET {site.url}/y?[redacted]",
        ]
        secrets = (PASSWORD, basic("user", PASSWORD).removeprefix("Basic "), "canary")
        assert [secret for secret in secrets if secret in log] == []
