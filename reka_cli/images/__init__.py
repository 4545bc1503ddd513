"""A picture from where the user has it: read, checked by its content, refused before anything is sent."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from reka_cli.deadline import Deadline, in_time
from reka_cli.errors import BadInput, DeadlineExceeded
from reka_cli.images.content import LARGEST
from reka_cli.messages import Image

Source = str | os.PathLike[str] | bytes | BinaryIO

_MEDIA_TYPES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
_MOST_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb: 256 MB in memory
_TAKEN = "JPEG, PNG, GIF or WebP"
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")
_PNG_END = b"IEND\xaeB`\x82"


def load(source: Source, name: str | None = None, deadline: Deadline | None = None) -> Image:
    """Give the checked picture of a path, bytes or an open binary file (read, not closed).

    A path may be a pipe, which is waited for until `deadline`. Raises BadInput if it is missing, unreadable, empty, too
    large, no picture, or not whole.
    """
    data, found_name = _read(source, deadline)
    shown = (name or found_name).encode("utf-8", "replace").decode()  # a path may hold bytes that are no text
    return _checked(data, shown)


def load_all(sources: Iterable[Source | Image], deadline: Deadline | None = None) -> tuple[Image, ...]:
    """Give each picture, loaded unless it is already."""
    if isinstance(sources, str | bytes | os.PathLike):
        sources = [sources]  # one picture, not the letters of its name
    return tuple(one if isinstance(one, Image) else load(one, deadline=deadline) for one in sources)


def looks_like_one(path: str) -> bool:
    """Whether `path` is a file that begins as a picture does."""
    try:
        if not Path(path).is_file():
            return False  # nor a pipe, which would be waited for
        with Path(path).open("rb") as file:
            head = file.read(12)
    except (OSError, ValueError):
        return False
    return head.startswith(_MAGIC) or (head[:4], head[8:]) == (b"RIFF", b"WEBP")


def _read(source: Source, deadline: Deadline | None) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, "image"
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if deadline is None or path.is_file():
            return _read_path(path), path.name
        try:
            return in_time(lambda: _read_path(path), deadline.remaining_s()), path.name
        except TimeoutError as error:
            raise DeadlineExceeded(f"nothing came from {path} within {deadline.total_s:g} s") from error
    data = source.read(LARGEST + 1)
    if not isinstance(data, bytes):
        raise BadInput('the image was opened as text: open it with "rb"')
    name = getattr(source, "name", None)
    return data, Path(name).name if isinstance(name, str) else "image"


def _read_path(path: Path) -> bytes:
    if str(path).startswith(("http:/", "https:/")):
        raise BadInput("a picture cannot be given as a URL", hint="download it first: curl -o picture.jpg URL")
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise BadInput(f"{path} is a folder, not a picture", hint=f"-i {path}/NAME") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _checked(data: bytes, name: str) -> Image:
    if not data:
        raise BadInput(f"{name} is empty")
    if len(data) > LARGEST:
        raise BadInput(f"{name} is larger than {LARGEST >> 20} MB")
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(io.BytesIO(data), formats=["JPEG", "PNG", "GIF", "WEBP"]) as picture:
            kind, (width, height) = picture.format or "", picture.size
            if width * height > _MOST_PIXELS:
                raise BadInput(f"{name} has too many pixels")
            picture.load()  # only decoding shows that the end is missing
    except UnidentifiedImageError as error:
        raise BadInput(f"{name} is no {_TAKEN} picture") from error
    except (Pillow.DecompressionBombWarning, Pillow.DecompressionBombError) as error:
        raise BadInput(f"{name} has too many pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise BadInput(f"{name} is damaged or cut off") from error
    if kind == "PNG" and _PNG_END not in data:
        raise BadInput(f"{name} is damaged or cut off")
    return Image(data, _MEDIA_TYPES[kind], width, height, name)
