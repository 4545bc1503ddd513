"""A found image made ready: checked, and upright, small enough and without metadata, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reka_cli.errors import BadInput, RekaError
from reka_cli.images import codec, pdf
from reka_cli.images.file_content import MAX_IMAGE_BYTES, Content, ContentParts, FoundImage, OnDisk
from reka_cli.images.formats import HEAD_BYTES, Format, detect, read_structure
from reka_cli.images.inspection import InspectedImage
from reka_cli.images.media_fragment import MediaFragment, parse_fragment
from reka_cli.images.preparation import Preparation
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Encoded, Image


def prepare(found: FoundImage, wanted: Preparation, deadline: Deadline | None = None) -> Image:
    """Give an image as it can be sent; raise BadInput for what is none, is not whole or is too large."""
    part = parse_fragment(found.fragment)
    _check_size(found)
    with _report_damage(found):
        with found.content.open() as file:
            form = _detect(file.read(HEAD_BYTES), found.name)
            seen = read_structure(form, file, found.content.size_bytes)
        inspected = InspectedImage(found, form, seen, part)
        return _keep_encoding(inspected, wanted) or _convert(inspected, wanted, deadline)


def _check_size(found: FoundImage) -> None:
    if not found.content.size_bytes:
        raise BadInput(f"{found.name} is empty")
    if found.content.size_bytes > MAX_IMAGE_BYTES:
        raise BadInput(f"{found.name} is larger than {MAX_IMAGE_BYTES >> 20} MB")


def _detect(head: bytes, name: str) -> Format:
    form = detect(head)
    if form:
        return form
    hint = "--video FILE" if head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3") else None
    raise BadInput(f"{name} is no image, or of a format that is not known", hint)


def _keep_encoding(inspected: InspectedImage, wanted: Preparation) -> Image | None:
    """Give an image that needs nothing but to lose its metadata, None if it needs more."""
    seen, form, found = inspected.seen, inspected.form, inspected.found
    if seen is None:
        return None
    size = seen.width, seen.height
    inspected.check_pixels(size, decodes_small=seen.decodes_small)
    if (
        inspected.part != MediaFragment()
        or form.media_type not in wanted.media_types
        or not wanted.fits(size)
    ):
        return None
    if seen.orientation != 1 or not seen.is_common:
        return None
    whole = ContentParts.whole(found.content)
    keeps_file = wanted.keep_metadata and seen.notice is None
    bare = whole if keeps_file else seen.without_metadata(found.content)
    if bare.size_bytes == whole.size_bytes:
        return Image(whole, form.media_type, *size, found.name, found.label)
    notice = f"{found.name} {seen.notice}" if seen.notice else None
    return Image(
        bare,
        form.media_type,
        *size,
        found.name,
        found.label,
        Encoded(whole, form.media_type, *size),
        notice,
    )


def _convert(inspected: InspectedImage, wanted: Preparation, deadline: Deadline | None) -> Image:
    found, form = inspected.found, inspected.form
    if form.name == "PDF":
        made = pdf.convert(inspected, wanted, deadline)
    else:
        made = codec.convert(inspected, wanted)
    original = Encoded(ContentParts.whole(found.content), form.media_type, *made.whole)
    notice = f"{found.name} {made.notice}" if made.notice else None
    width, height = made.size
    return Image(
        made.data, made.media_type, width, height, found.name, found.label, original, notice
    )


@contextmanager
def _report_damage(found: FoundImage) -> Iterator[None]:
    """Say of whatever goes wrong that the file is damaged, or was changed meanwhile."""
    try:
        yield
    except RekaError:
        raise
    except Exception as error:  # bytes from anywhere: nobody lists what decoders raise for them
        _check_unchanged(found.content)
        raise BadInput(f"{found.name} is damaged or cut off") from error


def _check_unchanged(content: Content) -> None:
    if isinstance(content, OnDisk):
        content.open().close()
