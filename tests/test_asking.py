"""What commands that ask share: another one needs its own options and the same steps, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result
from toys import with_file

TOY = """\
from reka_cli import asking
from reka_cli.commands._options import with_ask_options
from reka_cli.limits.deadline import Deadline
from reka_cli.terminal import Terminal


@with_ask_options
def count(prompt: str, *, options: asking.AskOptions, twice: bool = False) -> None:
    terminal = Terminal(quiet=options.quiet, verbose=options.verbose)
    deadline = Deadline.after(options.timeout_s)
    with asking.open_client(options, terminal) as client:
        question = asking.read_question(
            prompt, (), options, client=client, terminal=terminal, deadline=deadline
        )
        for _ in range(1 + twice):
            with asking.ask_question(client, question) as answer:
                words = len(answer.read().split())
                terminal.write(f"{len(answer.images)} of {question.text!r}: {words > 0}\\n")
"""
SANDBOX = ["--provider", "sandbox"]

Count = Callable[..., Result]


@pytest.fixture
def count(clean_env: dict[str, str], tmp_path: Path) -> Count:
    """Run a command that tells how many images the question had, and whether there is an answer."""

    def count(*arguments: str, stdin: bytes = b"") -> Result:
        command = [*with_file(tmp_path, "commands", "count", TOY), "count", *arguments]
        ended = zygote.run(
            command, env=clean_env, cwd=ROOT, input=stdin, capture_output=True, check=False
        )
        return Result(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return count


@pytest.mark.parametrize(
    ("arguments", "stdin", "result"),
    [
        (["hello", "--twice"], b"", Result(0, "0 of 'hello': True\n" * 2, "")),
        (["hello"], b"more words", Result(0, "0 of 'hello\\n\\nmore words': True\n", "")),
        (["hello", "-n"], b"more words", Result(0, "0 of 'hello': True\n", "")),
        (["hello", "-i", str(CAT)], b"not read", Result(0, "1 of 'hello': True\n", "")),
        (["hello", "-i", "-"], CAT.read_bytes(), Result(0, "1 of 'hello': True\n", "")),
        (
            ["hello", "-m", "sandbox-length", "--allow-partial"],
            b"",
            Result(0, "0 of 'hello': True\n", ""),
        ),
        (["hello", "-m", "sandbox-empty"], b"", Result(10, "", "error: the answer is empty\n")),
        (
            ["-", "-n"],
            b"",
            Result(2, "", "error: - reads standard input, which --no-stdin forbids\n"),
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_another_command_takes_the_same_options(
    count: Count, arguments: list[str], stdin: bytes, result: Result
) -> None:
    assert count(*arguments, *SANDBOX, stdin=stdin) == result
