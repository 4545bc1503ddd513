"""What is said on the terminal while one waits, and that nothing of it stays."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pyte
import pytest
import zygote
from conftest import ROOT

from reka_cli.spinner import Spinner

FAILED = ["error: no whole answer within 2 s", "hint: --timeout SECONDS allows more time"]


def waited(env: dict[str, str], *more: str) -> tuple[str, list[str]]:
    """All that came to a terminal on stderr while nothing was answered, and the lines that are left there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reka_cli", "ask", "hello", "-m", "sandbox-silent", "--timeout", "2", *more]
    with zygote.Popen(command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=-1, stderr=theirs) as process:
        os.close(theirs)
        process.communicate(timeout=30)
        came = b""
        while chunk := _read(ours):
            came += chunk
    os.close(ours)
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(came)
    return came.decode(), [line.rstrip() for line in screen.display if line.strip()]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""


def test_a_spinner_turns_while_one_waits_and_leaves_no_trace(clean_env: dict[str, str]) -> None:
    came, left = waited(clean_env | {"REKA_PROVIDER": "sandbox", "TERM": "xterm"})

    assert "⠙ waiting" in came
    assert left == FAILED


@pytest.mark.parametrize(("term", "more"), [("dumb", []), ("xterm", ["-q"])], ids=["dumb", "quiet"])
def test_there_is_none_where_it_is_not_wanted(clean_env: dict[str, str], term: str, more: list[str]) -> None:
    came, left = waited(clean_env | {"REKA_PROVIDER": "sandbox", "TERM": term}, *more)

    assert "waiting" not in came
    assert left == FAILED


@pytest.mark.parametrize(
    ("columns", "line"),
    [(80, "⠙ uploading 猫.jpeg 45 %"), (18, "⠙ uploading 猫.jp"), (14, "⠙ uploading "), (1, "")],
)
def test_a_line_never_reaches_the_edge(columns: int, line: str) -> None:
    written: list[str] = []
    spinner = Spinner(written.append, lambda: columns, lambda: True)
    spinner.show("uploading 猫.jpeg 45 %")
    spinner._draw()
    spinner.stop()

    assert written == [f"\r{line}\x1b[K", "\r\x1b[K"]


def test_what_is_written_aside_stands_on_a_line_of_its_own() -> None:
    written: list[str] = []
    spinner = Spinner(written.append, lambda: 80, lambda: True)
    spinner.show("waiting")
    spinner._draw()
    spinner.aside(lambda: written.append("notice: slow down\n"))
    spinner.stop()

    assert written == ["\r⠙ waiting\x1b[K", "\r\x1b[K", "notice: slow down\n"]
