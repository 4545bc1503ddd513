"""What goes over the wire for an image, held against bodies that others build, and how much memory that takes."""

from __future__ import annotations

import base64
import email
import email.policy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, Result, Run, Service
from sample_images import TURNED_BACK, decoded, difference, encoded, exif, photo

from reka_cli import BadInput, Client, images
from reka_cli.config import Config
from reka_cli.images import Preparation
from reka_cli.messages import BLOCK_BYTES, Blocks, Encoded, Image
from reka_cli.transport import DataUrl, form_body, json_body

UNTOUCHED = Preparation(max_side=0)


@dataclass(frozen=True)
class Cut:
    """Bytes that come in blocks of one size, and of which the last may be missing."""

    data: bytes
    block_bytes: int
    missing: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def blocks(self) -> Iterator[bytes]:
        come = self.data[: len(self.data) - self.missing]
        yield from (
            come[at : at + self.block_bytes] for at in range(0, len(come), self.block_bytes)
        )


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An image of more than one block."""
    path = tmp_path / "large.png"
    path.write_bytes(encoded(photo((400, 300)), "PNG", compress_level=0))
    return path


def web(service: Service, home: Path, **more: Any) -> Client:
    return Client(
        "web",
        config=Config(home, web_base=service.url, token=service.server.token),
        preparation=UNTOUCHED,
        **more,
    )


def api(service: Service, home: Path, **more: Any) -> Client:
    return Client(
        "api",
        config=Config(home, api_base=f"{service.url}/v1"),
        model="sandbox",
        preparation=UNTOUCHED,
        **more,
    )


def chat_bodies(service: Service) -> list[bytes]:
    return [one.body for one in service.received if one.path.endswith("/chat/completions")]


class TestBodies:
    @pytest.mark.parametrize("block_bytes", [1, 2, 3, 4, 64])
    @pytest.mark.parametrize("length", [0, 1, 2, 3, 100])
    def test_a_data_url_is_the_same_however_the_image_comes(
        self, block_bytes: int, length: int
    ) -> None:
        data = bytes(range(length))
        url = DataUrl(Encoded(Cut(data, block_bytes), "image/png", 1, 1))

        sent = b"".join(url.blocks())

        assert sent == b"data:image/png;base64," + base64.b64encode(data)
        assert url.size_bytes == len(sent)

    def test_json_is_what_it_would_be_without_images(self) -> None:
        first, second = (Encoded(Cut(data, 7), "image/gif", 1, 1) for data in (b"GIF" * 9, b""))
        value = {
            "text": 'né "\ud800\n',
            "list": [DataUrl(first), {"url": DataUrl(second)}, None, 1.5],
        }

        body = json_body(value)

        sent = b"".join(body)
        assert len(body) == len(sent)
        assert (body.content_type, json.loads(sent)) == (
            "application/json",
            {
                "text": 'né "\ud800\n',
                "list": [
                    "data:image/gif;base64," + base64.b64encode(b"GIF" * 9).decode(),
                    {"url": "data:image/gif;base64,"},
                    None,
                    1.5,
                ],
            },
        )

    def test_a_number_that_json_has_no_word_for_is_bad_input(self) -> None:
        with pytest.raises(BadInput):
            json_body({"a": float("nan")})

    def test_a_form_is_read_as_one(self) -> None:
        data = bytes(range(256))
        body = form_body("image", "image.png", Encoded(Cut(data, 9), "image/png", 1, 1))

        sent = b"".join(body)

        assert len(body) == len(sent)
        head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
        (part,) = email.message_from_bytes(head + sent, policy=email.policy.HTTP).iter_parts()
        assert part.get_payload(decode=True) == data
        assert part["Content-Disposition"] == 'form-data; name="image"; filename="image.png"'
        assert part["Content-Type"] == "image/png"

    def test_an_image_that_ends_early_is_told_rather_than_waited_for(self) -> None:
        body = form_body(
            "image", "image.png", Encoded(Cut(b"0123456789", 4, missing=3), "image/png", 1, 1)
        )

        with pytest.raises(BadInput, match=r"^an image was changed while it was being sent$"):
            list(body)

    def test_a_large_image_is_never_in_memory_as_a_whole(self, large: Path) -> None:
        image = images.load(large, wanted=UNTOUCHED)

        for body in (form_body("image", "image.png", image), json_body({"url": DataUrl(image)})):
            longest = max(len(block) for block in body)
            assert longest <= BLOCK_BYTES * 4 / 3 + 4
            assert len(body) > 4 * longest


class TestOnTheWire:
    def test_the_web_session_gets_the_image_as_a_form(
        self, service: Service, home: Path, large: Path
    ) -> None:
        web(service, home).ask("What can you see?", [large]).read()

        upload = service.received[0]
        head = f"Content-Type: {upload.headers['content-type']}\r\n\r\n".encode()
        (part,) = email.message_from_bytes(
            head + upload.body, policy=email.policy.HTTP
        ).iter_parts()
        assert part.get_payload(decode=True) == large.read_bytes()
        assert int(upload.headers["content-length"]) == len(upload.body)
        assert "transfer-encoding" not in upload.headers

    @pytest.mark.parametrize("orientation", TURNED_BACK)
    def test_a_photo_arrives_upright(self, service: Service, home: Path, orientation: int) -> None:
        stored = TURNED_BACK[orientation](photo((300, 200)))
        data = encoded(stored, "JPEG", quality=95, exif=exif(orientation))

        api(service, home).ask("What can you see?", [data]).read()

        (body,) = chat_bodies(service)
        url = json.loads(body)["messages"][0]["content"][0]["image_url"]["url"]
        assert difference(decoded(base64.b64decode(url.partition(",")[2])), photo((300, 200))) < 2

    def test_the_api_gets_the_images_in_its_json(
        self, service: Service, home: Path, large: Path
    ) -> None:
        api(service, home).ask("What can you see?", [large, CAT]).read()

        (body,) = chat_bodies(service)
        urls = [
            f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
            for kind, path in (("png", large), ("jpeg", CAT))
        ]
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        assert json.loads(body)["messages"] == [
            {"role": "user", "content": [*parts, {"type": "text", "text": "What can you see?"}]}
        ]

    def test_another_attempt_sends_all_of_it_again(
        self, service: Service, home: Path, large: Path
    ) -> None:
        api(service, home).ask("What can you see?", [large], model="sandbox-503-once").read()

        first, second = chat_bodies(service)
        assert first == second
        assert base64.b64encode(large.read_bytes()) in second

    def test_a_second_question_for_a_schema_sends_all_of_it_again(
        self, service: Service, home: Path, large: Path
    ) -> None:
        schema = {
            "type": "object",
            "properties": {"color": {"type": "string"}},
            "required": ["color"],
        }
        client = api(service, home)

        client.ask("Which color?", [large], model="sandbox-bad-json-once", schema=schema).read()

        assert [base64.b64encode(large.read_bytes()) in body for body in chat_bodies(service)] == [
            True,
            True,
        ]

    def test_without_the_place_where_it_was_made(self, service: Service, home: Path) -> None:
        place = exif(6)
        data = encoded(photo((300, 200)), "JPEG", exif=place)
        told = place.tobytes()[-40:]
        assert told in data

        answer = web(service, home).ask("What can you see?", [data]).read()

        assert told not in service.received[0].body
        assert "- size: 200 × 300 pixels" in answer
        assert "- EXIF metadata: none" in answer

    @pytest.mark.parametrize("make", [web, api])
    def test_an_image_that_shrinks_between_check_and_sending_is_told(
        self, service: Service, home: Path, large: Path, make: Any
    ) -> None:
        client = make(service, home)
        answer = client.ask("What can you see?", [large])
        large.write_bytes(large.read_bytes()[:-1000])

        with pytest.raises(BadInput, match=r"^large\.png was changed while it was being read$"):
            answer.read()

    def test_progress_is_told_image_by_image(
        self, service: Service, home: Path, large: Path
    ) -> None:
        told: list[tuple[str, int, int]] = []
        client = api(service, home, progress=lambda *one: told.append(one))

        client.ask("What can you see?", [large, CAT]).read()

        size, cat = large.stat().st_size, CAT.stat().st_size
        of_large = [sent for name, sent, total in told if (name, total) == ("large.png", size)]
        assert of_large == [*range(BLOCK_BYTES, size, BLOCK_BYTES), size]
        assert told[len(of_large) :] == [("cat.jpeg", cat, cat)]


class TestCommand:
    @pytest.fixture
    def holiday(self, tmp_path: Path) -> str:
        path = tmp_path / "holiday.jpg"
        path.write_bytes(encoded(photo((1000, 500)), "JPEG", exif=exif(6), quality=95))
        return str(path)

    def ask(self, run: Run, *arguments: str) -> Result:
        return run("ask", "--provider", "sandbox", "hello", *arguments)

    def test_max_side_is_the_longest_side(self, run: Run, holiday: str) -> None:
        result = self.ask(run, holiday, "--max-side", "250")

        assert "- size: 125 × 250 pixels" in result.stdout
        assert "- EXIF metadata: none" in result.stdout

    def test_metadata_is_kept_on_request(self, run: Run, holiday: str) -> None:
        result = self.ask(run, holiday, "--max-side", "0", "--keep-metadata")

        assert "- size: 500 × 1000 pixels" in result.stdout
        assert "- EXIF metadata: present" in result.stdout

    def test_verbose_tells_what_it_came_to(self, run: Run, holiday: str) -> None:
        lines = self.ask(run, holiday, "--max-side", "250", "-v").stderr.splitlines()

        assert lines[0].startswith("sent 1 image, ")
        assert lines[0].endswith(" kB")
        assert " kB → " in lines[0]

    def test_what_was_left_out_is_a_notice(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "scan.tiff"
        path.write_bytes(encoded(photo(), "TIFF", save_all=True, append_images=[photo()]))

        told = "notice: scan.tiff has 2 pages: the first is sent (#page=2 is the next)\n"
        assert self.ask(run, str(path)).stderr == told
        assert self.ask(run, f"{path}#page=2").stderr == ""


def test_an_image_can_be_made_of_bytes() -> None:
    image = Image(b"GIF89a", "image/gif", 1, 2, "a.gif")

    assert (image.data, image.size_bytes, list(image.blocks())) == (b"GIF89a", 6, [b"GIF89a"])
    assert image.sha256 == "610f5ae4d76e332636a17bd357fd6ce99029316a99d320280d4d77a746bf29e8"
    blocks: Blocks = Cut(b"GIF89a", 4)
    assert Image(blocks, "image/gif", 1, 2, "a.gif").sha256 == image.sha256
