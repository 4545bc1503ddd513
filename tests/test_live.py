"""The answer on a terminal, through the real process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
import zygote
from conftest import ROOT, Result, Run
from screens import Emulator, at_once

TEXT = """\
# A cat

It sits on **a wall** and looks at the sea, see [the map](https://x.y/map).

- gray, with `stripes`
- asleep

| what | how many |
|---|---|
| cats | 1 |
| gulls | 12 |

```python
def cat():
    return "meow"
```
"""
TOLD = (
    "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot"  # of 80 columns
)
HALF = "This is the sandbox of reka-cli: a stand-in for Reka,"
SANDBOX = {"REKA_PROVIDER": "sandbox"}
BROKEN = """\
from reka_cli.render.markdown.draft import Draft
from reka_cli.cli import entry

Draft.take_finished = Draft.end = None  # a bug
entry()
"""
TAKING = """\
from reka_cli.terminal import signals
from reka_cli.cli import entry
from reka_cli.render.markdown.draft import Draft

feed = Draft.feed

def fail_at_the_end(draft, text):
    feed(draft, text)
    1 / ("Reka," not in draft.text)  # a bug; after that word the service is silent

Draft.feed = fail_at_the_end
with signals.taking_interrupt(lambda: print("taken")):
    entry()
"""
BUG = "error: a bug of reka-cli: TypeError\nhint: --debug shows where it happened\n"


@pytest.fixture
def markdown_env(serve_stream: Callable[..., str]) -> dict[str, str]:
    """The environment of a user whose model answers TEXT, a few characters at a time."""
    deltas = [TEXT[at : at + 7] for at in range(0, len(TEXT), 7)]
    chunks = [{"choices": [{"delta": {"content": delta}}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return {"REKA_API_BASE": serve_stream(body.encode()) + "/v1", "REKA_MODEL": "m"}


class Terminal:
    """A terminal with a process on it; `came` is all that was written, as far as it was read."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self.ours = ours
        self.process = process
        self.came = b""

    def read_until(self, wanted: str) -> None:
        while wanted not in re.sub(
            r"\x1b\[[?0-9;]*[a-zA-Z]", "", self.came.decode("utf-8", "replace")
        ):
            assert self._read(), f"{wanted!r} never came: {self.came!r}"

    def read(self) -> tuple[int, str]:
        """The exit code and all that was written."""
        while self._read():
            pass
        return self.process.wait(30), self.came.decode()

    def _read(self) -> bytes:
        try:
            chunk = os.read(self.ours, 65_536)
        except OSError:  # Linux says so when the last process has left the terminal
            return b""
        self.came += chunk
        return chunk


@contextmanager
def on_terminal(
    env: dict[str, str], *arguments: str, program: tuple[str, str] = ("-m", "reka_cli")
) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, *program, "ask", "-n", *arguments, "hello"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs}
    with zygote.Popen(
        command, env={"TERM": "xterm-256color", **env}, cwd=ROOT, **streams
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


def left(came: str) -> list[str]:
    emulator = Emulator(80, 24)
    emulator.feed(came)
    return emulator.everything


def test_on_a_terminal_the_answer_is_markdown(
    clean_env: dict[str, str], markdown_env: dict[str, str]
) -> None:
    with on_terminal(clean_env | markdown_env) as terminal:
        code, came = terminal.read()

    assert (code, left(came)) == (0, at_once(TEXT, 80))
    assert came.endswith("\r\n")


def test_without_live_nothing_is_painted_twice(
    clean_env: dict[str, str], markdown_env: dict[str, str]
) -> None:
    with on_terminal(clean_env | markdown_env, "--no-live", "-q") as terminal:
        code, came = terminal.read()

    assert (code, left(came)) == (0, at_once(TEXT, 80))
    assert set(re.findall(r"\x1b\[[?0-9;]*([a-zA-Z])", came)) == {"m"}


def test_a_dumb_terminal_gets_text_without_control_sequences(
    clean_env: dict[str, str], markdown_env: dict[str, str]
) -> None:
    with on_terminal(clean_env | markdown_env | {"TERM": "dumb"}) as terminal:
        code, came = terminal.read()

    assert (code, came.replace("\r\n", "\n").splitlines()) == (0, at_once(TEXT, 80))


def test_without_colors_there_are_none(
    clean_env: dict[str, str], markdown_env: dict[str, str]
) -> None:
    with on_terminal(clean_env | markdown_env | {"NO_COLOR": "1"}) as terminal:
        code, came = terminal.read()

    codes = {one for found in re.findall(r"\x1b\[([0-9;]*)m", came) for one in found.split(";")}
    assert code == 0
    assert [one for one in codes if one.isdecimal() and 30 <= int(one) <= 107] == []


def test_piped_markdown_has_no_control_sequences(run: Run, markdown_env: dict[str, str]) -> None:
    result = run("ask", "-n", "-f", "markdown", "hello", env=markdown_env)

    assert result == Result(0, "\n".join(at_once(TEXT, 80)) + "\n", "")


@pytest.mark.parametrize("live", ["--live", "--no-live"])
def test_a_bug_in_the_layout_does_not_cost_what_came(
    clean_env: dict[str, str], markdown_env: dict[str, str], live: str
) -> None:
    with on_terminal(clean_env | markdown_env, live, "-q", program=("-c", BROKEN)) as terminal:
        code, came = terminal.read()
    without_spinner = re.sub(r"\r([⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏][^\r\n]*)?\x1b\[K", "", came.replace("\r\n", "\n"))
    shown, told = without_spinner.removesuffix(BUG), without_spinner[-len(BUG) :]

    assert (code, told) == (70, BUG)
    assert TEXT.startswith(shown.strip("\n"))
    assert shown.startswith("\n# A")


def test_a_bug_in_the_layout_is_no_ctrl_c_of_the_user(clean_env: dict[str, str]) -> None:
    with on_terminal(
        clean_env | SANDBOX, "-m", "sandbox-stall", program=("-c", TAKING)
    ) as terminal:
        code, came = terminal.read()

    told = [HALF, *BUG.replace("TypeError", "ZeroDivisionError").splitlines()]
    assert (code, came.replace("\r\n", "\n").splitlines()[-3:]) == (70, told)
    assert "taken" not in came


SETTINGS = """
import signal
import sys
import threading
from reka_cli.answer import Answer
from reka_cli.errors import ServiceError
from reka_cli.messages import Done, Start, TextDelta
from reka_cli.render import render
from reka_cli.terminal import Terminal

def settings():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTSTP)]
    return (*handlers, sys.getswitchinterval())

def events(*errors):
    yield Start("m")
    assert (settings() == before) is False
    yield TextDelta("hello")
    for error in errors:
        raise error
    yield Done("stop")

def show(*errors):
    try:
        render("markdown", Answer(events(*errors), "web", "m"), Terminal())
    except BaseException as error:
        print(type(error).__name__, file=sys.stderr)
    print(settings() == before, file=sys.stderr)

before = settings()
show()
show(ServiceError("failed"))
show(KeyboardInterrupt())
thread = threading.Thread(target=show)
thread.start()
thread.join()
"""


def test_the_settings_of_the_process_are_restored_however_an_answer_ends() -> None:
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm"}
    ended = zygote.run(
        [sys.executable, "-c", SETTINGS], env=env, stdout=theirs, stderr=-1, cwd=ROOT, check=True
    )
    os.close(theirs)
    came = b""
    with contextlib.suppress(OSError):  # Linux says so when nobody has the terminal any more
        while chunk := os.read(ours, 65_536):
            came += chunk
    os.close(ours)

    told = ["True", "ServiceError", "True", "KeyboardInterrupt", "True", "True"]
    assert (ended.stderr.decode().splitlines(), left(came.decode())) == (told, ["hello"] * 4)


def test_a_narrow_pipe_says_so_itself(run: Run, markdown_env: dict[str, str]) -> None:
    result = run("ask", "-n", "-f", "markdown", "hello", env=markdown_env | {"COLUMNS": "40"})

    assert result.stdout.splitlines() == at_once(TEXT, 40)


def test_what_came_before_a_silence_is_on_the_screen(clean_env: dict[str, str]) -> None:
    with on_terminal(clean_env | SANDBOX, "-m", "sandbox-stall") as terminal:
        terminal.read_until(HALF)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_clean_screen_with_what_came(
    clean_env: dict[str, str], number: int
) -> None:
    with on_terminal(clean_env | SANDBOX, "-m", "sandbox-stall") as terminal:
        terminal.read_until(HALF)
        terminal.process.send_signal(number)
        ended, came = terminal.read()

    assert (ended, left(came)) == (-number, [HALF])
    assert came.endswith("\r\n")
    assert came.count("\x1b[?2026h") == came.count("\x1b[?2026l")


@pytest.mark.parametrize(
    ("model", "code", "wanted"),
    [
        (
            "sandbox-length",
            10,
            [HALF, "error: the answer was cut off: it reached the longest the service gives"],
        ),
        ("sandbox-empty", 10, ["error: the answer is empty"]),
        (
            "sandbox-take-back",
            0,
            [
                "notice: the service took back the end of its answer",
                TOLD,
                "see.",
                "",
                "Your question was: hello",
            ],
        ),
    ],
)
def test_errors_and_notices_stand_on_lines_of_their_own(
    clean_env: dict[str, str], web_env: dict[str, str], model: str, code: int, wanted: list[str]
) -> None:
    with on_terminal(clean_env | web_env, "-m", model) as terminal:
        ended, came = terminal.read()

    shown = left(came)
    assert ended == code
    assert sorted(shown) == sorted(wanted)


def test_a_rewritten_answer_keeps_what_was_shown(
    clean_env: dict[str, str], web_env: dict[str, str]
) -> None:
    with on_terminal(clean_env | web_env, "-m", "sandbox-rewrite") as terminal:
        ended, came = terminal.read()

    text = " ".join(" ".join(left(came)).split())
    assert ended == 0
    assert "notice: the service rewrote its answer" in text
    assert "substitute for Reka, not a model" in text or "ubstitute for Reka, not a model" in text


def test_reasoning_stands_above_the_answer(
    clean_env: dict[str, str], web_env: dict[str, str]
) -> None:
    with on_terminal(clean_env | web_env, "-m", "sandbox-reasoning-tags") as terminal:
        ended, came = terminal.read()

    assert (ended, left(came)[-1]) == (0, "Your question was: hello")


def test_a_terminal_that_is_closed_ends_it_at_once(clean_env: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "reka_cli", "ask", "-n", "-m", "sandbox-slow", "hello"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": subprocess.PIPE}
    env = clean_env | SANDBOX | {"TERM": "xterm"}
    with zygote.Popen(command, env=env, cwd=ROOT, **streams) as process:
        os.close(theirs)
        os.read(ours, 1)
        os.close(ours)
        _, stderr = process.communicate(timeout=30)

    assert (process.returncode, stderr) == (
        10,
        b"error: cannot write the answer: input/output error\n",
    )


class Tmux:
    """A real terminal, in which a shell runs."""

    def __init__(self, env: dict[str, str], socket: Path, *command: str) -> None:
        self._env = env
        self._socket = socket
        self._run("new-session", "-d", "-x", "80", "-y", "24", *command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run("kill-server")

    def resize(self, columns: int, rows: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def type(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def until(self, wanted: str) -> str:
        """All that is on the screen and above it, as soon as the pattern is found in it."""
        until, shown = time.monotonic() + 30, ""
        while not re.search(wanted, shown) and time.monotonic() < until:
            shown = self._run("capture-pane", "-p", "-J", "-S", "-")
        return shown

    def _run(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=self._env, cwd=ROOT
        ).stdout


needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


@needs_tmux
def test_in_tmux_nothing_is_lost_by_a_resize(
    clean_env: dict[str, str], tmp_path: Path, serve_stream: Callable[..., str]
) -> None:
    words = [f"w{number:03d}" for number in range(400)]
    text = "\n\n".join(" ".join(words[at : at + 40]) for at in range(0, 400, 40))
    chunks = [
        {"choices": [{"delta": {"content": text}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    base = serve_stream("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode())

    ask = f"REKA_API_BASE={base}/v1 {sys.executable} -m reka_cli ask -n -m m hello; echo ended; exec sleep 60"
    with Tmux(clean_env, tmp_path / "tmux", "sh", "-c", ask) as tmux:
        tmux.resize(50, 12)
        shown = tmux.until("ended")

    assert re.findall(r"w\d{3}", shown) == words


@needs_tmux
def test_what_a_shell_writes_while_it_is_stopped_stays(
    clean_env: dict[str, str], tmp_path: Path
) -> None:
    env = clean_env | SANDBOX | {"PS1": "$ "}
    with Tmux(env, tmp_path / "tmux", "bash", "--norc", "--noprofile") as tmux:
        tmux.type(f"{sys.executable} -m reka_cli ask -n -q -m sandbox-stall hello", "Enter")
        tmux.until(f"\n{HALF}")
        tmux.type("C-z")
        tmux.until("Stopped")
        tmux.type("echo between", "Enter", "fg", "Enter")
        shown = tmux.until(f"fg\n.*\n{HALF}")

    before, _, after = shown.partition("$ echo between\nbetween\n$ fg\n")
    assert HALF not in before
    assert after.splitlines()[1] == HALF
