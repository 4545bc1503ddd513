"""Events to stdout; each format is one file of this package, called like the format.

A format has `render(answer, terminal)`. `FOR_PROGRAMS = True` means that a program reads it, so that
stderr is JSON too; `end_with(error, terminal)` is for one that ends stdout with what went wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import cast

from reka_cli import discovery
from reka_cli.answer import Answer
from reka_cli.errors import RekaError, UsageError
from reka_cli.terminal import Terminal
from reka_cli.terminal import report as report_on_stderr

Renderer = Callable[[Answer, Terminal], None]

_AUTO = "auto"  # markdown on a terminal, else text


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return (_AUTO, *discovery.names_in(sys.modules[__name__]))


def check_format(name: str) -> None:
    """Raise UsageError if there is no such format."""
    if name not in names():
        raise UsageError(f"there is no format {name!r}", hint=f"-f {'|'.join(names())}")


def render(name: str, answer: Answer, terminal: Terminal) -> None:
    """Print an answer in a format."""
    if name == _AUTO:
        name = "markdown" if terminal.is_screen else "text"
    write = cast("Renderer", discovery.load(sys.modules[__name__], name).render)
    write(answer, terminal)


def is_for_programs(name: str) -> bool:
    """Return whether a program reads this format, and stderr with it; a name that is unknown is not one."""
    return bool(getattr(_module(name), "FOR_PROGRAMS", False))


def report(error: RekaError, name: str, *, to_people: bool = True) -> None:
    """Report an error on stderr, and on stdout where the format `name` does so.

    Without `to_people`, it is reported to programs alone.
    """
    for_programs = is_for_programs(name)
    if for_programs or to_people:
        report_on_stderr(error, as_json=for_programs)
    end_with = getattr(_module(name), "end_with", None)
    if end_with:
        with suppress(RekaError):  # it may be stdout that failed
            end_with(error, Terminal())


def _module(name: str) -> ModuleType | None:
    """Import a format; None for `auto`, which is for people, and for what does not exist."""
    package = sys.modules[__name__]
    return discovery.load(package, name) if name in discovery.names_in(package) else None
