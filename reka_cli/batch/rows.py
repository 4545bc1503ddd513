"""The rows of a batch: what they are, and those that files, folders and lists make."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from reka_cli.errors import UsageError
from reka_cli.files import translate_read_errors
from reka_cli.images.sources._folders import images_in, is_image, matches

FILE_COLUMNS = ("path", "name", "stem", "folder")

_URL = re.compile(r"(https?://|data:)", re.IGNORECASE)
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input, from 0. `problem` says why it cannot be asked.

    `image` is the file or URL that the row stands for; rows of a table have none.
    """

    index: int
    values: Mapping[str, str]
    image: str | None = None
    problem: str | None = None


class RowSource(Protocol):
    """Where rows come from. Iterating it starts from the first row each time."""

    columns: Sequence[str]
    label: str  # what to call a row that has no image

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Row]: ...


class FileRows:
    """One row for each file or URL. Only their names are kept."""

    columns: Sequence[str] = FILE_COLUMNS
    label = "file"

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Row]:
        for index, name in enumerate(self._names):
            yield Row(index, file_values(name), name)


def is_url(text: str) -> bool:
    """Return whether a text is an http(s) or data: URL."""
    return _URL.match(text) is not None


def shown_source(source: str) -> str:
    """Return what a result calls an image: a URL without user name, password and query.

    A `data:` URL is shown as its media type and the SHA-256 of its text.
    """
    if not is_url(source):
        return source
    if source[:5].lower() == "data:":
        digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{source.partition(',')[0].partition(';')[0]};sha256={digest}"
    parts = urlsplit(source)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def file_values(name: str) -> dict[str, str]:
    """Return the columns of a row that stands for a file or URL."""
    path = name
    if is_url(name):
        path = "" if name[:5].lower() == "data:" else unquote(urlsplit(name).path)
    folder, base = os.path.split(path)
    return {"path": name, "name": base, "stem": os.path.splitext(base)[0], "folder": folder}  # noqa: PTH122


def expand(arguments: Sequence[str]) -> list[str]:
    """Return the files and URLs that the arguments of the command name, in order.

    A folder stands for the images in it, a glob for what it matches. Raises BadInput for what does
    not exist.
    """
    names: list[str] = []
    for argument in arguments:
        names += _expand_one(argument)
    return names


def _expand_one(argument: str) -> list[str]:
    if argument == "-":
        raise UsageError("- is not an image of a batch", hint="--from - reads a list of files")
    if is_url(argument):
        return [argument]
    if os.path.exists(argument):  # noqa: PTH110 - a Path raises for a name that is too long
        return _names_at(Path(argument))
    if _WILDCARDS & set(argument):
        found = matches(argument, most=None)
        if argument.endswith("*"):  # that names no suffix, so that other files match too
            found = [one for one in found if is_image(one)]
        return [str(one) for one in found]
    base = argument.rpartition("#")[0]
    with translate_read_errors(argument):
        Path(base if base and Path(base).exists() else argument).stat()
    return [argument]


def _names_at(path: Path) -> list[str]:
    with translate_read_errors(path):
        if stat.S_ISDIR(path.stat().st_mode):
            return [str(one) for one in images_in(path, most=None)]
    return [str(path)]


def names_in_list(data: bytes, *, separator: bytes) -> list[str]:
    """Return the names in a list of files, one on each line or between NUL bytes."""
    text = data.removeprefix(b"\xef\xbb\xbf") if separator == b"\n" else data
    names = [os.fsdecode(one.removesuffix(b"\r")) for one in text.split(separator)]
    return [one for one in names if one]
