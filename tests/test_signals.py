"""Ctrl-C, SIGTERM and SIGHUP in every phase of a question: it dies of the signal, at once, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zygote
from conftest import ROOT
from misbehaviors import FORMATS
from toys import with_file

LONGEST_S = 15.0  # what is measured is 0.1 s; what does not end would take 20 s
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
DELTA = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}\n\n'


@dataclass
class Peer:
    """A service that says `words` once it was asked, or nothing to what is no request; and what it saw."""

    address: tuple[str, int]
    asked: threading.Event
    closed: threading.Event


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    with contextlib.ExitStack() as stack:

        def peer(words: bytes = b"", again: bytes = b"", backlog: int = 16) -> Peer:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
            found = Peer(listener.getsockname(), threading.Event(), threading.Event())
            if backlog:
                thread = threading.Thread(
                    target=_serve, args=(listener, found, words, again), daemon=True
                )
                thread.start()
                stack.callback(lambda: thread.join(20))
                stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
            return found

        yield peer


def _serve(listener: socket.socket, peer: Peer, words: bytes, again: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:  # a stranger may come to a port that was another's a moment ago
            connection, _ = listener.accept()
            threading.Thread(
                target=_talk, args=(connection, peer, words, again), daemon=True
            ).start()


def _talk(connection: socket.socket, peer: Peer, words: bytes, again: bytes) -> None:
    with connection, contextlib.suppress(OSError):
        if not connection.recv(65_536):
            return
        connection.sendall(words)
        peer.asked.set()
        connection.settimeout(0.02 if again else 20)
        with contextlib.suppress(ConnectionError):
            while True:
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65_536):
                        break
                connection.sendall(again)
        peer.closed.set()


@contextlib.contextmanager
def full(address: tuple[str, int]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield


@dataclass
class Asking:
    """A running `reka-cli ask`."""

    process: subprocess.Popen[bytes]
    folder: Path  # for temporary files

    def shows(self, words: bytes) -> bytes:
        """Wait until it has written `words` to stdout."""
        assert self.process.stdout
        seen = b""
        while words not in seen:
            seen += os.read(self.process.stdout.fileno(), 65_536)
        return seen

    def says(self, words: bytes) -> None:
        """Wait until a line of stderr begins with `words`."""
        assert self.process.stderr
        while not self.process.stderr.readline().startswith(words):
            pass

    def end(self, sent: int) -> tuple[int, bytes, float, list[str]]:
        """Send a signal; give exit code, the rest of stdout, the seconds it took, and files that are left."""
        started = time.monotonic()
        self.process.send_signal(sent)
        rest, stderr = self.process.communicate(timeout=20)
        took_s = time.monotonic() - started
        assert b"Traceback" not in stderr
        return self.process.returncode, rest, took_s, [path.name for path in self.folder.rglob("*")]


@pytest.fixture
def asking(clean_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Asking]]:
    with contextlib.ExitStack() as stack:

        def asking(
            address: tuple[str, int],
            *arguments: str,
            scheme: str = "http",
            program: tuple[str, str] = ("-m", "reka_cli"),
            **popen: object,
        ) -> Asking:
            folder = tmp_path / "tmp"
            folder.mkdir()
            env = clean_env | {
                "REKA_API_BASE": f"{scheme}://127.0.0.1:{address[1]}/v1",
                "REKA_MODEL": "m",
                "TMPDIR": str(folder),
                "NO_PROXY": "*",
            }
            command = [sys.executable, *program, "ask", "--debug", *arguments]
            streams = {
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
            } | popen
            process = stack.enter_context(zygote.Popen(command, env=env, cwd=ROOT, **streams))
            stack.callback(process.kill)
            return Asking(process, folder)

        yield asking


@pytest.fixture(params=SIGNALS, ids=lambda number: number.name)
def sent(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def waiting_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def check(ended: tuple[int, bytes, float, list[str]], sent: int, rest: bytes = b"") -> None:
    exit_code, stdout, took_s, left = ended
    assert (exit_code, stdout, left) == (-sent, rest, [])
    assert took_s < LONGEST_S


def test_while_standard_input_is_waited_for(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    read_end, write_end = os.pipe()
    question = asking(peer().address, "hello", stdin=read_end)
    os.close(read_end)
    os.write(write_end, bytes(60_000))
    os.write(write_end, bytes(60_000))  # which ends when the first are read

    check(question.end(sent), sent)
    os.close(write_end)


@pytest.mark.slow
def test_while_a_connection_is_made(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    service = peer(backlog=0)
    with full(service.address):
        question = asking(service.address, "hello")
        question.says(b"> POST")

        check(question.end(sent), sent)


@pytest.mark.slow
def test_while_tls_is_agreed_on(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    service = peer()
    question = asking(service.address, "hello", scheme="https")
    assert service.asked.wait(60)

    check(question.end(sent), sent)
    assert service.closed.wait(60)


@pytest.mark.slow
def test_while_headers_come_letter_by_letter(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    service = peer(HEAD + b"X-Long: ", again=b"x")
    question = asking(service.address, "hello")
    assert service.asked.wait(60)

    check(question.end(sent), sent)
    assert service.closed.wait(60)


def test_while_the_answer_comes(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    service = peer(HEAD + b"\r\n" + DELTA % b"half", again=b": alive\n\n")
    question = asking(service.address, "hello")

    assert question.shows(b"half") == b"half"
    check(question.end(sent), sent, rest=b"\n")
    assert service.closed.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_while_the_answer_comes_for_a_program(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int, format_: str
) -> None:
    service = peer(HEAD + b"\r\n" + DELTA % b"half", again=b": alive\n\n")
    question = asking(service.address, "hello", "-f", format_)
    if format_ == "jsonl":
        assert question.shows(b'"half"}\n').count(b"\n") == 2
    else:
        assert service.asked.wait(60)

    exit_code, rest, took_s, left = question.end(sent)
    assert (exit_code, left, rest.count(b"\n")) == (-sent, [], {"json": 0, "jsonl": 1}[format_])
    assert took_s < LONGEST_S
    assert service.closed.wait(60)


@pytest.mark.slow
def test_while_another_attempt_is_waited_for(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    service = peer(b"HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")
    question = asking(service.address, "hello")
    question.says(b"notice: ")

    check(question.end(sent), sent)
    assert service.closed.wait(60)


def test_while_nobody_takes_the_answer(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    service = peer(HEAD + b"\r\n" + DELTA % b"x" + DELTA % (b"x" * 1_000_000), again=b": alive\n\n")
    question = asking(service.address, "hello", stdout=write_end)
    os.close(write_end)
    seen = os.read(read_end, 1)
    while waiting_bytes(read_end) < 4096:
        assert question.process.poll() is None

    exit_code, _, took_s, left = question.end(sent)
    os.close(read_end)
    assert (seen, exit_code, left) == (b"x", -sent, [])
    assert took_s < LONGEST_S
    assert service.closed.wait(60)


def test_a_second_signal_does_not_wait(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    service = peer(HEAD + b"\r\n" + DELTA % b"half", again=b": alive\n\n")
    question = asking(service.address, "hello")
    question.shows(b"half")
    question.process.send_signal(sent)

    exit_code, _, took_s, left = question.end(sent)
    assert (exit_code, left) == (-sent, [])
    assert took_s < LONGEST_S


@pytest.mark.parametrize("format_", FORMATS)
def test_a_reader_that_is_gone_is_no_error_in_any_format(
    clean_env: dict[str, str], format_: str
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [
        sys.executable,
        "-m",
        "reka_cli",
        "ask",
        "-n",
        "hello",
        "-f",
        format_,
        "--provider",
        "sandbox",
    ]
    ended = zygote.run(
        command, env=clean_env, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)

    assert (ended.returncode, ended.stderr) == (141, b"")


LOOPS = {
    "for": 'for turn in 1 2 3; do echo "turn $turn"; "$@"; done; echo finished',
    "while": 'find reka_cli -name "*.py" | while read -r file; do echo "turn 1"; "$@"; done; echo finished',
}


@pytest.mark.parametrize(
    ("shell", "loop"),
    [
        *((shell, "for") for shell in ("bash", "dash", "zsh")),
        ("bash", "while"),
        *(pytest.param(shell, "while", marks=pytest.mark.slow) for shell in ("dash", "sh", "zsh")),
        pytest.param("sh", "for", marks=pytest.mark.slow),  # which is one of the others
    ],
)
def test_one_ctrl_c_ends_the_loop_of_a_shell(
    peer: Callable[..., Peer], clean_env: dict[str, str], shell: str, loop: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    service = peer(HEAD + b"\r\n" + DELTA % b"half", again=b": alive\n\n")
    base_url = f"http://127.0.0.1:{service.address[1]}/v1"
    env = clean_env | {
        "REKA_API_BASE": base_url,
        "REKA_MODEL": "m",
        "NO_PROXY": "*",
        "TERM": "xterm",
    }
    command = [
        shell,
        "-c",
        LOOPS[loop],
        shell,
        sys.executable,
        "-m",
        "reka_cli",
        "ask",
        "-n",
        "hello",
    ]
    ours, theirs = pty.openpty()

    streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    streams["preexec_fn"] = lambda: fcntl.ioctl(
        0, termios.TIOCSCTTY, 0
    )  # the terminal of the new session
    with subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True, **streams) as process:
        os.close(theirs)
        seen = b""
        while b"half" not in seen:
            seen += os.read(ours, 65_536)
        os.write(ours, b"\x03")
        with contextlib.suppress(OSError):  # Linux reports the end of the last process so
            while chunk := os.read(ours, 65_536):
                seen += chunk
        returncode = process.wait(20)
    os.close(ours)

    assert (returncode, re.findall(rb"turn \d|finished|Traceback", seen)) == (
        -signal.SIGINT,
        [b"turn 1"],
    )


TOY = """\
import queue
import sys

from reka_cli.terminal import signals


def toy() -> None:
    with signals.taking_interrupt(lambda: sys.exit("the block is not inside")):
        pass
    for turn in ("first", "second"):
        taken = queue.SimpleQueue()
        with signals.taking_interrupt(lambda: taken.put(turn)):
            print("ready", flush=True)
            print(taken.get(), flush=True)
    with signals.taking_interrupt(lambda: print("once", flush=True)):
        try:
            print("ready", flush=True)
            queue.SimpleQueue().get()
        finally:
            print("unwound", flush=True)
"""


def test_a_command_can_take_the_first_ctrl_c_of_each_block(
    clean_env: dict[str, str], tmp_path: Path
) -> None:
    command = [*with_file(tmp_path, "commands", "toy", TOY), "toy"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with zygote.Popen(command, env=clean_env, cwd=ROOT, **pipes) as process:
        assert process.stdout
        seen = []
        for turn in (b"first", b"second", b"once"):
            seen.append(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            seen.append(process.stdout.readline())
            assert seen[-2:] == [b"ready\n", turn + b"\n"]
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate(timeout=20)

    assert (process.returncode, rest, stderr) == (-signal.SIGINT, b"unwound\n", b"")
    assert time.monotonic() - started < LONGEST_S


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_that_is_ignored_at_start_stays_ignored(
    peer: Callable[..., Peer], asking: Callable[..., Asking], ignored: signal.Signals
) -> None:
    service = peer(HEAD + b"\r\n" + DELTA % b"half", again=DELTA % b"+")
    question = asking(
        service.address, "hello", preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN)
    )
    question.shows(b"half")
    question.process.send_signal(ignored)
    question.shows(b"+")

    exit_code, _, took_s, left = question.end(signal.SIGTERM)
    assert (exit_code, left) == (-signal.SIGTERM, [])
    assert took_s < LONGEST_S


def test_where_a_signal_cannot_end_the_process_the_exit_code_tells(
    peer: Callable[..., Peer], asking: Callable[..., Asking], sent: int
) -> None:
    code = "import signal; signal.raise_signal = lambda _: None; from reka_cli.__main__ import main; main()"
    service = peer(HEAD + b"\r\n" + DELTA % b"half", again=b": alive\n\n")
    question = asking(service.address, "hello", program=("-c", code))
    question.shows(b"half")

    exit_code, rest, took_s, left = question.end(sent)
    assert (exit_code, rest, left) == (128 + sent, b"\n", [])
    assert took_s < LONGEST_S
