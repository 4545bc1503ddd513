"""The images of a folder and of a glob, in the order a person would put them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from reka_cli.errors import BadInput
from reka_cli.escapes import one_line

_MOST = 100  # images of one source; a question is not a batch
_NUMBERS = re.compile(r"(\d+)", re.ASCII)
_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".png",
        ".gif",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
    )
)


def images_in(folder: Path, most: int | None = _MOST) -> list[Path]:
    """Give the images right in a folder; hidden ones, other files and folders are not among them.

    A file counts as one if its content or its name says so: a damaged one is not passed over.
    """
    return _some(
        (one for one in folder.iterdir() if not one.name.startswith(".") and is_image(one)),
        folder,
        most,
    )


def matches(pattern: str, most: int | None = _MOST) -> list[Path]:
    """Give the files that match a glob, `**` any number of folders; a dot at the beginning of a name must be typed.

    All of them: what is no image was asked for by its name.
    """
    path = Path(pattern)
    fixed = next(at for at, part in enumerate(path.parts) if set(part) & set("*?["))
    parts = path.parts[fixed:]
    if any("**" in part and part != "**" for part in parts):
        # from Python 3.13 it would be the same as *
        problem = "invalid pattern: '**' can only be an entire path component"
        raise BadInput(f"cannot search for {one_line(pattern, 200)}: {problem}")
    wants_hidden = any(part.startswith(".") for part in parts)
    if parts[-1] == "**":
        parts += ("*",)  # before Python 3.13, it would match folders only
    try:
        # not glob.glob, which follows links to folders, round and round
        found = Path(*path.parts[:fixed]).glob(str(Path(*parts)))
        return _some(
            (one for one in found if wants_hidden or not _is_hidden(one.parts[fixed:])), path, most
        )
    except (ValueError, NotImplementedError) as error:
        raise BadInput(
            f"cannot search for {one_line(pattern, 200)}: {one_line(str(error)).lower()}"
        ) from error


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)


def is_image(path: Path) -> bool:
    """Return whether the name or the content of a file says that it is an image."""
    from reka_cli.images import is_image_file

    return path.suffix.lower() in _SUFFIXES or is_image_file(str(path))


def _some(paths: Iterable[Path], asked: Path, most: int | None) -> list[Path]:
    """Give the files among the paths, sorted; raise BadInput if there are none or too many."""
    shown = one_line(str(asked), 200)
    found = sorted((one for one in paths if one.is_file()), key=_natural)
    if not found:
        raise BadInput(f"{shown} holds no image" if asked.is_dir() else f"no file matches {shown}")
    if most is not None and len(found) > most:
        raise BadInput(f"{shown} holds {len(found)} images: at most {most} a question")
    return found


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Sort 2 before 10."""
    pieces = _NUMBERS.split(str(path).casefold())
    return [int(piece) if at % 2 else piece for at, piece in enumerate(pieces)], str(path)
