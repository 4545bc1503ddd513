"""What is said on the terminal while one waits, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pyte
import pytest
import zygote
from conftest import ROOT, Service

from reka_cli.terminal import spinner

FAILED = ["error: no whole answer within 2 s", "hint: --timeout SECONDS allows more time"]


@contextlib.contextmanager
def asking(env: dict[str, str], *more: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A question that waits, with a terminal on stderr: the descriptor of the terminal, and the process."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reka_cli", "ask", "hello", "-m", "sandbox-silent", *more]
    with zygote.Popen(
        command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=-1, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            yield ours, process
        finally:
            process.kill()
            os.close(ours)


def left(came: bytes) -> list[str]:
    """Return the lines that are left on the screen."""
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(came)
    return [line.rstrip() for line in screen.display if line.strip()]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""


def test_a_spinner_turns_while_one_waits_and_leaves_no_trace(
    clean_env: dict[str, str], web_env: dict[str, str], service: Service
) -> None:
    came = b""
    with asking(clean_env | web_env | {"TERM": "xterm"}, "--retries", "0") as (terminal, _):
        while "⠹ waiting".encode() not in came:  # the second turn
            came += _read(terminal)
        service.server.stopping.set()  # which closes the connection
        while chunk := _read(terminal):
            came += chunk

    assert "⠙ waiting".encode() in came
    assert left(came) == [
        f"error: the connection to {service.host} failed: it was closed without an answer"
    ]


@pytest.mark.parametrize(("term", "more"), [("dumb", []), ("xterm", ["-q"])], ids=["dumb", "quiet"])
def test_there_is_none_where_it_is_not_wanted(
    clean_env: dict[str, str], term: str, more: list[str]
) -> None:
    env = clean_env | {"REKA_PROVIDER": "sandbox", "TERM": term}
    came = b""
    with asking(env, "--timeout", "2", *more) as (terminal, _):
        while chunk := _read(terminal):
            came += chunk

    assert b"waiting" not in came
    assert left(came) == FAILED


class Clock:
    """Time that passes when a test says so."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A spinner that draws when a test says so, and reads a clock that stands still."""
    clock = Clock()
    monkeypatch.setattr(spinner, "time", clock)
    monkeypatch.setattr(spinner, "_QUIET_S", 3600.0)
    return clock


@pytest.mark.parametrize(
    ("columns", "line"),
    [(80, "⠙ uploading 猫.jpeg 45 %"), (18, "⠙ uploading 猫.jp"), (14, "⠙ uploading "), (1, "")],
)
def test_a_line_never_reaches_the_edge(clock: Clock, columns: int, line: str) -> None:
    written: list[str] = []
    shown = spinner.Spinner(written.append, lambda: columns, lambda: True)
    shown.show("uploading 猫.jpeg 45 %")
    shown._draw()
    shown.stop()

    assert written == [f"\r{line}\x1b[K", "\r\x1b[K"]


def test_what_is_written_aside_stands_on_a_line_of_its_own(clock: Clock) -> None:
    written: list[str] = []
    shown = spinner.Spinner(written.append, lambda: 80, lambda: True)
    shown.show("waiting")
    shown._draw()
    shown.aside(lambda: written.append("notice: slow down\n"))
    shown.stop()

    assert written == ["\r⠙ waiting\x1b[K", "\r\x1b[K", "notice: slow down\n"]


def test_after_two_seconds_the_line_says_how_long_the_same_thing_has_been_waited_for(
    clock: Clock,
) -> None:
    written: list[str] = []
    shown = spinner.Spinner(written.append, lambda: 80, lambda: True)
    for label, passed_s in (
        ("uploading 1 %", 0.0),
        ("uploading 2 %", 1.9),
        ("uploading 3 %", 0.2),
        ("waiting", 1.0),
    ):
        clock.now_s += passed_s
        shown.show(label)
        shown._draw()
    shown.stop()

    lines = ["⠙ uploading 1 %", "⠹ uploading 2 %", "⠸ uploading 3 % 2 s", "⠼ waiting"]
    assert written == [*(f"\r{line}\x1b[K" for line in lines), "\r\x1b[K"]
