"""Events to stdout: one file a format, listed here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from reka_cli.answer import Answer
from reka_cli.errors import UsageError
from reka_cli.terminal import Terminal

Renderer = Callable[[Answer, Terminal], None]

_RENDERERS = {
    "auto": ("", ""),  # markdown on a terminal, else text
    "markdown": ("markdown", "render_markdown"),
    "text": ("text", "render_text"),
    "json": ("json_object", "render_json"),
    "jsonl": ("json_lines", "render_jsonl"),
}
NAMES = tuple(_RENDERERS)


def check(name: str) -> None:
    """Raise UsageError if there is no such format."""
    if name not in _RENDERERS:
        raise UsageError(f"there is no format {name!r}", hint=f"-f {'|'.join(NAMES)}")


def render(name: str, answer: Answer, terminal: Terminal) -> None:
    """Print an answer in a format."""
    if name == "auto":
        name = "markdown" if terminal.is_screen else "text"
    module, function = _RENDERERS[name]
    write = cast("Renderer", getattr(import_module(f"reka_cli.render.{module}"), function))
    write(answer, terminal)
