"""What makes two rows the same question: the filled-in prompt, the model and the images' content."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from reka_cli.batch.rows import is_url, shown_source
from reka_cli.files import translate_read_errors

KEY_BYTES = 16
_BLOCK_BYTES = 1 << 18
_SMALL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image that a row names: `path` is its file, None for a URL.

    Size and time of change are None where there is no such file: reading it will say why.
    """

    text: str
    path: str | None
    fragment: str = ""
    size_bytes: int | None = None
    mtime_ns: int | None = None

    @classmethod
    def at(cls, text: str) -> ImageSource:
        """Look up what a row names. A file whose name has a `#` in it is that file."""
        if is_url(text):
            return cls(text, None)
        found = _stat(text)
        path, mark, fragment = text.rpartition("#")
        if found is not None or not path:
            path, mark, fragment = text, "", ""
        else:
            found = _stat(path)
        if found is None:
            return cls(text, path, mark + fragment)
        return cls(text, path, mark + fragment, found.st_size, found.st_mtime_ns)

    @property
    def shown(self) -> str:
        """The name in messages and results, without the password of a URL."""
        return shown_source(self.text) if self.path is None else self.text

    def read(self) -> ImageContent:
        """Read the file and return what identifies it. Raises BadInput if it cannot be read."""
        if self.path is None:
            return ImageContent(self.text)
        if self.size_bytes is not None and self.size_bytes <= _SMALL_BYTES and not self.fragment:
            with translate_read_errors(self.text), open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
                data = file.read(_SMALL_BYTES + 1)
            if len(data) <= _SMALL_BYTES:
                return ImageContent(hashlib.sha256(data).hexdigest(), data)
        digest = hashlib.sha256()
        with translate_read_errors(self.text), open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return ImageContent(digest.hexdigest() + self.fragment)

    def to_load(self, content: ImageContent) -> str | BinaryIO:
        """Return what `Client.load` takes for it.

        A value of a row is data: it never means a folder, a glob, the clipboard or standard input.
        """
        if content.data is not None:
            return _NamedBytes(self.text, content.data)
        if self.path is None or os.path.isabs(self.path):  # noqa: PTH117
            return self.text
        return f".{os.sep}{self.text}"


@dataclass(frozen=True, slots=True)
class ImageContent:
    """What identifies an image: the SHA-256 of its file and the fragment, or its URL.

    `data` is the content of a small file, so that it is read once and what is sent is what was
    hashed.
    """

    identity: str
    data: bytes | None = None


class _NamedBytes(io.BytesIO):
    """Bytes with the name of their file, for messages."""

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        self.name = name


def stamp_key(prompt: str, model: str, sources: Sequence[ImageSource]) -> bytes:
    """Return a key that changes when a file is renamed, touched or edited: cheap to make."""
    files = [(one.text, one.size_bytes, one.mtime_ns) for one in sources]
    return _digest("stamp", prompt, model, files)


def content_key(prompt: str, model: str, contents: Sequence[ImageContent]) -> bytes:
    """Return the key of a question."""
    return _digest("content", prompt, model, [one.identity for one in contents])


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - a Path costs more than the call
    except (OSError, ValueError):
        return None


def _digest(*parts: Any) -> bytes:
    text = repr(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:KEY_BYTES]
