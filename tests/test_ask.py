"""`reka-cli ask` as its users meet it: what it reads, what it writes, how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service

SANDBOX = {"REKA_PROVIDER": "sandbox"}


def told(question: str) -> str:
    """What the sandbox answers to a question without an image."""
    return f"This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: {question}\n"


MEASURED = """\
This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.

What it measured of your image:

- format: JPEG
- size: 451 × 300 pixels, 30985 bytes
- mean color: light brown (#946f57)
- EXIF metadata: none
- SHA-256: fc898c685c70f36d349c985193d1121103966bad43aa69cb3d7114cb0430150f

Your question was: What can you see?
"""


@contextmanager
def started(
    env: dict[str, str], *arguments: str, **popen: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A running `reka-cli` that is not waited for."""
    command = [sys.executable, "-m", "reka_cli", *arguments]
    streams = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    } | popen
    with zygote.Popen(command, env=env | SANDBOX, cwd=ROOT, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--image", "docs/images/cat.jpeg", "What can you see?"],
        ["-i", "docs/images/cat.jpeg", "What can you see?"],
        ["What can you see?", "docs/images/cat.jpeg"],
        ["What can you see?", "-i", str(CAT)],
    ],
)
def test_an_image_can_stand_before_and_after_the_question(run: Run, arguments: list[str]) -> None:
    assert run("ask", *arguments, env=SANDBOX) == Result(0, MEASURED, "")


def test_an_image_goes_over_the_web_session(
    run: Run, service: Service, web_env: dict[str, str]
) -> None:
    result = run("ask", "--image", str(CAT), "What can you see?", env=web_env)

    assert result == Result(0, MEASURED, "")
    assert service.paths == ["/bff/auth/access_token", "/api/upload-image", "/api/chat"]


def test_every_delta_is_written_when_it_comes(clean_env: dict[str, str]) -> None:
    with started(clean_env, "ask", "hello", "-m", "sandbox-stall") as process:
        assert process.stdout
        first = os.read(process.stdout.fileno(), 100)
        while b"Reka," not in first:
            first += os.read(process.stdout.fileno(), 100)

    assert first == b"This is the sandbox of reka-cli: a stand-in for Reka,"


class TestStandardInput:
    def test_it_is_the_question_if_there_is_no_other(self, run: Run) -> None:
        assert run("ask", env=SANDBOX, stdin=b"  from a pipe\n\n") == Result(
            0, told("from a pipe"), ""
        )

    def test_it_is_the_question_about_an_image(self, run: Run) -> None:
        assert run("ask", "-i", str(CAT), env=SANDBOX, stdin=b"What can you see?\n") == Result(
            0, MEASURED, ""
        )

    def test_it_follows_a_prompt_that_has_no_image(self, run: Run) -> None:
        result = run("ask", "Write a commit message", env=SANDBOX, stdin=b"diff --git a b\n")

        assert result == Result(0, told("Write a commit message\n\ndiff --git a b"), "")

    def test_a_dash_stands_for_it(self, run: Run) -> None:
        assert run("ask", "-i", str(CAT), "-", env=SANDBOX, stdin=b"What can you see?") == Result(
            0, MEASURED, ""
        )

    def test_it_is_not_touched_with_a_prompt_and_an_image(self, run: Run) -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, b"the next line of a loop\n")

        result = run("ask", "What can you see?", str(CAT), env=SANDBOX, stdin=read_end)

        assert result == Result(0, MEASURED, "")
        assert os.read(read_end, 100) == b"the next line of a loop\n"
        os.close(write_end)
        os.close(read_end)

    def test_it_is_not_read_if_that_is_forbidden(self, run: Run) -> None:
        assert run("ask", "-n", "hello", env=SANDBOX, stdin=b"not this") == Result(
            0, told("hello"), ""
        )

    def test_it_may_be_empty_beside_a_prompt(self, run: Run) -> None:
        assert run("ask", "hello", env=SANDBOX, stdin=b"\n") == Result(0, told("hello"), "")

    def test_it_may_be_one_that_can_only_be_written(self, run: Run) -> None:
        with Path("/dev/null").open("wb") as null:  # as nohup leaves it
            assert run("ask", "hello", env=SANDBOX, stdin=null.fileno()) == Result(
                0, told("hello"), ""
            )

    def test_a_pipe_that_never_ends_is_given_up_at_the_deadline(self, run: Run) -> None:
        read_end, write_end = os.pipe()

        result = run("ask", "hello", "--timeout", "0.5", env=SANDBOX, stdin=read_end)

        os.close(write_end)
        os.close(read_end)
        told = "error: standard input did not end within 0.5 s\nhint: -n does not read it\n"
        assert result == Result(8, "", told)

    @pytest.mark.slow
    def test_a_pipe_that_is_silent_for_two_seconds_is_told(self, run: Run) -> None:
        read_end, write_end = os.pipe()

        result = run("ask", "hello", "--timeout", "2.5", env=SANDBOX, stdin=read_end)

        os.close(write_end)
        os.close(read_end)
        assert result == Result(
            8,
            "",
            "notice: waiting for standard input, which is part of the question (-n does not read it)\n"
            "error: standard input did not end within 2.5 s\nhint: -n does not read it\n",
        )

    def test_what_is_no_text_is_bad_input(self, run: Run) -> None:
        result = run("ask", "hello", env=SANDBOX, stdin=CAT.read_bytes())

        assert result == Result(
            5,
            "",
            'error: standard input is not text\nhint: reka-cli ask -i - "What can you see?" < image.jpg\n',
        )


class TestEnds:
    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_leaves_what_was_received(self, clean_env: dict[str, str], sent: int) -> None:
        with started(clean_env, "ask", "hello", "-m", "sandbox-stall") as process:
            assert process.stdout
            begin = process.stdout.read(
                len("This is the sandbox of reka-cli: a stand-in for Reka,")
            )
            process.send_signal(sent)
            rest, stderr = process.communicate(timeout=10)

        partial = "This is the sandbox of reka-cli: a stand-in for Reka,\n"
        assert Result(process.returncode, (begin + rest).decode(), stderr.decode()) == Result(
            -sent, partial, ""
        )

    def test_a_signal_before_the_answer_is_quiet(
        self, clean_env: dict[str, str], service: Service
    ) -> None:
        env = clean_env | {"REKA_WEB_BASE": service.url, "REKA_TOKEN": service.server.token}
        with started(env, "ask", "hello", "-m", "sandbox-silent", "--provider", "web") as process:
            assert service.arrived.wait(20)
            process.terminate()
            stdout, stderr = process.communicate(timeout=10)

        assert (process.returncode, stdout, stderr) == (-signal.SIGTERM, b"", b"")

    def test_a_closed_pipe_is_quiet(self, clean_env: dict[str, str]) -> None:
        with started(clean_env, "ask", "hello", "-m", "sandbox-slow") as process:
            assert process.stdout
            assert process.stderr
            process.stdout.read(4)
            process.stdout.close()
            stderr = process.stderr.read()
            exit_code = process.wait(timeout=20)

        assert (exit_code, stderr) == (141, b"")

    def test_an_image_that_never_comes_is_given_up_at_the_deadline(
        self, run: Run, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "image"
        os.mkfifo(pipe)

        result = run("ask", "-i", str(pipe), "hello", "--timeout", "0.5", env=SANDBOX)

        assert result == Result(8, "", f"error: nothing came from {pipe} within 0.5 s\n")

    def test_a_pipe_is_no_image_in_place_of_the_question(self, run: Run, tmp_path: Path) -> None:
        pipe = tmp_path / "question"
        os.mkfifo(pipe)

        assert run("ask", str(pipe), env=SANDBOX).exit_code == 0

    def test_an_image_may_come_through_a_pipe(self, run: Run, tmp_path: Path) -> None:
        pipe = tmp_path / "image"
        os.mkfifo(pipe)
        with subprocess.Popen(["cp", str(CAT), str(pipe)]):
            assert run("ask", "-i", str(pipe), "What can you see?", env=SANDBOX) == Result(
                0, MEASURED, ""
            )

    def test_a_pipe_that_does_not_block_gets_everything(self, clean_env: dict[str, str]) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        question = "x" * 200_000
        with started(clean_env, "ask", stdin=subprocess.PIPE, stdout=write_end) as process:
            assert process.stdin
            os.close(write_end)
            process.stdin.write(question.encode())
            process.stdin.close()
            shown = b""
            while chunk := os.read(read_end, 1000):
                shown += chunk
            exit_code = process.wait(20)
        os.close(read_end)

        assert (exit_code, shown.decode()) == (0, told(question))

    @pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]])
    def test_help_that_nobody_reads_is_quiet(
        self, clean_env: dict[str, str], arguments: list[str]
    ) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        with started(clean_env, *arguments, stdout=write_end) as process:
            os.close(write_end)
            _, stderr = process.communicate(timeout=20)

        assert (process.returncode, stderr) == (141, b"")

    def test_help_on_a_full_disk_is_an_error(self, clean_env: dict[str, str]) -> None:
        with (
            Path("/dev/full").open("wb") as full,
            started(clean_env, "--help", stdout=full) as process,
        ):
            _, stderr = process.communicate(timeout=20)

        assert (process.returncode, stderr) == (
            10,
            b"error: cannot write: no space left on device\n",
        )

    def test_a_full_disk_is_an_incomplete_answer(self, clean_env: dict[str, str]) -> None:
        with (
            Path("/dev/full").open("wb") as full,
            started(clean_env, "ask", "hello", stdout=full) as process,
        ):
            _, stderr = process.communicate(timeout=20)

        assert (process.returncode, stderr) == (
            10,
            b"error: cannot write the answer: no space left on device\n",
        )


class TestSaidOnStderr:
    def test_a_retry_is_announced_and_helps(
        self, run: Run, service: Service, web_env: dict[str, str]
    ) -> None:
        result = run("ask", "hello", "-m", "sandbox-503-once", env=web_env)

        assert (result.exit_code, result.stdout) == (0, told("hello"))
        assert result.stderr.startswith(
            f"notice: {service.host} answered 503: overloaded; attempt 2 of 3 in 0."
        )
        assert result.stderr.count("\n") == 1
        assert service.paths == ["/bff/auth/access_token", "/api/chat", "/api/chat"]

    def test_quiet_keeps_notices_back(self, run: Run, web_env: dict[str, str]) -> None:
        assert run("ask", "hello", "-q", "-m", "sandbox-429-once", env=web_env) == Result(
            0, told("hello"), ""
        )

    def test_a_retry_that_would_come_too_late_is_not_waited_for(
        self, run: Run, service: Service, web_env: dict[str, str]
    ) -> None:
        result = run("ask", "hello", "-m", "sandbox-429-later", env=web_env)

        assert result == Result(
            6, "", f"error: {service.host} answered 429: slow down (try again in 3600 s)\n"
        )
        assert service.paths == ["/bff/auth/access_token", "/api/chat"]

    def test_verbose_names_model_tokens_and_seconds(self, run: Run) -> None:
        result = run("ask", "hello", "-v", env=SANDBOX)

        numbers = re.sub(r"\d+\.\d", "N", result.stderr).rpartition(", ")
        assert numbers[0] == "sandbox, sandbox, 20 tokens in, 20 out, first word after N s, N s"
        assert re.fullmatch(r"\d+ tokens/s\n", numbers[2])

    def test_debug_shows_the_http_without_secrets(
        self, run: Run, service: Service, web_env: dict[str, str], home: Path
    ) -> None:
        result = run("ask", "hello", "--debug", env=web_env)

        lines = result.stderr.splitlines()
        assert [line for line in lines if line.startswith(">")] == [
            f"> GET {service.url}/bff/auth/access_token",
            f"> POST {service.url}/api/chat",
        ]
        assert "  Cookie: [redacted]" in lines
        assert "  Authorization: [redacted]" in lines
        token = service.received[-1].headers["authorization"].removeprefix("Bearer ")
        assert [secret for secret in (token, "canary-session") if secret in result.stderr] == []
        assert [
            path.name
            for path in home.rglob("*")
            if token in (path.read_text() if path.is_file() else "")
        ] == ["credentials.json"]
