"""Images from wherever the user has them, checked and made ready, or refused before anything is sent."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from reka_cli.images.preparation import DEFAULT_PREPARATION, MAX_IMAGE_BYTES, Preparation

if TYPE_CHECKING:
    from reka_cli.images.loading import convert_format, load, load_all
    from reka_cli.images.sources import Source, reads_stdin

__all__ = [
    "DEFAULT_PREPARATION",
    "MAX_IMAGE_BYTES",
    "Preparation",
    "Source",
    "convert_format",
    "is_image_file",
    "load",
    "load_all",
    "reads_stdin",
]

_MODULES = {
    "Source": "sources",
    "convert_format": "loading",
    "load": "loading",
    "load_all": "loading",
    "reads_stdin": "sources",
}


def is_image_file(path: str) -> bool:
    """Whether `path` is a file that begins as an image does."""
    try:
        if not Path(path).is_file():
            return False  # nor a pipe, which would be waited for
        from reka_cli.images.formats import HEAD_BYTES, detect

        with Path(path).open("rb") as file:
            found = detect(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return False
    return found is not None and found.is_image


def __getattr__(name: str) -> object:
    """Import what finds and reads images when it is first asked for: most questions have none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
