"""Files that are to be images: refused in our words, or made ready so that nothing of their pixels is lost."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import sys
import warnings
import zlib
from functools import lru_cache
from pathlib import Path

from PIL import Image as Pillow

from fuzz._changed import changed
from reka_cli import images
from reka_cli.errors import RekaError
from reka_cli.images import Preparation
from reka_cli.messages import Image

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))

_PREPARATIONS = (
    Preparation(),
    Preparation(max_side=16),
    Preparation(max_side=0, keep_metadata=True),
)


def once(rng: random.Random) -> None:
    data = changed(_samples(), rng)
    wanted = rng.choice(_PREPARATIONS)
    for one in {data, _with_right_sums(data)}:
        with contextlib.suppress(RekaError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check(images.load(one, wanted=wanted), wanted)


@lru_cache(1)
def _samples() -> list[bytes]:
    from test_images import VARIANTS
    from test_preparation import NOTED

    return [*VARIANTS.values(), *NOTED.values()]


def _check(image: Image, wanted: Preparation) -> None:
    """What was made ready needs nothing more, and a decoder sees what it saw before."""
    again = images.load(image.data, wanted=wanted)
    assert again.data == image.data, "made ready twice, it changes twice"
    assert (again.width, again.height) == (image.width, image.height)
    original = image.original
    if (
        original
        and (original.media_type, original.width) == (image.media_type, image.width)
        and wanted == Preparation()
    ):
        before = _pixels(original.data)
        assert before is None or before == _pixels(image.data), (
            "without its metadata it looks different"
        )


def _pixels(data: bytes) -> bytes | None:
    """Give what Pillow decodes, None if it does not."""
    try:
        with Pillow.open(io.BytesIO(data)) as image:
            return image.convert("RGBA").tobytes()
    except Exception:
        return None


def _with_right_sums(data: bytes) -> bytes:
    """Give a PNG with the checksums that its chunks should have, or else every change would end there."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, at)
        end = at + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)
