"""Code to styled lines, a part at a time: the state of the lexer is carried from one part to the next."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

from rich.style import Style

from reka_cli.render.markdown.inline import Span, visible
from reka_cli.render.markdown.style import PLAIN

_NAME = re.compile(r"[\w+#.-]+")
_LONGEST_LINE = (
    2000  # characters; some lexers take their time over more, and such a line is hardly read
)
_TAB = 4
# What begins and ends something that a lexer may know only when it sees the whole of it.
_PAIRS = (
    ("/*", "*/"),
    ("<!--", "-->"),
    ('"""', '"""'),
    ("'''", "'''"),
    ("{-", "-}"),
    ("(*", "*)"),
    ("--[[", "]]"),
)

LexerState = tuple[str, ...]  # the stack of a lexer; empty at the begin


def highlight(
    info: str, code: str, state: LexerState, plain: Style
) -> tuple[list[list[Span]], LexerState]:
    """Give the lines of a part of a code block, and the state after it; `plain` where no lexer knows `info`."""
    code = code.expandtabs(_TAB)
    lines: list[list[Span]] = [[]]
    tokens, after = _tokens(info, code, state)
    for kind, text in tokens:
        style = plain if kind is None else _style(kind)
        style = PLAIN if text.isspace() else style
        first, *more = text.split("\n")
        lines[-1].append((visible(first), style))
        lines += [[(visible(line), style)] for line in more]
    return lines, after


def is_whole(info: str, code: str, state: LexerState) -> bool:
    """Whether no end of a comment or a string, should it come next, would change how this part looks."""
    for begin, end in _PAIRS:
        if begin in code:
            now, _ = _tokens(info, code, state)
            later, _ = _tokens(info, code + end, state)
            if later[: len(now) - 1] != now[:-1]:
                return False
    return True


def _tokens(info: str, code: str, state: LexerState) -> tuple[list[tuple[Any, str]], LexerState]:
    lexer = _lexer(info)
    if lexer is None or max(map(len, code.split("\n"))) > _LONGEST_LINE:
        return [(None, code)], state
    from pygments.lexer import RegexLexer

    if isinstance(lexer, RegexLexer):
        with suppress(
            Exception
        ):  # this lexer has ways of its own: without its state it loses colors at most
            return _tokens_and_state(lexer, code, state)
    return [(kind, text) for _, kind, text in lexer.get_tokens_unprocessed(code)], ()


def _tokens_and_state(
    lexer: Any, code: str, state: LexerState
) -> tuple[list[tuple[Any, str]], LexerState]:
    from pygments.lexer import ExtendedRegexLexer, LexerContext

    context = LexerContext(
        code, 0, list(state)
    )  # the one public way to get at the state of a lexer
    tokens = [
        (kind, text)
        for _, kind, text in ExtendedRegexLexer.get_tokens_unprocessed(lexer, None, context)
    ]
    return tokens, tuple(context.stack)


@lru_cache(32)
def _lexer(info: str) -> Any:
    name = _NAME.match(info.strip())
    if name is None or name[0].lower() not in _lexer_names():
        return None
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(name[0])


@lru_cache(1)
def _lexer_names() -> frozenset[str]:
    from pygments.lexers import get_all_lexers

    return frozenset(
        alias for _, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases
    )


@lru_cache(512)
def _style(kind: Any) -> Style:
    from rich.syntax import ANSI_DARK, ANSISyntaxTheme

    return ANSISyntaxTheme(ANSI_DARK).get_style_for_token(kind)
