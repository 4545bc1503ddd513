"""The clients, and how each is asked over the protocol of the API: a command, its environment, its files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
QUESTION = "hello"
PATIENCE_S = 10


@dataclass(frozen=True)
class Client:
    """A client at its version; `ask` gives the command and the environment for a model of a base URL."""

    name: str
    version: str
    ask: Callable[[str, str, Path], tuple[list[str], dict[str, str]]]


def clients(home: Path) -> list[Client]:
    """Give ours, and those of others that are installed in `home`."""
    found = [Client("reka-cli", _version([sys.executable, "-m", "reka_cli", "--version"]), _reka)]
    for package, ask in (("llm==0.36", _llm), ("shell-gpt==1.5.1", _sgpt)):
        if (home / package / ".made").exists():
            name, _, version = package.partition("==")
            found.append(
                Client(name, version, lambda *asked, a=ask, b=home / package / "bin": a(b, *asked))
            )
    return found


def _version(command: list[str]) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()[1]


def _reka(base: str, model: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    command = [
        sys.executable,
        "-m",
        "reka_cli",
        "ask",
        "-m",
        model,
        "--timeout",
        str(PATIENCE_S),
        QUESTION,
    ]
    return command, {"REKA_HOME": str(folder), "REKA_API_BASE": base, "PYTHONPATH": str(ROOT)}


def _llm(programs: Path, base: str, model: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    listed = f"- model_id: {model}\n  model_name: {model}\n  api_base: {base}\n"
    (folder / "extra-openai-models.yaml").write_text(listed)
    return [str(programs / "llm"), "-m", model, QUESTION], {
        "LLM_USER_PATH": str(folder),
        "OPENAI_API_KEY": "none",
    }


def _sgpt(programs: Path, base: str, model: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    settings = folder / ".config/shell_gpt/.sgptrc"
    settings.parent.mkdir(parents=True)
    wanted = {
        "OPENAI_API_KEY": "none",
        "API_BASE_URL": base,
        "DEFAULT_MODEL": model,
        "CACHE_PATH": str(folder / "cache"),
        "CHAT_CACHE_PATH": str(folder / "chats"),
        "ROLE_STORAGE_PATH": str(folder / "roles"),
        "OPENAI_FUNCTIONS_PATH": str(folder / "functions"),
        "OPENAI_USE_FUNCTIONS": "false",
        "REQUEST_TIMEOUT": str(PATIENCE_S),
        "USE_LITELLM": "false",
        "DISABLE_STREAMING": "false",
        "PRETTIFY_MARKDOWN": "false",
    }
    settings.write_text("".join(f"{name}={value}\n" for name, value in wanted.items()))
    command = [
        str(programs / "sgpt"),
        "--model",
        model,
        "--no-md",
        "--no-cache",
        "--no-functions",
        QUESTION,
    ]
    return command, {"HOME": str(folder), "OPENAI_API_KEY": "none"}
