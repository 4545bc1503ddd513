"""What a mistyped word was meant to be: the closest one, or ours for the word of another tool."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_COMMANDS = {  # words of other tools, and the command that does it here
    "auth": "login",
    "signin": "login",
    "sign-in": "login",
    "keys": "login",
    "signout": "logout",
    "sign-out": "logout",
    "whoami": "status",
    "list": "models",
    "ls": "models",
    "logs": "history",
    "prompt": "ask",
    "run": "ask",
    "query": "ask",
    "describe": "ask",
    "serve": "sandbox",
    "server": "sandbox",
    "topics": "help",
    "version": "--version",
    "env": "help environment",
    "config": "help environment",
}
_LONGEST_SHOWN = 60  # characters of a question in a hint
_OPTIONS = {  # options of other tools
    "--attachment": "--image",
    "--file": "--image",
    "--img": "--image",
    "--image": "--image",
    "--instructions": "--system",
    "--system-prompt": "--system",
    "--max-output-tokens": "--max-tokens",
    "--num-predict": "--max-tokens",
    "--out": "--output",
    "--json-schema": "--schema",
    "--json": "--format json",
    "--key": "login --api-key",
}


def hint_for_command(word: str, commands: Iterable[str]) -> str:
    """Return a hint for a word that is not a command."""
    known = [*commands]
    if " " in word.strip() or word.endswith("?"):
        question = shlex.quote(word) if len(word) <= _LONGEST_SHOWN else "PROMPT"
        return f"did you mean `reka-cli ask {question}`?"
    meant = _COMMANDS.get(word.lower()) or _closest(word.lower(), known)
    if meant and (meant.startswith("-") or meant.split()[0] in known):
        return f"did you mean `reka-cli {meant}`?"
    return "reka-cli --help"


def hint_for_topic(word: str, names: Iterable[str]) -> str:
    """Return a hint for a word that is neither a command nor a topic of help."""
    close = _closest(word.lower(), names)
    return f"did you mean `reka-cli help {close}`?" if close else "reka-cli help"


def hint_for_option(option: str, command: str, options: Mapping[str, Iterable[str]]) -> str:
    """Return a hint for an option that `command` does not have.

    `options` has the options of each command that could be meant.
    """
    if " " in option:
        return f"put -- before a prompt that begins with a dash: {command} -- PROMPT"
    known = [one for one in options[command] if one.startswith("--")]
    other = _OPTIONS.get(option)
    if other and other.split()[0] in known:
        return f"did you mean {other}?"
    if other and other.startswith("login"):
        return f"did you mean `reka-cli {other}`?"
    close = _closest(option, known) if option.startswith("--") else None
    if close:
        return f"did you mean {close}?"
    owners = [name for name in options if option in options[name]]
    if owners:
        return f"{option} is an option of `{owners[0]}`"
    return f"{command} --help"


def _closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that begins with `word`, else the most similar one."""
    names = {name.lstrip("-"): name for name in known}
    bare = word.lstrip("-")
    if not bare:
        return None
    beginning = [name for name in names if len(bare) > 1 and name.startswith(bare)]
    matches = beginning or get_close_matches(bare, names, n=1)
    return names[matches[0]] if matches else None
