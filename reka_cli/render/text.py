"""Plain text: each delta as it arrives, nothing that controls a terminal, one newline at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from reka_cli.escapes import Cleaner
from reka_cli.messages import Done, Event, Notice, ReasoningDelta, Start, TextDelta, Usage
from reka_cli.terminal import Terminal


def render(events: Iterable[Event], terminal: Terminal) -> None:
    """Write the answer to stdout and notices to stderr; what was written is a whole line however it ends."""
    text = _Text(terminal)
    try:
        for event in events:
            match event:
                case TextDelta(delta):
                    terminal.end_reasoning()
                    text.write(delta)
                case Notice(said):
                    terminal.notice(said)
                case ReasoningDelta(thought):
                    terminal.write_reasoning(thought)
                case Start() | Usage() | Done():
                    pass
                case _:
                    assert_never(event)
    finally:
        terminal.end_reasoning()
        text.end()


class _Text:
    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._cleaner = Cleaner()
        self._begun = False
        self._newlines = 0  # held back, for there may be no more text

    def write(self, delta: str) -> None:
        self._put(self._cleaner.feed(delta))

    def end(self) -> None:
        self._put(self._cleaner.flush())
        if self._begun:
            self._begun = False
            self._terminal.write("\n")

    def _put(self, text: str) -> None:
        body = text.rstrip("\n")
        if body:
            self._begun = True  # first: a signal may come as soon as something was written
            self._terminal.write("\n" * self._newlines + body)
            self._newlines = 0
        self._newlines += len(text) - len(body)
