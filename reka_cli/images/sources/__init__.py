"""Whatever a user names as an image, found: a path, a folder, a glob, a URL, standard input, the clipboard, bytes.

Every source that is not a path is one file of this package. It has `recognizes(text)` and
`find(text, context)`, which returns what it found; a fragment (`#page=2`) is taken off before. `USAGE`
is how it is written and what it means, for `reka-cli help images`.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from reka_cli import discovery
from reka_cli.errors import BadInput, UsageError
from reka_cli.escapes import hide_password, one_line
from reka_cli.files import show_path, translate_read_errors
from reka_cli.images.file_content import MAX_IMAGE_BYTES, FoundImage, InMemory
from reka_cli.images.sources._paths import FindContext, display_name, find_at, find_file
from reka_cli.limits.deadline import Deadline

if TYPE_CHECKING:
    from reka_cli.transport import ConnectionPool

Source = str | os.PathLike[str] | bytes | BinaryIO

PATHS = (
    (
        "FILE",
        "A file. If a file with that name exists, it takes precedence over every other meaning.",
    ),
    ("FOLDER", "All images in a folder, without its subfolders."),
    ("'*.jpg'", "All images that match a glob. Quote it, so that the shell does not expand it."),
    ("-", "An image from standard input."),
)
AROUND = (
    ("NAME=IMAGE", "Tells the model what you call the image, such as before=old.png."),
    ("IMAGE#page=2", "One page of a TIFF or PDF."),
    (
        "IMAGE#xywh=X,Y,W,H",
        "A region in pixels. With percent: before the numbers, in percent of the size.",
    ),
)

_STANDARD_INPUT = "-"
_LABELED = re.compile(r"(?P<label>[A-Za-z0-9_-]+)=(?P<source>.+)", re.DOTALL)
_FRAGMENT = re.compile(
    r"[a-z]+=[^#&]+(?:&[a-z]+=[^#&]+)*"
)  # media fragments, as W3C has them; PDF's page=
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)


def find(
    source: Source,
    deadline: Deadline | None = None,
    *,
    stdin: Callable[[], bytes] | None = None,
    log: Callable[[str], None] | None = None,
    pool: Callable[[], ConnectionPool] | None = None,
) -> Iterator[FoundImage]:
    """Yield the images of a source, unchecked: a folder or a glob has several.

    A text is what a user may type: a path, `http(s):`, `file:` or `data:` URL, `-` (`stdin` is called for it),
    `clipboard`, or `NAME=` and one of these; but for `-`, what exists as a path is that path. A pipe, a command, the
    network are waited for until `deadline`; downloads use the connections of `pool`.

    Raises BadInput, UsageError, and for a URL as `download` does.
    """
    context = FindContext(deadline, stdin, log, pool)
    if isinstance(source, str):
        yield from _find_labeled(source, context)
    elif isinstance(source, os.PathLike):
        yield from find_at(Path(source), context)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield FoundImage(InMemory(bytes(source)), "image")
    elif hasattr(source, "read"):
        yield _read_file(source, context)
    else:
        kind = type(source).__name__
        raise BadInput(f"an image must be a path, bytes or an open binary file, not {kind}")


def usages() -> list[tuple[str, str]]:
    """Return how each source is written, and what it means."""
    package = sys.modules[__name__]
    modules = [discovery.load(package, name) for name in discovery.names_in(package)]
    return [*PATHS, *(module.USAGE for module in modules)]


def reads_stdin(source: object) -> bool:
    """Whether finding a source reads standard input."""
    if not isinstance(source, str) or (source != _STANDARD_INPUT and _exists(source)):
        return False
    label = _LABELED.fullmatch(source)
    return _split_fragment(label["source"] if label else source)[0] == _STANDARD_INPUT


def _find_labeled(text: str, context: FindContext) -> Iterable[FoundImage]:
    label = _LABELED.fullmatch(text)
    if label is None or _exists(text):
        return _find_named(text, context)
    return (replace(found, label=label["label"]) for found in _find_named(label["source"], context))


def _find_named(text: str, context: FindContext) -> Iterable[FoundImage]:
    """Find a source without the `NAME=` before it."""
    if not text:
        raise BadInput("the name of an image is empty")
    if text == _STANDARD_INPUT:
        return [_read_piped(context)]
    if _exists(text):
        return find_at(Path(text), context)
    found = _find_in_source(text, context)
    if found is not None:
        return found
    rest, fragment = _split_fragment(text)
    if fragment is not None:
        return _add_fragment(_find_named(rest, context), fragment)
    if (home := _with_home(text)) != text:
        return _find_named(home, context)
    if any(wildcard in text for wildcard in "*?["):
        return _matching(text, context)
    return find_at(Path(text), context)


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - a Path raises for one that is too long or may not be looked at


def _with_home(path: str) -> str:
    """Expand a tilde, which no shell does in --image=~/x and NAME=~/x."""
    return os.path.expanduser(path) if "\0" not in path else path  # noqa: PTH111 - a Path raises for ~nobody


def _split_fragment(text: str) -> tuple[str, str | None]:
    rest, mark, fragment = text.rpartition("#")
    return (rest, fragment) if mark and rest and _FRAGMENT.fullmatch(fragment) else (text, None)


def _add_fragment(whole: Iterable[FoundImage], fragment: str) -> Iterator[FoundImage]:
    for found in whole:
        yield replace(found, fragment=fragment, name=f"{found.name}#{one_line(fragment)}")


def _matching(pattern: str, context: FindContext) -> list[FoundImage]:
    from reka_cli.images.sources._folders import matches

    with translate_read_errors(pattern):
        return [
            find_file(one)
            for one in context.run_in_thread(lambda: matches(pattern), show_path(pattern))
        ]


def _read_file(file: BinaryIO, context: FindContext) -> FoundImage:
    name = getattr(file, "name", None)
    shown = display_name(Path(name)) if isinstance(name, str) else "image"
    with translate_read_errors(shown):
        if not getattr(file, "readable", lambda: True)():
            raise BadInput(f'{shown} is not open for reading: open it with "rb"')
        if isinstance(file, io.BytesIO):  # which never waits
            data = file.read(MAX_IMAGE_BYTES + 1)
        else:
            data = context.run_in_thread(lambda: file.read(MAX_IMAGE_BYTES + 1), shown)
    if not isinstance(data, bytes):
        raise BadInput('the image was opened as text: open it with "rb"')
    return FoundImage(InMemory(data), shown)


def _read_piped(context: FindContext) -> FoundImage:
    if context.stdin is None:
        raise UsageError(
            "- is standard input, which is not read here", hint="images=[sys.stdin.buffer]"
        )
    return FoundImage(InMemory(context.stdin()), "standard input")


def _find_in_source(text: str, context: FindContext) -> list[FoundImage] | None:
    """Return what another source than the file system has; None if the text only looks like one."""
    base, _, fragment = text.partition("#")
    package = sys.modules[__name__]
    for name in discovery.names_in(package):
        source = discovery.load(package, name)
        if source.recognizes(base):
            found: list[FoundImage] = source.find(base, context)
            fragment = unquote(fragment)
            return list(_add_fragment(found, fragment)) if _FRAGMENT.fullmatch(fragment) else found
    scheme = _SCHEME.match(text)
    if scheme and text.startswith("//", scheme.end()):
        raise BadInput(f"{one_line(hide_password(text))}: a URL must be one of http or https")
    return None
