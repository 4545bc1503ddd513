"""Markdown to blocks: markdown-it with nothing of the text lost, and no look inside the lines yet.

Source: CommonMark 0.31 and the tables and strikethrough of GitHub Flavored Markdown, as markdown-it-py reads them.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, reference, table
from markdown_it.rules_block.table import escapedSplit, getLine
from markdown_it.token import Token

DEEPEST = 40  # levels of nesting, a list takes two: markdown-it recurses, and a terminal has no room for more
References = MutableMapping[str, dict[str, Any]]


@dataclass
class Block:
    """A block and where it stands: `line` to `end` in the source, `begin` the character it begins at, past all marks.

    `text` is the source of a paragraph, a heading or a cell, and the content of what is shown as it stands.
    """

    kind: str
    token: Token
    line: int
    end: int
    begin: int
    text: str = ""
    children: list[Block] = field(default_factory=list)


class ParsedText:
    """A text, its blocks, and the link definitions in it, beside those that were `known` before."""

    def __init__(self, text: str, blocks: list[Block], own: References, known: References) -> None:
        self.text = text
        self.blocks = blocks
        self._own = own
        self._known = known
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def start(self, line: int) -> int:
        """Where a line begins; the end of the text for one that is not there."""
        return self._starts[line] if line < len(self._starts) else len(self.text)

    def lines(self, first: int, end: int | None = None) -> str:
        """Give lines as they stand, to the end of the text without an `end`."""
        return self.text[self.start(first) : None if end is None else self.start(end)]

    def line(self, line: int) -> str:
        return self.lines(line, line + 1).removesuffix("\n")

    def env(self, line: int) -> dict[str, Any]:
        """Give what the text of a block at a line is to be read with: the definitions that stand before it.

        Those that follow it do not count, for it may have been on the screen before they came.
        """
        own = {label: found for label, found in self._own.items() if found["map"][1] <= line}
        return {"references": ChainMap(own, self._known)}

    def is_blank(self, line: int, *, is_quoted: bool) -> bool:
        """Whether a line holds nothing, in a quotation nothing but its mark."""
        return not self.line(line).strip(" \t>" if is_quoted else " \t")


class Parser:
    """Reads blocks; `references` are the link definitions of what was read and finished before."""

    def __init__(self) -> None:
        self.references: References = {}
        self.markdown = MarkdownIt("commonmark", {"maxNesting": DEEPEST + 20}).enable(
            ["table", "strikethrough"]
        )
        rules = self.markdown.block.ruler
        rules.at("table", _table, {"alt": ["paragraph", "reference"]})
        rules.at("reference", _reference)
        rules.before("table", "begin", _begin)

        self.characters = 0  # read so far

    def read(self, text: str) -> ParsedText:
        """Read the blocks of a text."""
        self.characters += len(text)
        env: dict[str, Any] = {"references": ChainMap({}, self.references), "begins": {}}
        tokens: list[Token] = []
        whole = (
            text if text.endswith("\n") else text + "\n"
        )  # markdown-it-py 4.3 fails on "> <!--" and a line with blanks
        self.markdown.block.parse(whole, self.markdown, env, tokens)
        return ParsedText(
            text, _tree(tokens, env["begins"]), env["references"].maps[0], self.references
        )

    def keep_references(self, source: ParsedText, before_line: int) -> None:
        """Take over, for good, the link definitions that stand before a line."""
        self.references.update(source.env(before_line)["references"].maps[0])


def _tree(tokens: list[Token], begins: dict[int, int]) -> list[Block]:
    root = Block("root", tokens[0] if tokens else Token("", "", 0), 0, 0, 0)
    open_blocks = [root]
    for index, token in enumerate(tokens):
        parent = open_blocks[-1]
        if token.nesting < 0:
            open_blocks.pop()
        elif token.type == "inline":
            parent.text = token.content
        else:
            line, end = token.map or (parent.line, parent.end)
            kind = token.type.removesuffix("_open")
            block = Block(kind, token, line, end, begins.get(index, parent.begin), token.content)
            parent.children.append(block)
            if token.nesting > 0:
                open_blocks.append(block)
    return root.children


def _begin(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Note where a block begins; what is nested too deep is shown as it stands, where markdown-it would drop it."""
    if silent:
        return False
    state.env["begins"][len(state.tokens)] = state.bMarks[line] + state.tShift[line]
    if state.level < DEEPEST:
        return False
    first = line
    while line < end and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
        line += 1
    state.line = max(line, first + 1)
    _literal(state, first)
    return True


def _reference(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Read a link definition, and show it too: the text that it belongs to may be on the screen already."""
    if not reference(state, line, end, silent):
        return False
    if not silent:
        _literal(state, line)
    return True


def _literal(state: StateBlock, first: int) -> None:
    token = state.push("literal", "", 0)
    token.map = [first, state.line]
    token.content = state.getLines(first, state.line, state.blkIndent, False)


def _table(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Read a table, and put cells that have no column into the last one, where the standard drops them."""
    before = len(state.tokens)
    if not table(state, line, end, silent):
        return False
    columns = 0
    cell: Token | None = None
    for token in state.tokens[before:]:
        columns += token.type == "th_close"
        if token.type == "inline":
            cell = token
        elif token.type == "tr_close" and cell and cell.map:
            cell.content = " | ".join(
                [cell.content, *_cells(getLine(state, cell.map[0]).strip(), columns)[columns:]]
            )
    return True


def _cells(line: str, columns: int) -> list[str]:
    if (
        line[0] == line[-1] == "|" and line.count("|") == columns + 1
    ):  # as all rows are; to split one is slow
        return []
    cells = escapedSplit(line)
    if cells and not cells[0]:
        del cells[0]
    if cells and not cells[-1]:
        del cells[-1]
    return [cell.strip() for cell in cells]
