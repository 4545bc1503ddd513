"""Topics of help. What they say comes from the modules that do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from reka_cli.help.page import Entry, Page, Section


class Topic(NamedTuple):
    """A topic: one line about it, and what makes its page."""

    summary: str
    page: Callable[[], Page]


def summaries() -> list[tuple[str, str]]:
    """Return the name and summary of each topic."""
    return [(name, topic.summary) for name, topic in TOPICS.items()]


def exit_code_entries() -> tuple[Entry, ...]:
    """Return an entry for each exit code, with the word for it in JSON."""
    from reka_cli.exit_codes import exit_codes

    return tuple(Entry(f"{one.number} {one.code}".rstrip(), one.meaning) for one in exit_codes())


def _exit_codes() -> Page:
    return _page(
        "exit-codes",
        "Errors are printed on stderr: one line that begins with error:, and, where there is a "
        "cure, one that begins with hint:. In the formats json and jsonl they are one line of "
        "JSON, with the word that stands beside each code here.",
        Section("Exit codes", exit_code_entries()),
        examples=(
            'reka-cli ask "What can you see?" cat.jpeg || echo "exit code $?"',
            'reka-cli ask --provider sandbox -m sandbox-429 "hello"',
        ),
    )


def _environment() -> Page:
    from reka_cli import config

    return _page(
        "environment",
        "An option takes precedence over a variable, a variable over what login stored, and "
        "that over config.toml. REKA_TOKEN takes precedence over REKA_COOKIES.",
        Section("Environment variables", _entries(config.VARIABLES.items())),
        Section("Standard variables", _entries(config.STANDARD_VARIABLES.items())),
        Section("Keys of config.toml", _entries(config.PREFERENCES.items())),
        Section("Files (on Linux)", _entries(config.FILES.items())),
        examples=(
            "export REKA_API_BASE=http://localhost:8080/v1",
            'REKA_PROVIDER=sandbox reka-cli ask "What can you see?" cat.jpeg',
        ),
    )


def _images() -> Page:
    from reka_cli.images import sources
    from reka_cli.images.formats import FORMATS

    formats = [(one.name, _how_it_is_sent(one.walk is not None, one.extra)) for one in FORMATS]
    return _page(
        "images",
        "The format is detected from the content. Files that are not images, are truncated or "
        "are too large are rejected before anything is sent. Images are rotated upright, shrunk "
        "(--max-side) and stripped of location, time and camera metadata (--keep-metadata keeps "
        "it). The web session takes one image per question.",
        Section("Sources", _entries(sources.usages())),
        Section("Names and parts", _entries(sources.AROUND)),
        Section("Formats", _entries(formats)),
        examples=(
            'reka-cli ask "What has changed?" before=old.png after=new.png',
            "reka-cli ask \"Which is the sharpest?\" 'photos/2026/*.jpg'",
            'grim - | reka-cli ask "What is on my screen?" -',
        ),
    )


TOPICS = {
    "exit-codes": Topic("Show every exit code and what it means.", _exit_codes),
    "environment": Topic("Show environment variables, config keys and files.", _environment),
    "images": Topic("Show how images are named, and which formats are read.", _images),
}


def _page(name: str, about: str, *sections: Section, examples: tuple[str, ...]) -> Page:
    return Page(TOPICS[name].summary, "", examples, (about,), sections)


def _entries(pairs: Iterable[tuple[str, str]]) -> tuple[Entry, ...]:
    return tuple(Entry(term, meaning) for term, meaning in pairs)


def _how_it_is_sent(as_is: bool, extra: str | None) -> str:
    if as_is:
        return "Sent as it is where nothing has to be changed."
    if extra:
        return f"Converted to JPEG or PNG. This needs reka-cli[{extra}]."
    return "Converted to JPEG or PNG."
