"""A found picture made ready: checked, and upright, small enough and without metadata, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reka_cli.errors import BadInput, RekaError
from reka_cli.images import pdf, recode
from reka_cli.images.content import LARGEST, Content, Found, OnDisk, Parts
from reka_cli.images.formats import HEAD_BYTES, Format, detect, layout
from reka_cli.images.fragment import Fragment, parse
from reka_cli.images.given import Given
from reka_cli.images.preparation import Preparation
from reka_cli.messages import Encoded, Image


def prepare(found: Found, wanted: Preparation) -> Image:
    """Give a picture as it can be sent; raise BadInput for what is none, is not whole or is too large."""
    part = parse(found.fragment)
    _check_size(found)
    with _telling(found):
        with found.content.open() as file:
            form = _detect(file.read(HEAD_BYTES), found.name)
            seen = layout(form, file, found.content.size_bytes)
        given = Given(found, form, seen, part)
        return _as_it_is(given, wanted) or _recoded(given, wanted)


def _check_size(found: Found) -> None:
    if not found.content.size_bytes:
        raise BadInput(f"{found.name} is empty")
    if found.content.size_bytes > LARGEST:
        raise BadInput(f"{found.name} is larger than {LARGEST >> 20} MB")


def _detect(head: bytes, name: str) -> Format:
    form = detect(head)
    if form:
        return form
    hint = "--video FILE" if head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3") else None
    raise BadInput(f"{name} is no picture, or of a format that is not known", hint)


def _as_it_is(given: Given, wanted: Preparation) -> Image | None:
    """Give a picture that needs nothing but to lose its metadata, None if it needs more."""
    seen, form, found = given.seen, given.form, given.found
    if seen is None:
        return None
    size = seen.width, seen.height
    given.check_pixels(size, decodes_small=seen.decodes_small)
    if given.part != Fragment() or form.media_type not in wanted.media_types or not wanted.fits(size):
        return None
    if seen.orientation != 1 or not seen.is_common:
        return None
    whole = Parts.whole(found.content)
    bare = whole if wanted.keep_metadata else seen.without_metadata(found.content)
    if bare.size_bytes == whole.size_bytes:
        return Image(whole, form.media_type, *size, found.name, found.label)
    return Image(bare, form.media_type, *size, found.name, found.label, Encoded(whole, form.media_type, *size))


def _recoded(given: Given, wanted: Preparation) -> Image:
    found, form = given.found, given.form
    made = (pdf if form.name == "PDF" else recode).recoded(given, wanted)
    original = Encoded(Parts.whole(found.content), form.media_type, *made.whole)
    notice = f"{found.name} {made.notice}" if made.notice else None
    width, height = made.size
    return Image(made.data, made.media_type, width, height, found.name, found.label, original, notice)


@contextmanager
def _telling(found: Found) -> Iterator[None]:
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
