"""What the documents show is what happens."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import reference
import tables
from conftest import ROOT, Run
from faults import FAULTS
from misbehaviors import FORMATS, PROTOCOLS

import reka_cli
from reka_cli import commands, discovery
from reka_cli.sandbox import built_in_faults
from reka_cli.sandbox.built_in_faults import PREFIX

COMMANDS = discovery.names_in(commands)
README = (ROOT / "README.md").read_text()
SANDBOX = (ROOT / "docs/sandbox.md").read_text()


def consoles() -> list[list[tuple[str, str]]]:
    """The console sessions of the README, each a list of commands with what they print."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks]


@pytest.mark.parametrize("session", consoles(), ids=lambda session: session[0][0][:60])
def test_the_sessions_of_the_readme_are_real(run: Run, session: list[tuple[str, str]]) -> None:
    shown, real, exit_code = [], [], 0
    for command, output in session:
        if command == "echo $?":
            real.append(f"{exit_code}\n")
        else:
            result = run(*shlex.split(command)[1:])
            real.append(result.stdout + result.stderr)
            exit_code = result.exit_code
        shown.append(output)

    assert real == shown


def test_the_python_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})

    assert capsys.readouterr().out.endswith(
        "Your question was: What can you see? Usage(input_tokens=53, output_tokens=53, cost_usd=None) stop\n"
    )


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: path.name)
def test_what_is_generated_is_what_the_program_has(path: Path) -> None:
    text = path.read_text()

    assert tables.update(text) == text, "scripts/docs writes it anew"


def test_the_reference_is_what_the_help_shows() -> None:
    assert tables.REFERENCE.read_text() == reference.document(), "scripts/docs writes it anew"


def test_the_readme_can_be_read_in_five_minutes() -> None:
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)

    assert len(README.splitlines()) <= 150
    assert [line for line in prose.splitlines() if len(line) > 110] == []


def test_every_command_stands_in_the_readme() -> None:
    assert [name for name in COMMANDS if not re.search(rf"reka-cli {name}\b", README)] == []


def test_the_faults_that_the_documents_name_exist() -> None:
    named = set(re.findall(rf"`{PREFIX}([a-z0-9-]+)`", SANDBOX))

    assert named
    assert named - set(built_in_faults.FAULTS) == set()


def test_the_size_of_the_table_of_misbehaviors_is_right() -> None:
    size = f"{len(FAULTS)} misbehaviors × {len(PROTOCOLS)} protocols × {len(FORMATS)} formats"

    assert size in " ".join(SANDBOX.split())


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")],
    ids=lambda path: path.name,
)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_version_is_one(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"reka-cli {reka_cli.__version__}\n"
    assert version("reka-cli") == reka_cli.__version__


def test_run_time_packages_are_those_that_are_meant() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    names = [re.split(r"[<>=]", one)[0] for one in project["dependencies"]]
    assert names == [
        "typer",
        "rich",
        "markdown-it-py",
        "pygments",
        "requests",
        "urllib3",
        "browser-cookie3",
        "platformdirs",
        "pillow",
        "jsonschema-rs",
    ]
