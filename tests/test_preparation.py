"""An image arrives upright, small enough, and without what it says beside its pixels."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import pytest
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin
from sample_images import (
    AS_THEY_ARE,
    GPS_NOTE,
    TURNED_BACK,
    decoded,
    difference,
    encoded,
    exif,
    photo,
)

from reka_cli import images
from reka_cli.images import Preparation
from reka_cli.images.formats.exif import orientation as orientation_of
from reka_cli.messages import Image

NOTE = GPS_NOTE.encode()
XMP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6">{GPS_NOTE}</a></x:xmpmeta>'.encode()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
KEEPING = Preparation(keep_metadata=True)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def noted_jpeg(image: Pillow.Image | None = None, **options: object) -> bytes:
    """A JPEG that says where it was made wherever a JPEG can."""
    plain = encoded(
        image or photo(), "JPEG", exif=exif(), xmp=XMP, comment=NOTE, icc_profile=SRGB, **options
    )
    more = [
        segment(0xE0, b"JFXX\0\x13" + NOTE),
        segment(0xE2, b"MPF\0" + NOTE),
        segment(0xED, b"Photoshop 3.0\0" + NOTE),
    ]
    return plain[:2] + plain[2:20] + b"".join(more) + plain[20:] + b"an embedded film: " + NOTE


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def noted_png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", GPS_NOTE)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Place", GPS_NOTE + " ", zip=True)
    texts.add(b"gAMA", struct.pack(">I", 45_455))
    plain = encoded(photo(), "PNG", exif=exif(), pnginfo=texts, icc_profile=SRGB, dpi=(72, 72))
    own = chunk(b"tIME", b"\x07\xe9\1\1\0\0\0") + chunk(b"noTe", NOTE) + chunk(b"prVt", NOTE)
    return plain[:33] + own + plain[33:] + b"a screenshot's rest: " + NOTE


def noted_gif() -> bytes:
    plain = encoded(
        photo(),
        "GIF",
        comment=NOTE,
        save_all=True,
        append_images=[photo().rotate(9)],
        loop=3,
        duration=80,
    )
    xmp = b"!\xff\x0bXMP DataXMP" + bytes([len(NOTE)]) + NOTE + b"\0"
    return plain[:-1] + xmp + b";" + NOTE


def noted_webp(**options: object) -> bytes:
    return encoded(photo(), "WEBP", exif=exif(), xmp=XMP, icc_profile=SRGB, **options) + NOTE


NOTED = {
    "JPEG": noted_jpeg(),
    "progressive JPEG": noted_jpeg(progressive=True),
    "PNG": noted_png(),
    "GIF": noted_gif(),
    "WEBP": noted_webp(),
    "animated WEBP": noted_webp(save_all=True, append_images=[photo().rotate(9)]),
}


def frames(data: bytes) -> list[bytes]:
    import io

    with Pillow.open(io.BytesIO(data)) as image:
        pixels = []
        for at in range(getattr(image, "n_frames", 1)):
            image.seek(at)
            pixels.append(image.convert("RGBA").tobytes())
        return pixels


def open_as(image: Image, kind: str) -> Pillow.Image:
    opened = decoded(image.data)
    assert image.media_type == f"image/{kind.lower()}"
    assert opened.size == (image.width, image.height)
    return opened


class TestMetadata:
    @pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
    @pytest.mark.parametrize("data", NOTED.values(), ids=NOTED)
    def test_it_is_gone_and_nothing_else_is(self, data: bytes) -> None:
        assert NOTE in data

        sent = images.load(data).data

        assert NOTE not in sent
        assert b"tiff:Orientation" not in sent
        assert frames(sent) == frames(data)

    @pytest.mark.parametrize("data", NOTED.values(), ids=NOTED)
    def test_it_is_kept_on_request_byte_for_byte(self, data: bytes) -> None:
        assert images.load(data, wanted=KEEPING).data == data

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_what_the_colors_need_is_kept(self, kind: str) -> None:
        assert decoded(images.load(NOTED[kind]).data).info["icc_profile"] == SRGB

    def test_a_png_keeps_its_gamma_and_density(self) -> None:
        info = decoded(images.load(NOTED["PNG"]).data).info

        assert (info["gamma"], round(info["dpi"][0])) == (0.45455, 72)
        assert set(info) == {"gamma", "dpi", "icc_profile"}

    def test_a_gif_keeps_its_pace(self) -> None:
        info = decoded(images.load(NOTED["GIF"]).data).info

        assert (info["duration"], info["loop"], info.get("comment")) == (80, 3, None)

    def test_a_webp_no_longer_claims_to_have_any(self) -> None:
        flags = images.load(NOTED["WEBP"]).data[20]

        assert flags & 0x0C == 0

    @pytest.mark.parametrize("data", NOTED.values(), ids=NOTED)
    def test_what_was_given_is_still_known(self, data: bytes) -> None:
        original = images.load(data).original

        assert original is not None
        assert (original.data, original.width, original.height) == (data, 60, 40)

    def test_the_thumbnail_of_jfif_goes_too(self) -> None:
        plain = encoded(photo(), "JPEG")
        thumbnail = segment(0xE0, plain[6:18] + b"\1\1" + b"abc")

        assert images.load(plain[:2] + thumbnail + plain[20:]).data == plain

    def test_bytes_between_the_segments_of_a_jpeg_are_skipped_as_decoders_do(self) -> None:
        plain = encoded(photo(), "JPEG")
        odd = plain[:20] + b"\0\0\xff\xff\xff" + plain[20:]
        assert frames(odd) == frames(plain)

        assert images.load(odd).data == plain

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
    def test_none_is_left_in_an_image_that_was_made_smaller(self, kind: str) -> None:
        data = encoded(photo((300, 200)), kind, exif=exif(6), xmp=XMP)
        assert NOTE in data

        sent = images.load(data, wanted=Preparation(max_side=100)).data

        assert NOTE not in sent
        assert (decoded(sent).getexif(), decoded(sent).info.get("xmp")) == ({}, None)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_in_an_image_made_smaller_it_is_kept_on_request_and_upright(self, kind: str) -> None:
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = encoded(photo((300, 200)), kind, exif=exif(6), xmp=XMP, pnginfo=texts)

        sent = decoded(images.load(data, wanted=Preparation(max_side=100, keep_metadata=True)).data)

        assert sent.size == (67, 100)
        assert sent.getexif().get(0x010E) == GPS_NOTE
        assert sent.getexif().get(0x0112, 1) == 1
        if kind != "TIFF":  # of which Pillow writes neither
            assert sent.getexif().get_ifd(0x8825)[1] == "N"
            assert b'tiff:Orientation="1"' in (
                sent.info.get("xmp") or sent.info["XML:com.adobe.xmp"].encode()
            )

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_damaged_exif_is_no_reason_to_refuse_an_image(self) -> None:
        data = encoded(
            photo((300, 200)),
            "JPEG",
            exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\x88\x25\0\4\0\0\0\1\0\0\0\x08",
        )

        image = images.load(data, wanted=Preparation(max_side=100, keep_metadata=True))

        assert (image.width, image.height) == (100, 67)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
    def test_a_picture_arrives_upright(self, kind: str, orientation: int) -> None:
        stored = TURNED_BACK[orientation](photo((210, 140)))
        options = (
            {"lossless": True}
            if kind == "WEBP"
            else {"quality": 95}
            if kind in ("JPEG", "AVIF", "HEIF")
            else {}
        )
        # pillow-heif makes of it the turn that a HEIC picture has beside its EXIF
        data = encoded(stored, kind, exif=exif(orientation).tobytes(), **options)

        image = images.load(data)

        assert (image.width, image.height) == (210, 140)
        assert difference(decoded(image.data), photo((210, 140))) <= (0 if kind == "PNG" else 2)
        assert decoded(image.data).getexif().get(0x0112, 1) == 1
        assert image.original is None or (image.original.width, image.original.height) == (210, 140)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_part_is_one_of_the_upright_image(self, orientation: int, tmp_path: object) -> None:
        path = tmp_path / "a.png"  # type: ignore[operator]
        path.write_bytes(
            encoded(TURNED_BACK[orientation](photo((96, 64))), "PNG", exif=exif(orientation))
        )

        image = images.load(f"{path}#xywh=10,5,30,20")

        assert decoded(image.data).tobytes() == photo((96, 64)).crop((10, 5, 40, 25)).tobytes()

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_part_of_a_jpeg_that_is_decoded_smaller_is_the_right_one(
        self, orientation: int, tmp_path: object
    ) -> None:
        whole = photo((1600, 1200))
        path = tmp_path / "a.jpg"  # type: ignore[operator]
        path.write_bytes(
            encoded(TURNED_BACK[orientation](whole), "JPEG", exif=exif(orientation), quality=95)
        )

        image = images.load(f"{path}#xywh=600,300,800,600", wanted=Preparation(max_side=100))

        assert (image.width, image.height) == (100, 75)
        assert (
            difference(decoded(image.data), whole.resize((100, 75), box=(600, 300, 1400, 900))) < 4
        )

    @pytest.mark.parametrize("orientation", [2, 3, 6, 8])
    @pytest.mark.parametrize("subsampling", [0, 1, 2])
    def test_a_jpeg_loses_next_to_nothing_when_it_is_turned(
        self, orientation: int, subsampling: int
    ) -> None:
        stored = encoded(
            photo((96, 64)), "JPEG", quality=70, subsampling=subsampling, exif=exif(orientation)
        )

        sent = images.load(stored).data

        upright = {2: Pillow.Transpose.FLIP_LEFT_RIGHT, 3: Pillow.Transpose.ROTATE_180,
                   6: Pillow.Transpose.ROTATE_270, 8: Pillow.Transpose.ROTATE_90}[orientation]  # fmt: skip
        assert difference(decoded(sent), decoded(stored).transpose(upright)) < 2.5
        assert len(sent) < 1.2 * len(stored)

    @pytest.mark.parametrize(
        ("exif", "found"),
        [
            (b"", 1),
            (b"MM\0*", 1),
            (b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0", 6),
            (b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 6),
            (b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09\0\0", 1),
            (b"MM\0*\0\0\0\x08\0\1\1\x12\0\4\0\0\0\1\0\0\0\6", 6),
            (b"II*\0\x08\0\0\0\1\0\x12\1\x08\0\1\0\0\0\6\0\0\0", 6),
            (b"II*\0\x08\0\0\0\1\0\x12\1\1\0\1\0\0\0\6\0\0\0", 6),
            (b"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0", 1),
            (b"MM\0*\0\0\0\x08\xff\xff\1\x12\0\3\0\0\0\1\0\6\0\0", 6),
            (b"MM\0*\xff\xff\xff\xff", 1),
        ],
    )
    def test_exif_that_is_damaged_turns_nothing(self, exif: bytes, found: int) -> None:
        assert orientation_of(exif) == found


class TestSize:
    @pytest.mark.parametrize("kind", [*AS_THEY_ARE, "AVIF", "HEIF", "BMP", "PPM", "TIFF"])
    def test_the_longest_side_is_limited(self, kind: str) -> None:
        image = images.load(encoded(photo((300, 100)), kind), wanted=Preparation(max_side=90))

        assert (image.width, image.height) == decoded(image.data).size == (90, 30)
        assert image.original is not None
        assert (image.original.width, image.original.height) == (300, 100)

    @pytest.mark.parametrize("kind", AS_THEY_ARE)
    def test_without_a_limit_it_stays(self, kind: str) -> None:
        data = encoded(photo((3000, 20)), kind)

        assert images.load(data, wanted=Preparation(max_side=0)).data == data
        assert images.load(data).width <= 2048

    def test_a_photo_becomes_a_jpeg_and_what_was_drawn_a_png(self) -> None:
        small = Preparation(max_side=500)
        drawn = Pillow.new("RGB", (1000, 600), "white")
        drawn.paste("red", (100, 100, 300, 300))

        assert (
            images.load(encoded(photo((1000, 600)), "PNG"), wanted=small).media_type == "image/jpeg"
        )
        assert images.load(encoded(drawn, "PNG"), wanted=small).media_type == "image/png"
        assert images.load(encoded(drawn, "JPEG"), wanted=small).media_type == "image/jpeg"

    def test_the_smallest_side_never_vanishes(self) -> None:
        image = images.load(encoded(photo((3000, 2)), "PNG"), wanted=Preparation(max_side=100))

        assert (image.width, image.height) == (100, 1)

    def test_a_jpeg_may_come_out_a_little_smaller_where_that_saves_most_of_the_work(self) -> None:
        sizes = [images.load(encoded(photo((width, 60)), "JPEG"), wanted=Preparation(max_side=512)).width
                 for width in (1000, 2000, 4000, 4096, 1100)]  # fmt: skip

        assert sizes == [500, 500, 500, 512, 512]

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_of_an_animation_that_is_too_large_the_first_image_is_sent_and_that_is_said(
        self, kind: str
    ) -> None:
        data = encoded(
            photo((300, 200)), kind, save_all=True, append_images=[Pillow.new("RGB", (300, 200))]
        )

        image = images.load(data, "party", wanted=Preparation(max_side=150))

        assert image.notice == "party is an animation: only its first image is sent"
        assert difference(decoded(image.data), photo((150, 100))) < 12


class TestColors:
    """Modes that few programs expect arrive as a person sees them."""

    def test_cmyk_becomes_rgb(self) -> None:
        data = encoded(photo(mode="CMYK"), "JPEG", quality=95)

        opened = open_as(images.load(data), "jpeg")

        assert opened.mode == "RGB"
        assert difference(opened, photo()) < 5

    def test_a_profile_of_other_colors_than_the_pixels_have_is_dropped(self) -> None:
        data = encoded(photo(mode="CMYK"), "JPEG", icc_profile=LAB)

        assert "icc_profile" not in decoded(images.load(data).data).info

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_16_bits_of_gray_become_8(self, kind: str) -> None:
        ramp = Pillow.frombytes(
            "I;16", (256, 1), b"".join(struct.pack("<H", at * 257) for at in range(256))
        )

        opened = open_as(images.load(encoded(ramp, kind)), "png")

        assert (opened.mode, list(opened.tobytes())) == ("L", list(range(256)))

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_numbers_without_limits_are_scaled_to_what_there_is(self, mode: str) -> None:
        ramp = (
            Pillow.frombytes("L", (256, 1), bytes(range(256)))
            .convert(mode)
            .point(lambda value: value * 1000 - 500)
        )

        opened = open_as(images.load(encoded(ramp, "TIFF")), "png")

        levels = list(opened.tobytes())
        assert (opened.mode, levels[0], levels[-1]) == ("L", 0, 255)
        assert all(after - before in (0, 1, 2) for before, after in pairwise(levels))

    @pytest.mark.parametrize(
        ("image", "corner"),
        [
            (
                Pillow.new("RGBA", (300, 200), (200, 100, 50, 128)),
                (199, 99, 49, 128),
            ),  # rounded once
            (Pillow.new("LA", (300, 200), (200, 128)), (199, 199, 199, 128)),
        ],
    )
    def test_what_can_be_seen_through_stays_so(
        self, image: Pillow.Image, corner: tuple[int, ...]
    ) -> None:
        opened = open_as(
            images.load(encoded(image, "PNG"), wanted=Preparation(max_side=100)), "png"
        )

        assert opened.convert("RGBA").getpixel((50, 30)) == corner

    def test_a_palette_with_a_transparent_color_stays_see_through(self) -> None:
        image = Pillow.new("P", (300, 200), 1)
        image.putpalette([255, 0, 0, 0, 255, 0])
        data = encoded(image, "PNG", transparency=1)

        opened = open_as(images.load(data, wanted=Preparation(max_side=100)), "png")

        assert opened.convert("RGBA").getpixel((50, 30))[3] == 0  # type: ignore[index]

    def test_alpha_that_hides_nothing_keeps_no_photo_from_being_a_jpeg(self) -> None:
        data = encoded(photo((1000, 600)).convert("RGBA"), "PNG")

        open_as(images.load(data, wanted=Preparation(max_side=500)), "jpeg")

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
    def test_common_modes_are_what_they_were(self, mode: str, kind: str) -> None:
        source_image = photo((300, 200)).convert(mode)

        image = images.load(encoded(source_image, kind), wanted=Preparation(max_side=150))

        expected = source_image.convert("RGB").resize((150, 100), Pillow.Resampling.BICUBIC)
        assert difference(decoded(image.data), expected) < 10  # a GIF has 256 colors
