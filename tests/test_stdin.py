"""Standard streams as cron, ssh, nohup and loops leave them."""

from __future__ import annotations

import os
import pty
import shutil
import socket
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service

SANDBOX = {"REKA_PROVIDER": "sandbox"}
TOLD = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: {}\n"
HELLO = TOLD.format("hello")
HALF = "This is the sandbox of reka-cli: a stand-in for Reka,\n"
CUT_OFF = "error: the answer was cut off: it reached the longest the service gives\n"
CLOSED = "error: standard output is closed: there is nowhere to put the answer\n"
COMMAND = [sys.executable, "-m", "reka_cli", "ask"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "closed", [one for size in range(4) for one in combinations((0, 1, 2), size)], ids=str
)
def test_any_of_the_three_may_be_closed(
    clean_env: dict[str, str], tmp_path: Path, closed: tuple[int, ...]
) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    closing = [f"{number}{'<' if number == 0 else '>'}&-" for number in closed]
    script = " ".join([f'"$@" </dev/null >{out} 2>{err}', *closing])
    code = subprocess.run(["bash", "-c", script, "bash", *COMMAND, "hello", "-m", "sandbox-length"], env=clean_env | SANDBOX, cwd=ROOT, check=False).returncode  # fmt: skip

    nowhere = 1 in closed
    stderr = "" if 2 in closed else CLOSED if nowhere else CUT_OFF
    result = Result(code, out.read_text(), err.read_text())
    assert result == Result(2 if nowhere else 10, "" if nowhere else HALF, stderr)


@pytest.mark.parametrize("output", [[], ["-o", "-"]], ids=["", "-o -"])
def test_an_answer_that_has_nowhere_to_go_is_not_asked_for(
    clean_env: dict[str, str], service: Service, web_env: dict[str, str], output: list[str]
) -> None:
    ended = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *COMMAND, "-n", "hello", *output],
        env=clean_env | web_env,
        cwd=ROOT,
        check=False,
    )

    assert (ended.returncode, service.received) == (2, [])


def test_a_version_that_has_nowhere_to_go_is_no_success(clean_env: dict[str, str]) -> None:
    ended = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *COMMAND[:3], "--version"],
        env=clean_env,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (2, CLOSED)


@pytest.mark.parametrize(
    ("stdin", "result"),
    [
        (Path("/dev/zero"), Result(5, "", "error: standard input is longer than 10 MB\n")),
        (Path("/dev/null"), Result(0, HELLO, "")),
    ],
)
def test_it_may_be_any_file(run: Run, stdin: Path, result: Result) -> None:
    descriptor = os.open(stdin, os.O_RDONLY)
    try:
        assert run("ask", "hello", env=SANDBOX, stdin=descriptor) == result
    finally:
        os.close(descriptor)


def test_it_may_be_a_socket(run: Run) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"over a socket")
        ours.shutdown(socket.SHUT_WR)

        assert run("ask", env=SANDBOX, stdin=theirs.fileno()) == Result(
            0, TOLD.format("over a socket"), ""
        )


def test_it_may_be_a_socket_of_nobody(run: Run) -> None:
    with socket.socket() as alone:
        result = run("ask", "hello", env=SANDBOX, stdin=alone.fileno())

    told = "error: cannot read standard input: transport endpoint is not connected\n"
    assert result == Result(5, "", told)


def test_it_may_be_a_pipe_that_does_not_block(clean_env: dict[str, str]) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    streams = {"stdin": read_end, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with zygote.Popen(
        [*COMMAND, "--debug"], env=clean_env | SANDBOX, cwd=ROOT, **streams
    ) as process:
        os.close(read_end)
        os.write(write_end, bytes(60_000).replace(b"\0", b"x"))
        os.write(
            write_end, bytes(60_000).replace(b"\0", b"x")
        )  # which ends when the first were read
        os.close(write_end)
        stdout, _ = process.communicate(timeout=30)

    assert (process.returncode, stdout.decode()) == (0, TOLD.format("x" * 120_000))


def test_a_loop_keeps_its_lines(clean_env: dict[str, str]) -> None:
    script = f'printf "a\\nb\\n" | while read -r line; do "$@" "$line" {CAT} | tail -1; done'
    ended = subprocess.run(
        ["bash", "-c", script, "bash", *COMMAND],
        env=clean_env | SANDBOX,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    assert ended.stdout.decode() == "Your question was: a\nYour question was: b\n"


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", [["setsid", "--wait"], ["nohup"]])
def test_a_job_without_a_terminal_does_not_wait_for_one(
    clean_env: dict[str, str], wrapper: list[str]
) -> None:
    if shutil.which(wrapper[0]) is None:
        pytest.skip(f"there is no {wrapper[0]}")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*wrapper, *COMMAND, "hello"],
        env=clean_env | SANDBOX,
        cwd=ROOT,
        stdin=theirs,
        stdout=-1,
        stderr=-1,
    ) as process:
        os.close(theirs)
        stdout, stderr = process.communicate(timeout=30)
    os.close(ours)

    assert (process.returncode, stdout.decode()) == (0, HELLO)
    assert [line for line in stderr.decode().splitlines() if not line.startswith("nohup: ")] == []
