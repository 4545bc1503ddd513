"""Help, in a pipe and on a terminal; what a mistyped word was meant to be."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import zygote
from conftest import CAT, ROOT, Result, Run

from reka_cli import cli, commands, discovery
from reka_cli.exit_codes import exit_codes
from reka_cli.help.page import GROUPS, Page, command_page, program_page
from reka_cli.help.topics import TOPICS, summaries

COMMANDS = discovery.names_in(commands)
PROGRAM = typer.main.get_command(cli.application([]))
CONTEXT = typer.Context(PROGRAM, info_name="reka-cli", **PROGRAM.context_settings)
CONTEXTS = {
    name: typer.Context(command, parent=CONTEXT, info_name=name)
    for name, command in PROGRAM.commands.items()
}
PAGES: dict[str, Page] = {
    "": program_page(CONTEXT, summaries()),
    **{name: command_page(context) for name, context in CONTEXTS.items()},
    **{name: topic.page() for name, topic in TOPICS.items()},
}
OPTIONS = {
    f"{name} {entry.term}": entry
    for name in COMMANDS
    for section in PAGES[name].sections
    for entry in section.entries
    if entry.term.startswith("-")
}
EXAMPLES = [example for page in PAGES.values() for example in page.examples]
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

OnTerminal = Callable[..., str]


def words_of(example: str) -> list[str]:
    """The arguments of reka-cli in a pipeline."""
    return shlex.split(re.split(r" \|\|? ", example.partition("reka-cli ")[2])[0])


@pytest.fixture
def on_terminal(clean_env: dict[str, str]) -> OnTerminal:
    """Return what a command writes to a terminal of so many columns."""

    def on_terminal(columns: int, *arguments: str, **env: str) -> str:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        kept = {
            name: value for name, value in clean_env.items() if name not in ("NO_COLOR", "COLUMNS")
        }
        process = zygote.Popen(
            [sys.executable, "-m", "reka_cli", *arguments],
            env=kept | {"TERM": "xterm"} | env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
        )
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # Linux reports the end as EIO
            while chunk := os.read(ours, 1 << 16):
                written += chunk
        os.close(ours)
        assert process.wait(20) == 0
        return written.decode().replace("\r\n", "\n")

    return on_terminal


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_the_program_shows_its_commands_and_topics(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    named = re.findall(r"^  (\w+|help [\w-]+)  +\S", result.stdout, re.MULTILINE)

    assert (result.exit_code, result.stderr) == (0, "")
    assert named == [*COMMANDS, *(f"help {name}" for name in TOPICS)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_is_the_same_however_it_is_asked_for(run: Run, name: str) -> None:
    shown = run(name, "--help")

    assert shown.stdout.startswith(f"{PAGES[name].summary}\n\nUsage: reka-cli {name} ")
    assert [run(name, "-h"), run("help", name)] == [shown, shown]


def test_the_version_has_a_short_option(run: Run) -> None:
    assert run("-V") == run("--version")


@pytest.mark.parametrize("name", PAGES)
def test_a_summary_is_short_enough_for_the_list_of_commands(name: str) -> None:
    assert len(PAGES[name].summary) <= 60
    assert PAGES[name].summary.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_in_groups_in_the_same_order_everywhere(name: str) -> None:
    titles = [section.title for section in PAGES[name].sections]

    assert titles == [group for group in GROUPS if group in titles]
    assert "Options" not in titles or titles[-1] == "Options"


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_described_in_sentences_and_its_value_in_a_word(option: str) -> None:
    entry = OPTIONS[option]

    assert entry.meaning[:1].isupper() or entry.meaning.startswith("{")
    assert entry.meaning.endswith(".")
    assert not re.search(r"<|>=|<VALUE>|range", f"{entry.term} {entry.meaning}")


@pytest.mark.parametrize("example", [one for one in EXAMPLES if "reka-cli" in one])
def test_the_options_of_an_example_exist(example: str) -> None:
    words = words_of(example)
    context = CONTEXTS[words[0]]

    context.command.make_parser(context).parse_args(words[1:])


@pytest.mark.parametrize("example", PAGES["ask"].examples)
def test_the_examples_of_ask_run(run: Run, tmp_path: Path, example: str) -> None:
    shutil.copy(CAT, tmp_path / "cat.jpeg")

    result = run(
        *words_of(example), env={"REKA_PROVIDER": "sandbox"}, stdin=b"a diff", cwd=tmp_path
    )

    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("name", PAGES)
def test_help_fits_into_40_columns_of_a_pipe(run: Run, name: str) -> None:
    lines = run("help", *name.split(), env={"COLUMNS": "40"}).stdout.splitlines()

    assert [line for line in lines if len(line) > 40 and " " in line.strip()] == []


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", ["", "ask", "exit-codes"])
def test_help_fits_on_a_terminal(on_terminal: OnTerminal, name: str, columns: int) -> None:
    lines = ESCAPES.sub("", on_terminal(columns, "help", *name.split())).splitlines()

    terms = [entry.term for section in PAGES[name].sections for entry in section.entries]
    assert [line for line in lines if len(line) > columns] == []
    assert [
        term for term in terms if not any(line.startswith(f"│ {term} ") for line in lines)
    ] == []


def test_a_pipe_gets_no_escape_sequences_even_if_colors_are_forced(run: Run) -> None:
    assert "\x1b" not in run("ask", "-h", env={"FORCE_COLOR": "1"}).stdout


def test_a_terminal_gets_colors_unless_the_user_wants_none(on_terminal: OnTerminal) -> None:
    cyan = "\x1b[1;36m-h, --help"

    assert cyan in on_terminal(80, "ask", "-h")
    assert "36m" not in on_terminal(80, "ask", "-h", NO_COLOR="1")


def test_help_on_a_terminal_without_any_space_is_shown_all_the_same(
    on_terminal: OnTerminal,
) -> None:
    assert "--image" in on_terminal(3, "ask", "-h")


def test_every_exit_code_is_a_topic_of_help(run: Run) -> None:
    shown = run("help", "exit-codes").stdout.partition("Exit codes:\n")[2]

    numbers = [int(number) for number in re.findall(r"^  (\d+)", shown, re.MULTILINE)]
    assert numbers == [one.number for one in exit_codes()]
    assert numbers == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 70, 75, 129, 130, 141, 143]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["modles"], "there is no command 'modles'", "did you mean `reka-cli models`?"),
        (["AKS"], "there is no command 'AKS'", "did you mean `reka-cli ask`?"),
        (["xyzzy"], "there is no command 'xyzzy'", "reka-cli --help"),
        (["version"], "there is no command 'version'", "did you mean `reka-cli --version`?"),
        (["auth"], "there is no command 'auth'", "did you mean `reka-cli login`?"),
        (["list"], "there is no command 'list'", "did you mean `reka-cli models`?"),
        (["Why?"], "there is no command 'Why?'", "did you mean `reka-cli ask 'Why?'`?"),
        (
            ["help", "imges"],
            "there is no command or help topic 'imges'",
            "did you mean `reka-cli help images`?",
        ),
        (["help", "xyzzy"], "there is no command or help topic 'xyzzy'", "reka-cli help"),
        (["ask", "--modle", "x"], "there is no option --modle", "did you mean --model?"),
        (["ask", "--temp", "x"], "there is no option --temp", "did you mean --temperature?"),
        (["ask", "--json"], "there is no option --json", "did you mean --format json?"),
        (["ask", "--attachment", "x"], "there is no option --attachment", "did you mean --image?"),
        (
            ["ask", "--key", "x"],
            "there is no option --key",
            "did you mean `reka-cli login --api-key`?",
        ),
        (["ask", "--xyzzy"], "there is no option --xyzzy", "reka-cli ask --help"),
        (["ask", "-a", "x"], "there is no option -a", "reka-cli ask --help"),
        (
            ["ask", "--find me a title"],
            "there is no option --find me a title",
            "put -- before a prompt that begins with a dash: reka-cli ask -- PROMPT",
        ),
        (["--image", "x"], "there is no option --image", "--image is an option of `reka-cli ask`"),
    ],
)
def test_a_mistyped_word_leads_to_the_one_that_was_meant(
    run: Run, arguments: list[str], error: str, hint: str
) -> None:
    assert run(*arguments) == Result(2, "", f"error: {error}\nhint: {hint}\n")


def test_a_word_of_another_tool_leads_only_to_commands_that_exist() -> None:
    from reka_cli.help.suggestions import hint_for_command

    assert hint_for_command("logs", ["ask", "login"]) == "reka-cli --help"
    assert hint_for_command("logs", ["ask", "history"]) == "did you mean `reka-cli history`?"
