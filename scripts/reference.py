"""Write docs/reference.md: what `reka-cli help` shows, as one document."""

from __future__ import annotations

import re
from collections.abc import Iterator

import typer

from reka_cli import cli, providers
from reka_cli.help.page import Page, Section, command_page, program_page
from reka_cli.help.topics import TOPICS, summaries

_BEGINNING = """\
# Reference

This page is generated from the program by `scripts/docs`. In a terminal, `reka-cli help ask` shows
the same about a command, and `reka-cli help images` about a topic.
"""
_TYPED = re.compile(
    r"(?<![\w`/-])"
    r"(--?[a-z][a-z-]*|REKA_[A-Z_]+|\{[a-z]+\}|reka-cli help [a-z-]+|reka-cli\[[a-z]+\])"
    r"(?![\w`])"
)


def document() -> str:
    """Return the reference: the program, each command, the providers, each topic."""
    program = typer.main.get_command(cli.application(["help"]))
    context = typer.Context(program, info_name="reka-cli", **program.context_settings)
    blocks = [_BEGINNING.rstrip(), *_page("reka-cli", program_page(context, summaries()))]
    for name, command in sorted(program.commands.items()):
        page = command_page(typer.Context(command, parent=context, info_name=name))
        blocks += _page(f"reka-cli {name}", page)
    blocks += ["## Providers", _providers()]
    for name, topic in TOPICS.items():
        blocks += _page(name.replace("-", " ").capitalize(), topic.page())
    return "\n\n".join(blocks) + "\n"


def _page(title: str, page: Page) -> Iterator[str]:
    yield f"## {title}"
    yield _marked(page.summary)
    if page.usage:
        yield f"```\n{page.usage}\n```"
    if page.examples:
        yield "\n".join(["```sh", *page.examples, "```"])
    for paragraph in page.paragraphs:
        yield _marked(paragraph)
    for section in page.sections:
        if section.title != title:
            yield f"### {section.title}"
        yield _table(section)


def _table(section: Section) -> str:
    has_defaults = any(entry.default for entry in section.entries)
    titles = ["name", "meaning", "default"] if has_defaults else ["name", "meaning"]
    rows = [_row(titles), _row(["---"] * len(titles))]
    for entry in section.entries:
        cells = [f"`{entry.term}`", _marked(entry.meaning)]
        if has_defaults:
            cells.append(f"`{entry.default}`" if entry.default else "")
        rows.append(_row(cells))
    return "\n".join(rows)


def _providers() -> str:
    rows = [_row(["name", "what", "needs", "default model"]), _row(["---"] * 4)]
    for name in providers.names():
        about = providers.load(name).about
        rows.append(_row([f"`{name}`", about.what, about.needs, about.default_model]))
    return "\n".join(rows)


def _row(cells: list[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _marked(text: str) -> str:
    """Mark what is typed as code: options, variables, fields, commands, extras."""
    return _TYPED.sub(r"`\1`", text)
