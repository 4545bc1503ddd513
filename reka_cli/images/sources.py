"""Whatever a user names as a picture, found: a path, a folder, a glob, a URL, standard input, the clipboard, bytes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from reka_cli.deadline import Deadline
from reka_cli.errors import BadInput, DeadlineExceeded, UsageError
from reka_cli.escapes import one_line
from reka_cli.files import read, reading, show_path, wait_for
from reka_cli.images.content import LARGEST, Found, InMemory, OnDisk

T = TypeVar("T")

Source = str | os.PathLike[str] | bytes | BinaryIO

_STANDARD_INPUT, _CLIPBOARD = "-", "clipboard"
_LABELLED = re.compile(r"(?P<label>[A-Za-z0-9_-]+)=(?P<source>.+)", re.DOTALL)
_FRAGMENT = re.compile(r"[a-z]+=[^#&]+(?:&[a-z]+=[^#&]+)*")  # media fragments, as W3C has them; PDF's page=
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
_DOWNLOAD_S = 30.0
_WEB_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--(?>.*?-->)\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)


@dataclass(frozen=True)
class _Means:
    """What finding has beside the name: until when, standard input if that may be read, who is told of the HTTP."""

    deadline: Deadline | None
    stdin: Callable[[], bytes] | None
    log: Callable[[str], None] | None

    def in_time(self, work: Callable[[], T], name: str) -> T:
        return wait_for(work, name, self.deadline)


def find(
    source: Source,
    deadline: Deadline | None = None,
    *,
    stdin: Callable[[], bytes] | None = None,
    log: Callable[[str], None] | None = None,
) -> Iterator[Found]:
    """Give the pictures of a source, unchecked: a folder or a glob has several.

    A text is what a user may type: a path, `http(s):`, `file:` or `data:` URL, `-` (`stdin` is called for it),
    `clipboard`, or `NAME=` and one of these; but for `-`, what exists as a path is that path. A pipe, a command, the
    network are waited for until `deadline`. Raises BadInput, UsageError, and for a URL as `download` does.
    """
    means = _Means(deadline, stdin, log)
    if isinstance(source, str):
        yield from _labelled(source, means)
    elif isinstance(source, os.PathLike):
        yield from _at(Path(source), means)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield Found(InMemory(bytes(source)), "image")
    else:
        yield _read(source, means)


def reads_stdin(source: object) -> bool:
    """Whether finding a source reads standard input."""
    if not isinstance(source, str) or (source != _STANDARD_INPUT and _exists(source)):
        return False
    label = _LABELLED.fullmatch(source)
    return _split(label["source"] if label else source)[0] == _STANDARD_INPUT


def _labelled(text: str, means: _Means) -> Iterable[Found]:
    label = _LABELLED.fullmatch(text)
    if label is None or _exists(text):
        return _named(text, means)
    return (replace(found, label=label["label"]) for found in _named(label["source"], means))


def _named(text: str, means: _Means) -> Iterable[Found]:
    """Find what is no NAME=X."""
    if not text:
        raise BadInput("the name of a picture is empty")
    if text == _STANDARD_INPUT:
        return [_piped(means)]
    if _exists(text):
        return _at(Path(text), means)
    if (scheme := _SCHEME.match(text)) and (found := _at_url(text, scheme[1].lower(), means)) is not None:
        return found
    if text == _CLIPBOARD:
        return _copied(means)
    rest, fragment = _split(text)
    if fragment is not None:
        return _parts(_named(rest, means), fragment)
    if (home := _with_home(text)) != text:
        return _named(home, means)
    if any(wildcard in text for wildcard in "*?["):
        return _matching(text, means)
    return _at(Path(text), means)


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - a Path raises for one that is too long or may not be looked at


def _with_home(path: str) -> str:
    """Expand a tilde, which no shell does in --image=~/x and NAME=~/x."""
    return os.path.expanduser(path) if "\0" not in path else path  # noqa: PTH111 - a Path raises for ~nobody


def _split(text: str) -> tuple[str, str | None]:
    rest, mark, fragment = text.rpartition("#")
    return (rest, fragment) if mark and rest and _FRAGMENT.fullmatch(fragment) else (text, None)


def _parts(whole: Iterable[Found], fragment: str) -> Iterator[Found]:
    for found in whole:
        yield replace(found, fragment=fragment, name=f"{found.name}#{one_line(fragment)}")


def _at(path: Path, means: _Means) -> list[Found]:
    with reading(path):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return [_file(path)]
        if not stat.S_ISDIR(mode):  # a pipe, a device
            return [Found(InMemory(read(path, LARGEST, means.deadline)), _name(path))]
        from reka_cli.images.folders import pictures_in

        return [_file(one) for one in means.in_time(lambda: pictures_in(path), show_path(path))]


def _matching(pattern: str, means: _Means) -> list[Found]:
    from reka_cli.images.folders import matches

    with reading(pattern):
        return [_file(one) for one in means.in_time(lambda: matches(pattern), show_path(pattern))]


def _file(path: Path) -> Found:
    return Found(OnDisk.at(path), _name(path))


def _name(path: Path) -> str:
    return one_line(path.name) or "image"


def _read(file: BinaryIO, means: _Means) -> Found:
    name = getattr(file, "name", None)
    shown = _name(Path(name)) if isinstance(name, str) else "image"
    with reading(shown):
        if not getattr(file, "readable", lambda: True)():
            raise BadInput(f'{shown} is not open for reading: open it with "rb"')
        data = means.in_time(lambda: file.read(LARGEST + 1), shown)
    if not isinstance(data, bytes):
        raise BadInput('the image was opened as text: open it with "rb"')
    return Found(InMemory(data), shown)


def _piped(means: _Means) -> Found:
    if means.stdin is None:
        raise UsageError("- is standard input, which is not read here", hint="images=[sys.stdin.buffer]")
    return Found(InMemory(means.stdin()), "standard input")


def _copied(means: _Means) -> list[Found]:
    from reka_cli.images.clipboard import copied

    found = copied(means.deadline)
    if isinstance(found, bytes):
        return [Found(InMemory(found), _CLIPBOARD)]
    return [one for path in found for one in _at(path, means)]


def _at_url(text: str, scheme: str, means: _Means) -> list[Found] | None:
    """Find what a URL names; None if the text only looks like one."""
    url, _, fragment = text.partition("#")
    if scheme == "data":
        from reka_cli.images.data_url import decoded

        found = [Found(InMemory(decoded(url)), "image")]
    elif scheme in ("http", "https"):
        found = [_downloaded(url, means)]
    elif scheme == "file":
        found = _at(_path_of(url), means)
    elif text.startswith("//", len(scheme) + 1):
        raise BadInput(f"{one_line(text)}: a URL must be one of http or https")
    else:
        return None
    fragment = unquote(fragment)
    return list(_parts(found, fragment)) if _FRAGMENT.fullmatch(fragment) else found


def _path_of(url: str) -> Path:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadInput("this is no file: URL", hint="file:///PATH") from error
    if parts.netloc not in ("", "localhost"):
        raise BadInput("a file: URL can only name a file of this machine", hint="file:///PATH")
    return Path(unquote(parts.path, errors="surrogateescape"))


def _downloaded(url: str, means: _Means) -> Found:
    from reka_cli.transport.download import download, shown

    seen = shown(url)
    deadline = means.deadline.sooner(_DOWNLOAD_S) if means.deadline else Deadline.after(_DOWNLOAD_S)
    try:
        data = download(url, deadline, LARGEST, means.log)
    except DeadlineExceeded as error:
        if means.deadline is None or not means.deadline.passed:
            error.hint = None  # more time for the question would not be more for a picture
        raise
    if _WEB_PAGE.match(data[:4096]):
        raise BadInput(f"{seen} is a web page, not a picture")
    parts = urlsplit(url)
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname or ""
    return Found(InMemory(data), one_line(name) or "image")
