"""A page of help as a value, and how one is made from a command."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

GROUPS = ("Arguments", "Input", "Model", "Answer", "Limits", "Output", "Diagnostics", "Options")
_UNGROUPED = {"argument": "Arguments", "option": "Options"}
_EXAMPLES = "Examples:\n"

# Typer does not export the types of its commands, contexts and parameters
Context = Any
Parameter = Any


@dataclass(frozen=True)
class Entry:
    """A term, such as `-m, --model NAME`, and what it means; `default` is part of that."""

    term: str
    meaning: str
    default: str | None = None

    @property
    def note(self) -> str:
        """Return the default as it stands behind the meaning, "" without one."""
        return "" if self.default is None else f"[default: {self.default}]"


@dataclass(frozen=True)
class Section:
    """A title, and the entries below it."""

    title: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Page:
    """What help says about one command or topic: `usage` is "" for a topic."""

    summary: str
    usage: str
    examples: tuple[str, ...]
    paragraphs: tuple[str, ...]
    sections: tuple[Section, ...]


def program_page(context: Context, topics: Iterable[tuple[str, str]]) -> Page:
    """Return the page of the program. `topics` are names and summaries."""
    named = sorted(context.command.commands.items())
    commands = [Entry(name, summary_of(command)) for name, command in named]
    help_topics = [Entry(f"help {name}", summary) for name, summary in topics]
    sections = (
        Section("Commands", tuple(commands)),
        Section("Help topics", tuple(help_topics)),
        *_option_sections(context),
    )
    return _page(context, sections)


def command_page(context: Context) -> Page:
    """Return the page of a command: its arguments, and its options in groups."""
    return _page(context, _option_sections(context))


def summary_of(command: Any) -> str:
    """Return the first paragraph of the help of a command."""
    return _one_line(_paragraphs(command)[0])


def _page(context: Context, sections: tuple[Section, ...]) -> Page:
    paragraphs = _paragraphs(context.command)
    examples = [one for one in paragraphs if one.startswith(_EXAMPLES)]
    lines = [line.strip() for block in examples for line in block.splitlines()[1:]]
    rest = [_one_line(one) for one in paragraphs[1:] if one not in examples]
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    return Page(_one_line(paragraphs[0]), usage, tuple(lines), tuple(rest), sections)


def _paragraphs(command: Any) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _option_sections(context: Context) -> tuple[Section, ...]:
    groups: dict[str, list[Entry]] = {}
    parameters = [one for one in context.command.get_params(context) if not one.hidden]
    diagnostics = [one for one in parameters if one.rich_help_panel == "Diagnostics"]
    group_of_help = "Diagnostics" if diagnostics else "Options"
    for parameter in parameters:
        group = group_of_help if parameter.name == "help" else _group(parameter)
        groups.setdefault(group, []).append(_entry(parameter, context))
    known = [name for name in GROUPS if name in groups]
    others = [name for name in groups if name not in GROUPS]
    return tuple(Section(name, tuple(groups[name])) for name in [*known, *others])


def _group(parameter: Parameter) -> str:
    return parameter.rich_help_panel or _UNGROUPED[parameter.param_type_name]


def _entry(parameter: Parameter, context: Context) -> Entry:
    if parameter.name == "help":
        return Entry("-h, --help", "Show this help.")
    if parameter.param_type_name == "argument":
        name = parameter.make_metavar(context).removesuffix("...").strip("[]{}")
        return Entry(name, parameter.help or "", _default(parameter))
    spellings = [*parameter.opts, *parameter.secondary_opts]
    term = ", ".join(sorted(spellings, key=lambda one: one.startswith("--")))
    if not parameter.is_flag:
        term += f" {parameter.metavar or 'VALUE'}"
    return Entry(term, parameter.help or "", _default(parameter))


def _default(parameter: Parameter) -> str | None:
    default = parameter.default
    if not parameter.show_default or default is None or isinstance(default, bool | list | tuple):
        return None
    return f"{default:g}" if isinstance(default, float) else str(default)
