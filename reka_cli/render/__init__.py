"""Events to stdout; each format is one file of this package, called like the format.

A format has `render(answer, terminal)`. With `FOR_PROGRAMS` stderr is JSON too, and with
`report(error, terminal)` it says on stdout what went wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import cast

from reka_cli import discovery
from reka_cli.answer import Answer
from reka_cli.errors import UsageError
from reka_cli.terminal import Terminal

Renderer = Callable[[Answer, Terminal], None]

_AUTO = "auto"  # markdown on a terminal, else text


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return (_AUTO, *discovery.names_in(sys.modules[__name__]))


def check(name: str) -> None:
    """Raise UsageError if there is no such format."""
    if name not in names():
        raise UsageError(f"there is no format {name!r}", hint=f"-f {'|'.join(names())}")


def render(name: str, answer: Answer, terminal: Terminal) -> None:
    """Print an answer in a format."""
    if name == _AUTO:
        name = "markdown" if terminal.is_screen else "text"
    write = cast("Renderer", discovery.load(sys.modules[__name__], name).render)
    write(answer, terminal)
