"""Pictures from wherever the user has them, checked and made ready, or refused before anything is sent."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from reka_cli.images.preparation import AS_USUAL, LARGEST, Preparation

if TYPE_CHECKING:
    from reka_cli.images.loading import converted, load, load_all
    from reka_cli.images.sources import Source, reads_stdin

__all__ = [
    "AS_USUAL",
    "LARGEST",
    "Preparation",
    "Source",
    "converted",
    "load",
    "load_all",
    "looks_like_one",
    "reads_stdin",
]

_ROOMS = {
    "Source": "sources",
    "converted": "loading",
    "load": "loading",
    "load_all": "loading",
    "reads_stdin": "sources",
}


def looks_like_one(path: str) -> bool:
    """Whether `path` is a file that begins as a picture does."""
    try:
        if not Path(path).is_file():
            return False  # nor a pipe, which would be waited for
        from reka_cli.images.formats import HEAD_BYTES, detect

        with Path(path).open("rb") as file:
            found = detect(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return False
    return found is not None and found.is_picture


def __getattr__(name: str) -> object:
    """Import what finds and reads pictures when it is first asked for: most questions have none."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
