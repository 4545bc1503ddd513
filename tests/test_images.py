"""Pictures are judged by their content, and whole."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import CAT
from PIL import Image as Pillow

from reka_cli import images
from reka_cli.errors import BadInput
from reka_cli.messages import Image


def encoded(kind: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.effect_noise(size, 80).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("GIF", "image/gif"), ("WEBP", "image/webp")],
)
def test_what_is_taken_is_given_as_it_is(tmp_path: Path, kind: str, media_type: str) -> None:
    data = encoded(kind)
    path = tmp_path / "misleading.txt"
    path.write_bytes(data)

    assert images.load(path) == Image(data, media_type, 40, 30, "misleading.txt")
    assert images.load(data) == Image(data, media_type, 40, 30, "image")
    assert images.looks_like_one(str(path))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_anywhere_is_refused(kind: str) -> None:
    data = encoded(kind)

    for tenth in range(10):
        with pytest.raises(BadInput):
            images.load(data[: len(data) * tenth // 10])


def test_a_png_that_lacks_only_its_end_is_refused() -> None:
    with pytest.raises(BadInput, match="image is damaged or cut off"):
        images.load(encoded("PNG")[:-12])


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(BadInput, match="image is no JPEG, PNG, GIF or WebP picture"):
        images.load(encoded(kind))


def test_a_decompression_bomb_is_refused() -> None:
    buffer = io.BytesIO()
    Pillow.new("1", (20_000, 10_000)).save(buffer, "PNG")

    with pytest.raises(BadInput, match="image has too many pixels"):
        images.load(buffer.getvalue())


def test_a_file_that_never_ends_is_refused() -> None:
    with pytest.raises(BadInput, match="zero is larger than 50 MB"):
        images.load("/dev/zero")


def test_a_name_that_is_no_path_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot read a\0b: embedded null byte"):
        images.load("a\0b")


def test_a_file_name_that_is_no_text_is_shown_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.jpeg"
    path.write_bytes(CAT.read_bytes())

    assert images.load(path).name == "caf?.jpeg"


@pytest.mark.parametrize("path", ["README.md", "missing.jpg", "docs", "", "\0"])
def test_what_is_no_picture_does_not_look_like_one(path: str) -> None:
    assert not images.looks_like_one(path)
