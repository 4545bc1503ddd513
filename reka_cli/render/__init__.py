"""Events to stdout: one file a format, listed here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reka_cli.errors import UsageError
from reka_cli.messages import Event
from reka_cli.render.text import render_text
from reka_cli.terminal import Terminal

Renderer = Callable[[Iterable[Event], Terminal], None]

_RENDERERS: dict[str, Renderer] = {"auto": render_text, "text": render_text}
NAMES = tuple(_RENDERERS)


def renderer(name: str) -> Renderer:
    """Give the function that prints events in a format; raise UsageError if there is no such format."""
    if name not in _RENDERERS:
        raise UsageError(f"there is no format {name!r}", hint=f"-f {'|'.join(NAMES)}")
    return _RENDERERS[name]
