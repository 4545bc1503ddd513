"""Images are judged by their content, and whole."""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from pathlib import Path

import pytest
from conftest import CAT
from PIL import AvifImagePlugin
from PIL import Image as Pillow
from sample_images import AS_THEY_ARE, CONVERTED, decoded, difference, encoded, photo

from reka_cli import images
from reka_cli.errors import BadInput, DeadlineExceeded, UsageError
from reka_cli.images import Preparation
from reka_cli.limits.deadline import Deadline

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
DAMAGED = r"^image is damaged or cut off$"
VARIANTS = {
    "baseline": encoded(photo(), "JPEG"),
    "progressive": encoded(photo(), "JPEG", progressive=True),
    "restarts": encoded(photo(), "JPEG", restart_marker_blocks=1),
    "png": encoded(photo(), "PNG"),
    "gif": encoded(photo(), "GIF"),
    "animated gif": encoded(photo(), "GIF", save_all=True, append_images=[photo().rotate(9)]),
    "webp": encoded(photo(), "WEBP"),
    "lossless webp": encoded(photo(), "WEBP", lossless=True),
    "animated webp": encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(9)]),
    "avif": encoded(photo(), "AVIF"),
    "heic": encoded(photo(), "HEIF"),
    "bmp": encoded(photo(), "BMP"),
    "bmp with a palette": encoded(photo().convert("P"), "BMP"),
    "ppm": encoded(photo(), "PPM"),
    "pgm": encoded(photo(mode="L"), "PPM"),
    "pbm": encoded(photo(mode="1"), "PPM"),
    "tiff": encoded(photo(), "TIFF"),
    "tiff, lzw": encoded(photo(), "TIFF", compression="tiff_lzw"),
    "tiff, deflate": encoded(photo(), "TIFF", compression="tiff_deflate"),
    "tiff, jpeg": encoded(photo(), "TIFF", compression="jpeg"),
    "tiff, packbits": encoded(photo(), "TIFF", compression="packbits"),
    "tiff, fax": encoded(photo(mode="1"), "TIFF", compression="group4"),
    "big tiff": encoded(photo(), "TIFF", big_tiff=True),
    "tiff of two pages": encoded(photo(), "TIFF", save_all=True, append_images=[photo().rotate(9)]),
    "pdf": encoded(photo(), "PDF"),
}


@pytest.mark.parametrize("kind", AS_THEY_ARE)
def test_an_image_that_needs_nothing_goes_byte_for_byte(tmp_path: Path, kind: str) -> None:
    data = encoded(photo(), kind)
    path = tmp_path / "misleading.txt"
    path.write_bytes(data)

    for image, name in ((images.load(path), "misleading.txt"), (images.load(data), "image")):
        assert (image.data, image.original, image.notice) == (data, None, None)
        assert (image.name, image.media_type, image.width, image.height) == (
            name,
            MEDIA_TYPES[kind],
            60,
            40,
        )


@pytest.mark.parametrize("kind", CONVERTED)
def test_what_services_do_not_take_is_converted(kind: str) -> None:
    data = encoded(photo((300, 200)), kind)

    image = images.load(data)

    assert image.media_type == "image/jpeg"
    assert image.original is not None
    assert (image.original.data, image.original.width, image.original.height) == (data, 300, 200)
    assert difference(decoded(image.data).resize((300, 200)), photo((300, 200))) < 4


@pytest.mark.parametrize("kind", [*AS_THEY_ARE, "AVIF", "HEIF", "BMP", "PPM", "TIFF"])
def test_an_image_looks_like_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "misleading.txt"
    path.write_bytes(encoded(photo(), kind))

    assert images.is_image_file(str(path))


@pytest.mark.parametrize("path", ["README.md", "missing.jpg", "docs", "", "\0"])
def test_what_is_no_image_does_not_look_like_one(path: str) -> None:
    assert not images.is_image_file(path)


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_an_image_cut_anywhere_is_refused(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    images.load(data)

    for length in (*(len(data) * tenth // 10 for tenth in range(1, 10)), len(data) - 16):
        with pytest.raises(BadInput):
            images.load(data[:length])
    assert capfd.readouterr() == ("", "")  # of the decoders either


@pytest.mark.parametrize("kind", [*AS_THEY_ARE, "AVIF", "HEIF", "BMP", "PPM", "TIFF", "PDF"])
def test_data_behind_the_end_is_no_error(kind: str) -> None:
    images.load(encoded(photo(), kind) + b"....ftypmp42, the film of a telephone" * 20)


@pytest.mark.parametrize("missing", [1, 2, 12])
def test_an_image_that_lacks_only_its_end_is_refused(missing: int) -> None:
    for kind in AS_THEY_ARE:
        if (kind, missing) == ("GIF", 1):
            continue  # every frame is complete: see the next test
        with pytest.raises(BadInput, match=DAMAGED):
            images.load(encoded(photo(), kind)[:-missing])


def test_a_gif_that_lacks_only_its_trailer_is_sent_whole() -> None:
    data = encoded(photo(), "GIF")
    image = images.load(data[:-1])

    assert image.data == data
    assert image.notice == "image lacks its last byte, which was added"


def test_a_decoder_says_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(VARIANTS["tiff, jpeg"])
    at = data.rindex(b"\xff\xda")
    data[at + 1] = 0xA8

    with pytest.raises(BadInput, match=DAMAGED):
        images.load(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_a_png_whose_pixels_were_changed_is_refused() -> None:
    data = bytearray(encoded(photo(), "PNG"))
    data[len(data) // 2] ^= 1

    with pytest.raises(BadInput, match=DAMAGED):
        images.load(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "image is empty"),
        (b"no image", "image is no image, or of a format that is not known"),
        (b"\xff\xd8\xff\xe0", "image is damaged or cut off"),
        (encoded(photo(), "ICO"), "image is no image, or of a format that is not known"),
        (
            b"BM, which is how a text may begin",
            "image is no image, or of a format that is not known",
        ),
        (b"\0\0\0\x18ftypisom", "image is no image, or of a format that is not known"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        images.load(data)

    assert caught.value.message == message


def test_a_film_is_no_image_and_the_hint_names_the_way() -> None:
    with pytest.raises(BadInput) as caught:
        images.load(b"\0\0\0\x18ftypisom", "film.mp4")

    assert caught.value.hint == "--video FILE"


def test_the_raw_file_of_a_camera_is_refused_rather_than_its_thumbnail_sent() -> None:
    with pytest.raises(BadInput, match=r"^image is a raw file of a camera$"):
        images.load(encoded(photo(), "TIFF", tiffinfo={254: 1}))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_decompression_bomb_is_refused(kind: str) -> None:
    bomb = encoded(Pillow.new("1", (10_000, 9_000)), kind, compression="group4")

    for wanted in (Preparation(), Preparation(max_side=0)):
        with pytest.raises(BadInput, match=r"^image has too many pixels: 10000 × 9000$"):
            images.load(bomb, wanted=wanted)


def chunks(*named: tuple[bytes, bytes]) -> bytes:
    """Give a PNG of these chunks."""
    sums = ((name, data, zlib.crc32(name + data)) for name, data in named)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)
        for name, data, crc in sums
    )


def header(width: int, height: int, depth: int, color: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">II5B", width, height, depth, color, 0, 0, 0)


def riff(*named: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in named)
    return b"RIFF" + struct.pack("<I", len(body)) + body


PIXELS, END = (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")
SMALL_JPEG, SMALL_GIF = encoded(photo((8, 8)), "JPEG"), encoded(photo((8, 8)), "GIF")
FRAME = SMALL_JPEG.index(b"\xff\xc0")


@pytest.mark.parametrize(
    "data",
    [
        chunks(header(0, 5, 8, 2), PIXELS, END),
        chunks(header(5, 5, 8, 2), END),
        chunks(header(5, 5, 3, 2), PIXELS, END),
        chunks((b"IHDR", b"short"), PIXELS, END),
        chunks(PIXELS, header(5, 5, 8, 2), END),
        chunks(header(5, 5, 8, 2), (b"1DAT", b""), END),
        chunks(header(5, 5, 8, 2), (b"acTL", bytes(2 << 20)), PIXELS, END),
        SMALL_JPEG[:FRAME] + SMALL_JPEG[FRAME + 19 :],  # no frame
        SMALL_JPEG[: FRAME + 1] + b"\xc9" + SMALL_JPEG[FRAME + 2 :],  # arithmetic coding
        SMALL_JPEG[: FRAME + 4] + b"\x0c" + SMALL_JPEG[FRAME + 5 :],  # 12 bits
        SMALL_JPEG[: FRAME + 9] + b"\2" + SMALL_JPEG[FRAME + 10 :],  # two components
        SMALL_JPEG[:2] + b"\xff\xd9",
        SMALL_JPEG[:2] + b"\xff\xe1\0\1" + SMALL_JPEG[2:],  # a segment shorter than its length
        b"GIF88a" + SMALL_GIF[6:],
        SMALL_GIF[:13] + b"?" + SMALL_GIF[13:],
        b"GIF89a\1\0\1\0\0\0\0;",  # no image in it
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\x0c\0;",  # codes of 12 bits
        riff((b"VP8X", bytes(10))),
        riff((b"VP8L", b"\x2e" + bytes(9))),
        riff((b"VP8L", b"\x2f")),
        riff((b"VP8 ", bytes(10))),
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\x08meta",  # no pixels
        b"\0\0\0\x10ftypheic\0\0\0\0\0\0\0\1mdat\0\0\0\0\0\1\0\0",
        b"II*\0\x08\0\0\0\0\0" + bytes(20),  # a directory without entries
        b"%PDF-1.7 and no end",
        b"%PDF-1.7 and an end %%EOF",
    ],
)
def test_what_has_the_form_of_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=DAMAGED):
        images.load(data)


def test_a_pdf_with_a_password_is_refused() -> None:
    data = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
        b"3 0 obj<</Filter/Standard/V 1/R 2/O<"
        + b"41" * 32
        + b">/U<"
        + b"42" * 32
        + b">/P -4>>endobj\n"
        b"trailer<</Root 1 0 R/Encrypt 3 0 R/ID[<00><00>]>>\n%%EOF"
    )

    with pytest.raises(BadInput, match=r"^image needs a password$"):
        images.load(data)


@pytest.mark.parametrize(
    ("kind", "module", "message", "hint"),
    [
        (
            "HEIF",
            "pillow_heif",
            "image is HEIC, which needs pillow-heif",
            "pip install 'reka-cli[heic]'",
        ),
        ("PDF", "pypdfium2", "image is PDF, which needs pypdfium2", "pip install 'reka-cli[pdf]'"),
    ],
)
def test_the_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, module: str, message: str, hint: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(BadInput) as caught:
        images.load(encoded(photo(), kind))

    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_pillow_without_avif_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(), "AVIF")
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)

    with pytest.raises(
        BadInput, match=r"^image is AVIF, which the Pillow of this machine cannot read$"
    ):
        images.load(data)


def test_of_two_images_in_one_file_the_first_is_sent() -> None:
    data = encoded(photo(), "MPO", save_all=True, append_images=[photo().rotate(9)])

    sent = images.load(data).data

    with Pillow.open(io.BytesIO(sent)) as image:
        assert image.format == "JPEG"
        assert image.tobytes() == decoded(encoded(photo(), "JPEG")).tobytes()
    assert len(sent) < 0.6 * len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xd8" + b"\0" * (3 << 20),
        b"GIF89a" + b"\1\0\1\0\0\0\0" + b",\0\0\0\0\1\0\1\0\0\2" + b"\1\0" * (3 << 20),
    ],
)
def test_a_file_of_nothing_but_pieces_is_given_up(data: bytes) -> None:
    with pytest.raises(BadInput, match=DAMAGED):
        images.load(data)


def test_a_side_of_less_than_nothing_is_wrong_usage() -> None:
    with pytest.raises(UsageError):
        Preparation(max_side=-1)


def test_a_file_that_never_ends_is_refused() -> None:
    with pytest.raises(BadInput, match="zero is larger than 50 MB"):
        images.load("/dev/zero")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(images.MAX_IMAGE_BYTES + 1)

    with pytest.raises(BadInput, match=r"^huge\.jpg is larger than 50 MB$"):
        images.load(path)


def test_a_file_that_changes_after_it_was_checked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpeg"
    path.write_bytes(CAT.read_bytes())
    image = images.load(path)
    path.write_bytes(CAT.read_bytes()[:-5])

    with pytest.raises(BadInput, match=r"^cat\.jpeg was changed while it was being read$"):
        image.data  # noqa: B018


def test_an_image_given_twice_is_made_ready_once(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(photo((300, 200)), "PNG"))
    small = Preparation(max_side=100)

    first, again, other, labeled = images.load_all(
        [path, str(path), CAT, f"before={path}"], wanted=small
    )

    assert first.content is again.content is labeled.content
    assert (again.name, labeled.label, other.name) == ("large.png", "before", "cat.jpeg")


def test_one_source_need_not_be_in_a_list() -> None:
    for source in (CAT, str(CAT), CAT.read_bytes(), io.BytesIO(CAT.read_bytes())):
        assert [image.size_bytes for image in images.load_all(source)] == [30_985]


def test_several_images_keep_their_order(tmp_path: Path) -> None:
    sizes = [(10 + at, 20) for at in range(12)]
    sources = [encoded(photo(size), "PNG") for size in sizes]

    assert [(one.width, one.height) for one in images.load_all(sources)] == sizes


def test_several_images_are_given_up_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        images.load_all([CAT, encoded(photo(), "PNG")], Deadline(1.0, time.monotonic()))


def test_of_several_images_the_first_that_is_none_is_told() -> None:
    with pytest.raises(BadInput, match=r"^image is empty$"):
        images.load_all([CAT, b"", b"no image"])


class TestParts:
    """`#page=` and `#xywh=` name a part of an image."""

    PAGES = encoded(
        photo((30, 20)), "TIFF", save_all=True, append_images=[photo((50, 40)), photo((40, 50))]
    )

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "cat.png"
        path.write_bytes(encoded(photo((100, 60)), "PNG"))
        return path

    @pytest.mark.parametrize(
        ("part", "box"),
        [
            ("xywh=10,20,30,40", (10, 20, 40, 60)),
            ("xywh=pixel:10,20,30,40", (10, 20, 40, 60)),
            ("xywh=percent:50,50,50,50", (50, 30, 100, 60)),
            ("xywh=percent:12.5,0,25,100", (12, 0, 38, 60)),
            ("xywh=90,50,30,40", (90, 50, 100, 60)),
            ("page=1", (0, 0, 100, 60)),
            ("page=1&xywh=0,0,1,1", (0, 0, 1, 1)),
        ],
    )
    def test_a_region_is_cut_out(
        self, path: Path, part: str, box: tuple[int, int, int, int]
    ) -> None:
        image = images.load(f"{path}#{part}")

        assert image.media_type == "image/png"
        assert decoded(image.data).tobytes() == photo((100, 60)).crop(box).tobytes()
        assert image.original is not None
        assert (image.original.width, image.original.height) == (100, 60)

    @pytest.mark.parametrize(
        ("part", "message"),
        [
            (
                "xywh=100,0,10,10",
                "cat.png#xywh=100,0,10,10 lies outside of the image, which is 100 × 60",
            ),
            ("page=2", "there is no cat.png#page=2: the last page is 1"),
        ],
    )
    def test_a_part_that_is_not_there_is_refused(self, path: Path, part: str, message: str) -> None:
        with pytest.raises(BadInput) as caught:
            images.load(f"{path}#{part}")

        assert caught.value.message == message

    @pytest.mark.parametrize(
        "part",
        ["t=10,20", "xywh=1,2,3", "xywh=percent:0,0,0,10", "page=0", "page=x", "page=1&id=x"],
    )
    def test_a_part_that_is_not_known_is_wrong_usage(self, path: Path, part: str) -> None:
        with pytest.raises(
            UsageError, match=r"^#\S+ is no part of an image$|^#xywh= with no width"
        ):
            images.load(f"{path}#{part}")

    @pytest.mark.parametrize(("page", "size"), [(1, (30, 20)), (2, (50, 40)), (3, (40, 50))])
    def test_a_page_of_a_tiff_is_taken(
        self, tmp_path: Path, page: int, size: tuple[int, int]
    ) -> None:
        path = tmp_path / "scan.tiff"
        path.write_bytes(self.PAGES)

        image = images.load(f"{path}#page={page}")

        assert (image.width, image.height, image.notice) == (*size, None)

    def test_that_pages_are_left_out_is_said(self) -> None:
        notice = images.load(self.PAGES, "scan.tiff").notice

        assert notice == "scan.tiff has 3 pages: the first is sent (#page=2 is the next)"

    def test_a_page_of_a_pdf_is_drawn(self, tmp_path: Path) -> None:
        path = tmp_path / "paper.pdf"
        first, second = Pillow.new("RGB", (200, 100), "red"), Pillow.new("RGB", (100, 200), "blue")
        path.write_bytes(encoded(first, "PDF", save_all=True, append_images=[second]))

        image = images.load(
            f"{path}#page=2&xywh=percent:0,0,100,25", wanted=Preparation(max_side=300)
        )

        assert (image.width, image.height) == (300, 150)
        assert difference(decoded(image.data), Pillow.new("RGB", (300, 150), "blue")) < 3
        assert (
            images.load(path).notice
            == "paper.pdf has 2 pages: the first is sent (#page=2 is the next)"
        )
