"""Inline Markdown to styled text: everything of it is shown, and nothing of it controls a terminal."""

from __future__ import annotations

import re
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from rich.style import Style

from reka_cli.escapes import clean
from reka_cli.render.markdown.style import Palette

Span = tuple[str, Style]  # "\n" in a text is a line break that the author wants

# What shows nothing, or turns the order of what is shown; joiners and the selectors of emoji are wanted and stay.
# Source: Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, UAX #9, and the line separators
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_UNDECIDED = re.compile(
    r"`|\]\(|<[A-Za-z/!?]"
)  # what later text may turn into code, a link or HTML
_STYLES = {"strong_open": "strong", "em_open": "em", "s_open": "s"}


def visible(text: str) -> str:
    """Give a text as it may be shown: one line, without control characters, and with what would hide shown."""
    if text.isascii() and text.isprintable():
        return text
    text = clean(text.replace("\n", " ").replace("\t", " "))
    return _HIDDEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


class Inline:
    """Reads the inline part of Markdown."""

    def __init__(self, markdown: MarkdownIt, palette: Palette) -> None:
        self._markdown = markdown
        self._palette = palette
        self.characters = 0  # read so far

    def spans(self, text: str, env: dict[str, Any], base: Style) -> list[Span]:
        """Give a text as styled spans."""
        return self._spans(self._read(text, env).tokens, base)

    def settled_spans(self, text: str, env: dict[str, Any], base: Style) -> tuple[list[Span], bool]:
        """Give the same for a text that goes on after a space, and whether what follows can no longer change it."""
        state = self._read(text, env)
        return self._spans(state.tokens, base), _is_settled(state)

    def _read(self, text: str, env: dict[str, Any]) -> StateInline:
        self.characters += len(text)
        state = StateInline(text, self._markdown, env, [])
        self._markdown.inline.tokenize(state)
        for rule in self._markdown.inline.ruler2.getRules(""):
            rule(state)
        return state

    def _spans(self, tokens: list[Token], base: Style) -> list[Span]:
        spans: list[Span] = []
        styles = [base]
        links: list[tuple[Token, int]] = []
        for token in tokens:
            kind = token.type
            if kind == "link_open":
                links.append((token, len(spans)))
                styles.append(styles[-1] + self._palette.style("link"))
            elif kind == "link_close":
                styles.pop()
                opened, first = links.pop()
                spans += self._target(
                    opened, "".join(text for text, _ in spans[first:]), styles[-1]
                )
            elif token.nesting > 0:
                styles.append(styles[-1] + self._palette.style(_STYLES[kind]))
            elif token.nesting < 0:
                styles.pop()
            elif kind == "image":
                spans += self._image(token, styles[-1])
            else:
                spans.append(self._span(token, styles[-1]))
        return spans

    def _span(self, token: Token, style: Style) -> Span:
        match token.type:
            case "softbreak":
                return (" ", style)
            case "hardbreak":
                return ("\n", style)
            case "code_inline":
                return (visible(token.content), style + self._palette.style("code"))
            case "html_inline" if _BREAK.fullmatch(token.content):
                return ("\n", style)
            case _:
                return (visible(token.content), style)

    def _target(self, opened: Token, text: str, style: Style) -> list[Span]:
        """Where a link leads, if its text does not say so."""
        address, title = str(opened.attrs.get("href", "")), str(opened.attrs.get("title", ""))
        if not title and address in (text, f"mailto:{text}", self._markdown.normalizeLink(text)):
            return []
        return self._address(address, title, style)

    def _image(self, token: Token, style: Style) -> list[Span]:
        """An image is its description and where it would come from; nothing is fetched."""
        described = self._spans(token.children or [], style) or [("image", style)]
        return described + self._address(
            str(token.attrs.get("src", "")), str(token.attrs.get("title", "")), style
        )

    def _address(self, address: str, title: str, style: Style) -> list[Span]:
        shown = visible(address) + (f' "{visible(title)}"' if title else "")
        return [(" (", style), (shown, style + self._palette.style("link_url")), (")", style)]


def _is_settled(state: StateInline) -> bool:
    if any(mark.open and mark.end < 0 for mark in state.delimiters):
        return False
    literal = "".join(token.content for token in state.tokens if token.type == "text")
    return literal.count("[") <= literal.count("]") and not _UNDECIDED.search(literal)
