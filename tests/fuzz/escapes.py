"""Foreign texts for a terminal: wherever they are cut, they are cleaned the same, and nothing in them controls one."""

from __future__ import annotations

import json
import random
import re

from fuzz._draw import cut, joined
from reka_cli.escapes import LONGEST_STRING, Cleaner, clean, json_line

PARTS = (
    *("\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b_", "\x1b\\", "\x1bc", "\x1b(", "\x9b", "\x9c", "\x9d", "\x90", "\x07"),
    *("\x00", "\x08", "\x7f", "\x85", "[", "]", "\\", "3", "1;", "m", "(", " ", "\n", "\r", "\t", "é", "🐈", "52;c;", "?"),
    *("\u202e", "\u2066", "\u200f", "\ud83d", "\udc00", "x" * (LONGEST_STRING - 1), "x" * 40, "1" * 60, " " * 8),
)  # fmt: skip
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def once(data: random.Random) -> None:
    text = joined(data, PARTS)
    whole, cleaner = clean(text), Cleaner()
    pieces = "".join([*map(cleaner.feed, cut(data, text)), cleaner.flush()])
    assert pieces == whole, ascii(text)
    assert not CONTROLS.search(whole), ascii(text)
    assert clean(whole) == whole, ascii(text)
    in_json = json.loads(json_line(text))
    assert in_json.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass"), (
        ascii(text)
    )
