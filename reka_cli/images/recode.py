"""Decoding and encoding, which Pillow does: whatever it opens becomes a JPEG or PNG, upright and small enough."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from reka_cli.errors import BadInput
from reka_cli.images import colours
from reka_cli.images.geometry import View, is_sideways
from reka_cli.images.given import Given, Recoded
from reka_cli.images.metadata import Metadata
from reka_cli.images.preparation import Preparation, Size
from reka_cli.images.quiet import quiet

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
}
_ORIENTATION, _SUBFILE_TYPE, _DNG_VERSION = 274, 254, 50706  # tags of TIFF
_REDUCED = 1  # of _SUBFILE_TYPE: a small copy of another
_QUALITY = 90
_LONGEST_JPEG_SIDE = 65_500
_REDUCING_GAP = 3.0  # from where on a quick halving before the slow resizing cannot be seen; BICUBIC: half of LANCZOS
_WITH_ALPHA = ("LA", "RGBA")
_SUBSAMPLED_ACROSS, _SUBSAMPLED_BOTH_WAYS = 1, 2


def recoded(given: Given, wanted: Preparation) -> Recoded:
    """Decode a picture and encode it as it is wanted."""
    with _opened(given, with_metadata=wanted.keep_metadata) as picture:
        notice = _go_to_page(picture, given)
        orientation = _orientation(picture, given)
        view = View.of(picture.size, orientation, given.box, wanted.max_side)
        seen = _decoded(picture, view, given)
        kept = Metadata.of(picture) if wanted.keep_metadata else Metadata()
        style = _style(picture, given, view, orientation)
        icc = picture.info.get("icc_profile")
        upright = _turned(_cut(colours.unpacked(picture), seen), orientation)
    data, media_type, size = encoded(upright, icc, kept, style)
    return Recoded(data, media_type, size, view.whole, notice)


@dataclass(frozen=True)
class Style:
    """How a picture is encoded: `form` is JPEG or PNG, None for what suits it; `options` are those of a JPEG."""

    form: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: {"quality": _QUALITY})


def encoded(picture: Image, icc: bytes | None, kept: Metadata, style: Style) -> tuple[bytes, str, Size]:
    """Give an unpacked picture as a file, its media type and size: JPEG for photos, PNG for drawings and alpha."""
    picture, icc = colours.plain(picture, icc)
    picture.info = {}  # of which the encoders would write what nobody asked for
    form = style.form or ("JPEG" if colours.is_photographic(picture) else "PNG")
    buffer = io.BytesIO()
    if form == "PNG" or picture.mode in _WITH_ALPHA or max(picture.size) > _LONGEST_JPEG_SIDE:
        picture.save(buffer, "PNG", icc_profile=icc, **kept.for_png())
        return buffer.getvalue(), "image/png", picture.size
    picture.save(buffer, "JPEG", icc_profile=icc, **style.options, **kept.for_jpeg())
    return buffer.getvalue(), "image/jpeg", picture.size


@contextmanager
def _opened(given: Given, *, with_metadata: bool) -> Iterator[ImageFile]:
    plugin = _plugin(given)
    muted = quiet() if given.form.name == "TIFF" else nullcontext()  # libtiff says what it finds wrong
    with muted, _file(given, with_metadata=with_metadata) as file, plugin(file) as picture:
        yield picture


def _plugin(given: Given) -> type[ImageFile]:
    module, name = _PLUGINS[given.form.name]
    shown = f"{given.found.name} is {given.form.name}"
    try:
        # not Image.open, which tries one decoder after the other, and imports them all before
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise BadInput(f"{shown}, which needs pillow-heif", hint="pip install 'reka-cli[heic]'") from error
    if not getattr(found, "SUPPORTED", True):
        raise BadInput(f"{shown}, which the Pillow of this machine cannot read", hint="pip install --upgrade pillow")
    return cast("type[ImageFile]", getattr(found, name))


def _file(given: Given, *, with_metadata: bool) -> BinaryIO:
    """Open what the decoder is to see: no metadata that it could stumble over, where that costs little."""
    content, seen = given.found.content, given.seen
    if seen is None or with_metadata or given.form.name == "JPEG":
        return content.open()
    return io.BytesIO(b"".join(seen.without_metadata(content).blocks()))


def _go_to_page(picture: ImageFile, given: Given) -> str | None:
    """Go to the page that is meant; give what the user should know of those that are left out."""
    form = given.form.name
    if form == "TIFF":
        _refuse_raw(picture, given.found.name)
    count = given.seen.frames if given.seen else getattr(picture, "n_frames", 1)
    page = given.page(count)
    if given.part.page is not None:
        picture.seek(page)
        return None
    if form == "TIFF":
        return given.left_out(count)
    # the pictures of a HEIC file are variants of the one that it names
    return "is an animation: only its first picture is sent" if count > 1 and form != "HEIC" else None


def _refuse_raw(picture: Any, name: str) -> None:
    """Refuse a camera's raw file, which is a TIFF file of which Pillow sees nothing but the thumbnail."""
    if picture.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED or _DNG_VERSION in picture.tag_v2:
        raise BadInput(f"{name} is a raw file of a camera", hint="develop it first, or send the JPEG of the camera")


def _orientation(picture: ImageFile, given: Given) -> int:
    if given.seen:
        return given.seen.orientation
    found = picture.getexif().get(_ORIENTATION) if given.form.name == "AVIF" else 1  # the others are turned by Pillow
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _decoded(picture: ImageFile, view: View, given: Given) -> View:
    """Decode, smaller than it is stored if that is enough, and give the view of what came out."""
    stored, by = picture.size, view.divisor
    if given.form.name == "JPEG" and by > 1:
        picture.draft(picture.mode, (max(1, stored[0] // by), max(1, stored[1] // by)))
    given.check_pixels(picture.size)
    picture.load()
    return view.in_picture(picture.size, stored)


def _cut(picture: Image, view: View) -> Image:
    if not view.is_smaller:
        return picture if view.box == (0, 0, *picture.size) else picture.crop(view.box)
    from PIL.Image import Resampling

    return picture.resize(view.size, Resampling.BICUBIC, box=view.box, reducing_gap=_REDUCING_GAP)


def _turned(picture: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(turns[orientation]) if orientation in turns else picture


def _style(picture: Any, given: Given, view: View, orientation: int) -> Style:
    """Encode as the picture was: what was JPEG loses least as JPEG, what was exact stays so at its full size."""
    if given.form.name != "JPEG":
        return Style("PNG" if given.form.name == "PNG" and not view.is_smaller else None)
    is_usual = picture.mode in ("L", "RGB") and max(map(max, picture.quantization.values())) < 256
    return _same(picture, orientation) if is_usual and not view.is_smaller else Style("JPEG")


def _same(picture: Any, orientation: int) -> Style:
    """Give the tables of a JPEG, so that encoding it again changes next to nothing."""
    from PIL.JpegImagePlugin import get_sampling

    tables = [list(picture.quantization[layer[3]]) for layer in picture.layer]
    sampling = get_sampling(picture)
    if is_sideways(orientation):
        tables = [[table[8 * (at % 8) + at // 8] for at in range(64)] for table in tables]
    # what Pillow cannot write, or what would have to be turned too, is written with every colour at its full size
    is_kept = sampling == _SUBSAMPLED_BOTH_WAYS or (sampling == _SUBSAMPLED_ACROSS and not is_sideways(orientation))
    return Style("JPEG", {"qtables": tables[:2], "subsampling": sampling if is_kept else 0})
