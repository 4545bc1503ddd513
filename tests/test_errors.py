"""Errors through the real process: stdout, stderr and exit code compared whole; those of a service: test_hostile.py."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service, needs_limited_typer, write_cookies
from misbehaviors import HALF, LOGIN_HINT

from reka_cli import errors


def test_every_error_has_an_exit_code_of_its_own() -> None:
    table = {
        cls.exit_code: cls.code
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.RekaError)
    }

    assert table == {
        2: "usage",
        3: "not_logged_in",
        4: "refused",
        5: "bad_input",
        6: "rate_limited",
        7: "service_error",
        8: "timeout",
        9: "network",
        10: "incomplete",
        11: "some_failed",
        70: "internal",
        75: "locked",
    }


@pytest.mark.parametrize(
    ("arguments", "stderr"),
    [
        (["ask"], 'error: there is no question\nhint: reka-cli ask "What can you see?" image.jpg\n'),
        (["ask", "hello", "-f", "yaml"], "error: there is no format 'yaml'\nhint: -f auto|json|jsonl|markdown|text\n"),
        (["ask", "hello", "--provider", "x"], "error: there is no provider 'x'\nhint: --provider auto|api|local|sandbox|web\n"),
        pytest.param(["ask", "hello", "--retries", "-1"], "error: invalid value for '--retries': -1 is not in the range x>=0\nhint: reka-cli ask --help\n", marks=needs_limited_typer),
        (["ask", "hello", "--timeout", "0"], "error: a timeout must be more than 0 and at most 604800 seconds, not 0\n"),
        (["ask", "hello", "--timeout", "nan"], "error: a timeout must be more than 0 and at most 604800 seconds, not nan\n"),
        (["ask", "-", "-n"], "error: - reads standard input, which --no-stdin forbids\n"),
        (
            ["ask", "docs/images/cat.jpeg"],
            'error: docs/images/cat.jpeg is an image, not a question\nhint: reka-cli ask -i docs/images/cat.jpeg "What can you see?"\n',
        ),
    ],
)  # fmt: skip
def test_wrong_usage_exits_2(run: Run, arguments: list[str], stderr: str) -> None:
    result = run(*arguments, env={"REKA_PROVIDER": "sandbox"})

    assert result == Result(2, "", stderr)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jpg", None, "cannot read PATH: no such file"),
        ("empty.jpg", b"", "empty.jpg is empty"),
        (
            "text.jpg",
            b"this is a text\n" * 20,
            "text.jpg is no image, or of a format that is not known",
        ),
        ("cut.jpeg", CAT.read_bytes()[:20_000], "cut.jpeg is damaged or cut off"),
        ("header.jpeg", CAT.read_bytes()[:300], "header.jpeg is damaged or cut off"),
    ],
)
def test_bad_input_exits_5_before_any_request(
    run: Run,
    service: Service,
    web_env: dict[str, str],
    tmp_path: Path,
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    result = run("ask", "-i", str(path), "hello", env=web_env)

    assert result == Result(5, "", f"error: {message.replace('PATH', str(path))}\n")
    assert service.received == []


WAYS_TO_NAME_A_FILE = [
    ("ask", "hello", "-i", "PATH"),
    ("ask", "hello", "--schema", "PATH"),
    ("ask", "hello", "--video", "PATH"),
    ("ask", "hello", "--provider", "local", "-m", "PATH"),
    ("login", "--cookies", "PATH"),
]


@pytest.mark.parametrize("arguments", WAYS_TO_NAME_A_FILE)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "no such file"),
        ("file/x", "no such file"),
        ("itself", "too many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_the_same_words_everywhere(
    run: Run, service: Service, tmp_path: Path, arguments: tuple[str, ...], name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "itself").symlink_to("itself")
    path = str(tmp_path / name)

    result = run(
        *[one.replace("PATH", path) for one in arguments],
        env={"REKA_API_BASE": f"{service.url}/v1"},
    )

    assert result == Result(5, "", f"error: cannot read {path}: {reason}\n")
    assert service.received == []


@pytest.mark.parametrize("option", ["-i", "--schema", "--video"])
def test_a_pipe_that_nobody_writes_to_is_told_in_the_same_words_everywhere(
    run: Run, service: Service, tmp_path: Path, option: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = ("ask", "hello", option, str(pipe), "--timeout", "0.5")

    result = run(*arguments, env={"REKA_API_BASE": f"{service.url}/v1"})

    assert result == Result(8, "", f"error: nothing came from {pipe} within 0.5 s\n")
    assert service.received == []


def test_an_image_that_cannot_be_read_exits_5(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "itself.jpg"
    path.symlink_to(path)  # permissions would not stop the superuser

    result = run("ask", "-i", str(path), "hello", "--provider", "sandbox")

    assert result == Result(
        5, "", f"error: cannot read {path}: too many levels of symbolic links\n"
    )


def test_a_question_that_is_no_text_exits_5(run: Run) -> None:
    result = run("ask", "caf\udce9", "--provider", "sandbox")

    assert result == Result(5, "", "error: the question holds bytes that are not UTF-8 text\n")


def test_no_credentials_exit_3_and_name_a_way(run: Run) -> None:
    result = run("ask", "hello")

    assert result == Result(
        3,
        "",
        "error: no API key or web session found\n"
        "hint: reka-cli login --api-key, or reka-cli login; to try without: --provider sandbox\n",
    )


@pytest.mark.parametrize("value", ["sandbox-expired", "sandbox-login-page"])
def test_a_session_that_leads_to_the_login_page_exits_3(
    run: Run, web_env: dict[str, str], cookies_file: Path, value: str
) -> None:
    write_cookies(cookies_file, {"appSession": value})

    result = run("ask", "hello", env=web_env)

    assert result == Result(
        3, "", f"error: the web session is no longer valid: the service wants a login\n{LOGIN_HINT}"
    )


def test_a_token_of_the_environment_that_is_refused_exits_3(run: Run, service: Service) -> None:
    result = run(
        "ask", "hello", env={"REKA_WEB_BASE": service.url, "REKA_TOKEN": "not-a-token-of-theirs"}
    )

    assert result == Result(
        3,
        "",
        f"error: {service.host} answered 401: Unauthorized\n"
        "hint: export REKA_TOKEN with a new token, or unset it and: reka-cli login\n",
    )
    assert service.paths == ["/api/chat"]


def test_a_port_where_nobody_listens_exits_9_after_the_retries(
    run: Run, web_env: dict[str, str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
        result = run(
            "ask",
            "hello",
            "-q",
            "--retries",
            "1",
            env=web_env | {"REKA_WEB_BASE": f"http://{host}"},
        )

    assert result == Result(9, "", f"error: cannot reach {host}: connection refused\n")


def test_tls_that_is_none_exits_9(run: Run, service: Service, web_env: dict[str, str]) -> None:
    result = run("ask", "hello", env=web_env | {"REKA_WEB_BASE": f"https://{service.host}"})

    assert result.exit_code == 9
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: the connection to {service.host} failed: no TLS (")


def test_a_proxy_that_is_not_there_exits_9(run: Run, web_env: dict[str, str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        env = web_env | {"REKA_WEB_BASE": "https://space.reka.ai", "HTTPS_PROXY": proxy}
        result = run("ask", "hello", "--retries", "0", env=env)

    assert result == Result(
        9, "", "error: cannot reach space.reka.ai: the proxy cannot be reached\n"
    )


def test_an_answer_that_is_cut_off_can_be_taken(run: Run, web_env: dict[str, str]) -> None:
    result = run("ask", "-m", "sandbox-length", "hello", "--allow-partial", env=web_env)

    warning = "notice: the answer was cut off: it reached the longest the service gives (accepted as it is)\n"
    assert result == Result(0, HALF, warning)


def test_an_empty_answer_cannot_be_taken(run: Run, web_env: dict[str, str]) -> None:
    result = run("ask", "-m", "sandbox-empty", "hello", "--allow-partial", env=web_env)

    assert result == Result(10, "", "error: the answer is empty\n")


BUG = """\
import reka_cli.client
from reka_cli.__main__ import main

reka_cli.client.Client.send = lambda *a, **k: 1 / 0
main()
"""


def test_a_bug_of_ours_exits_70_without_a_traceback(clean_env: dict[str, str]) -> None:
    def run_with_bug(*options: str) -> Result:
        command = [
            sys.executable,
            "-c",
            BUG,
            "ask",
            "-n",
            "hello",
            "--provider",
            "sandbox",
            *options,
        ]
        ended = zygote.run(command, env=clean_env, cwd=ROOT, capture_output=True, text=True)
        return Result(ended.returncode, ended.stdout, ended.stderr)

    plain, debug = run_with_bug(), run_with_bug("--debug")

    told = "error: a bug of reka-cli: ZeroDivisionError\nhint: --debug shows where it happened\n"
    assert plain == Result(70, "", told)
    assert debug.stderr.startswith("Traceback (most recent call last):")
    assert debug.stderr.endswith(f"ZeroDivisionError\n{told}")
    assert "division by zero" not in debug.stderr  # what a library says could hold a secret


def test_control_characters_in_an_error_of_the_service_are_not_shown(
    run: Run, web_env: dict[str, str]
) -> None:
    result = run("ask", "hello", "-i", "\x1b]0;x\x07missing\x1b[31m.jpg", env=web_env)

    assert result == Result(5, "", "error: no file matches missing.jpg\n")
