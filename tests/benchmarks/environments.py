"""An environment of its own for each command, as a user would have it; versions are pinned."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reka-cli-bench"

_PIP = "pip==26.3"  # what an older one puts in front of each command imports re
_PEERS = {
    "llm": ["llm==0.36"],
    "sgpt": ["shell-gpt==1.5.1", "click==8.5.1"],  # which it imports and no longer gets with Typer
    "http": ["httpie==3.2.4"],
    "openai": ["openai==3.54.0"],
}


def peer(name: str) -> Path:
    """Give the folder with the commands of a peer."""
    return _made(name, _PEERS[name], "")


@functools.cache  # one run measures one state of the checkout
def own() -> Path:
    """Give the folder with our own command, installed from this checkout as it is now."""
    files = [ROOT / "pyproject.toml", *(ROOT / "reka_cli").rglob("*.py")]
    return _made("own", [str(ROOT)], str(max(path.stat().st_mtime_ns for path in files)))


def versions() -> dict[str, str]:
    """Give the versions of what is compared and of what it stands on."""
    pinned = dict(one.split("==") for requirements in _PEERS.values() for one in requirements)
    names = ("typer", "requests", "urllib3", "rich", "pillow")
    code = "import sys\nfrom importlib.metadata import version\nprint(*map(version, sys.argv[1:]))"
    found = subprocess.run(
        [own() / "python", "-c", code, *names], capture_output=True, text=True, check=True
    ).stdout
    return {**dict(zip(names, found.split(), strict=True)), **pinned, "curl": _curl()}


def clean() -> dict[str, str]:
    """Give an environment without anything that changes how Python starts, or where a request goes."""
    unwanted = ("PYTHON", "REKA_", "OPENAI_", "COVERAGE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}


def _curl() -> str:
    return subprocess.run(
        ["curl", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]


def _made(name: str, requirements: list[str], state: str) -> Path:
    folder = FOLDER / name
    stamp, wanted = folder / "made-of", "\n".join([sys.version, *requirements, state])
    if not stamp.exists() or stamp.read_text() != wanted:
        sys.stderr.write(f"installing {', '.join(requirements)} into {folder}\n")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys._base_executable, "-m", "venv", folder], check=True, env=clean())  # type: ignore[attr-defined]
        install = [
            str(folder / "bin/python"),
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
        ]
        for what in ([_PIP], requirements):
            subprocess.run([*install, *what], check=True, env=clean(), stdout=sys.stderr)
        stamp.write_text(wanted)
    return folder / "bin"
