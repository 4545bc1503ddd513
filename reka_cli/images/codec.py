"""Decoding and encoding, which Pillow does: whatever it opens becomes a JPEG or PNG, upright and small enough."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from reka_cli.errors import BadInput
from reka_cli.images import color_modes
from reka_cli.images.geometry import View, is_sideways
from reka_cli.images.inspection import ConvertedImage, InspectedImage
from reka_cli.images.metadata import Metadata
from reka_cli.images.preparation import Preparation, Size
from reka_cli.images.stderr import silence_stderr

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
_MOST_TEXT = 64 << 20  # bytes of metadata of a PNG, decompressed
_WITH_ALPHA = ("LA", "RGBA")
_SUBSAMPLED_ACROSS, _SUBSAMPLED_BOTH_WAYS = 1, 2


def convert(inspected: InspectedImage, wanted: Preparation) -> ConvertedImage:
    """Decode an image and encode it as it is wanted."""
    with _open_image(inspected, with_metadata=wanted.keep_metadata) as image:
        notice = _go_to_page(image, inspected)
        orientation = _orientation(image, inspected)
        view = View.of(image.size, orientation, inspected.box, wanted.max_side)
        seen = _decode(image, view, inspected)
        kept = Metadata.of(image) if wanted.keep_metadata else Metadata()
        style = _encode_options(image, inspected, view, orientation)
        icc = image.info.get("icc_profile")
        upright = _rotate(_crop(color_modes.to_8_bit_channels(image), seen), orientation)
    data, media_type, size = encode(upright, icc, kept, style)
    return ConvertedImage(data, media_type, size, view.whole, notice)


@dataclass(frozen=True)
class EncodeOptions:
    """How an image is encoded: `form` is JPEG or PNG, None for what suits it; `options` are those of a JPEG."""

    form: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: {"quality": _QUALITY})


def encode(
    image: Image, icc: bytes | None, kept: Metadata, style: EncodeOptions
) -> tuple[bytes, str, Size]:
    """Give an unpacked image as a file, its media type and size: JPEG for photos, PNG for drawings and alpha."""
    image, icc = color_modes.to_gray_or_rgb(image, icc)
    image.info = {}  # of which the encoders would write what nobody asked for
    form = style.form or ("JPEG" if color_modes.is_photographic(image) else "PNG")
    buffer = io.BytesIO()
    if form == "PNG" or image.mode in _WITH_ALPHA or max(image.size) > _LONGEST_JPEG_SIDE:
        image.save(buffer, "PNG", icc_profile=icc, **kept.for_png())
        return buffer.getvalue(), "image/png", image.size
    image.save(buffer, "JPEG", icc_profile=icc, **style.options, **kept.for_jpeg())
    return buffer.getvalue(), "image/jpeg", image.size


@contextmanager
def _open_image(inspected: InspectedImage, *, with_metadata: bool) -> Iterator[ImageFile]:
    plugin = _plugin(inspected)
    muted = (
        silence_stderr() if inspected.form.name == "TIFF" else nullcontext()
    )  # libtiff says what it finds wrong
    with muted, _file(inspected, with_metadata=with_metadata) as file, plugin(file) as image:
        yield image


def _plugin(inspected: InspectedImage) -> type[ImageFile]:
    module, name = _PLUGINS[inspected.form.name]
    shown = f"{inspected.found.name} is {inspected.form.name}"
    try:
        # not Image.open, which tries one decoder after the other, and imports them all before
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{shown}, which needs pillow-heif", hint="pip install 'reka-cli[heic]'"
        ) from error
    if not getattr(found, "SUPPORTED", True):
        raise BadInput(
            f"{shown}, which the Pillow of this machine cannot read",
            hint="pip install --upgrade pillow",
        )
    if inspected.form.name == "PNG":  # long texts beside the pixels do not make it damaged
        vars(found).update(MAX_TEXT_CHUNK=_MOST_TEXT, MAX_TEXT_MEMORY=_MOST_TEXT)
    return cast("type[ImageFile]", getattr(found, name))


def _file(inspected: InspectedImage, *, with_metadata: bool) -> BinaryIO:
    """Open what the decoder is to see: no metadata that it could stumble over, where that costs little."""
    content, seen = inspected.found.content, inspected.seen
    if seen is None or with_metadata or inspected.form.name == "JPEG":
        return content.open()
    return io.BytesIO(b"".join(seen.without_metadata(content).blocks()))


def _go_to_page(image: ImageFile, inspected: InspectedImage) -> str | None:
    """Go to the page that is meant; give what the user should know of those that are left out."""
    form = inspected.form.name
    if form == "TIFF":
        _reject_raw(image, inspected.found.name)
    count = inspected.seen.frames if inspected.seen else getattr(image, "n_frames", 1)
    page = inspected.page(count)
    if inspected.part.page is not None:
        image.seek(page)
        return None
    if form == "TIFF":
        return inspected.left_out_notice(count)
    # the images of a HEIC file are variants of the one that it names
    return "is an animation: only its first image is sent" if count > 1 and form != "HEIC" else None


def _reject_raw(image: Any, name: str) -> None:
    """Refuse a camera's raw file, which is a TIFF file of which Pillow sees nothing but the thumbnail."""
    if image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED or _DNG_VERSION in image.tag_v2:
        raise BadInput(
            f"{name} is a raw file of a camera",
            hint="develop it first, or send the JPEG of the camera",
        )


def _orientation(image: ImageFile, inspected: InspectedImage) -> int:
    if inspected.seen:
        return inspected.seen.orientation
    found = (
        image.getexif().get(_ORIENTATION) if inspected.form.name == "AVIF" else 1
    )  # the others are turned by Pillow
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _decode(image: ImageFile, view: View, inspected: InspectedImage) -> View:
    """Decode, smaller than it is stored if that is enough, and give the view of what came out."""
    stored, by = image.size, view.divisor
    if inspected.form.name == "JPEG" and by > 1:
        image.draft(image.mode, (max(1, stored[0] // by), max(1, stored[1] // by)))
    inspected.check_pixels(image.size)
    image.load()
    return view.scale_to(image.size, stored)


def _crop(image: Image, view: View) -> Image:
    if not view.is_smaller:
        return image if view.box == (0, 0, *image.size) else image.crop(view.box)
    from PIL.Image import Resampling

    return image.resize(view.size, Resampling.BICUBIC, box=view.box, reducing_gap=_REDUCING_GAP)


def _rotate(image: Image, orientation: int) -> Image:
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
    return image.transpose(turns[orientation]) if orientation in turns else image


def _encode_options(
    image: Any, inspected: InspectedImage, view: View, orientation: int
) -> EncodeOptions:
    """Encode as the image was: what was JPEG loses least as JPEG, what was exact stays so at its full size."""
    if inspected.form.name != "JPEG":
        return EncodeOptions(
            "PNG" if inspected.form.name == "PNG" and not view.is_smaller else None
        )
    is_usual = image.mode in ("L", "RGB") and max(map(max, image.quantization.values())) < 256
    return (
        _same_tables(image, orientation)
        if is_usual and not view.is_smaller
        else EncodeOptions("JPEG")
    )


def _same_tables(image: Any, orientation: int) -> EncodeOptions:
    """Give the tables of a JPEG, so that encoding it again changes next to nothing."""
    from PIL.JpegImagePlugin import get_sampling

    tables = [list(image.quantization[layer[3]]) for layer in image.layer]
    sampling = get_sampling(image)
    if is_sideways(orientation):
        tables = [[table[8 * (at % 8) + at // 8] for at in range(64)] for table in tables]
    # what Pillow cannot write, or what would have to be turned too, is written with every color at its full size
    is_kept = sampling == _SUBSAMPLED_BOTH_WAYS or (
        sampling == _SUBSAMPLED_ACROSS and not is_sideways(orientation)
    )
    return EncodeOptions("JPEG", {"qtables": tables[:2], "subsampling": sampling if is_kept else 0})
