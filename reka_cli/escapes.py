"""What of a foreign text may reach a terminal: no control characters, no escape sequences, not even cut in two.

What changes the direction of a text (embeddings, overrides, isolates) is shown by its name, `<U+202E>`: it can make a
line read as what it is not, also on the terminal of whoever opens a file later, so a pipe makes no difference. It is
not dropped, for it may be the very thing that was asked about. Right-to-left letters and the marks U+200E, U+200F and
U+061C stay, which is enough for Arabic and Hebrew; the formats for programs keep everything. Half a character becomes
U+FFFD.

Sources: ECMA-48 (5th edition, 1991) 5.3 to 5.6; xterm's ctlseqs for OSC ended by BEL; Unicode Standard Annex 9, 2;
Boucher and Anderson, "Trojan Source" (2021).
"""

from __future__ import annotations

import json
import re
from typing import Any

# A string sequence (OSC, DCS, SOS, PM, APC) nobody ends would swallow the rest of an answer: past this, or at the
# end of its line, it is taken for text again.
LONGEST_STRING = 4096

# its body has no introducer of another one, so that a run of them is not searched again from each
_STRING_BEGIN = (
    rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\n\x90\x98\x9c-\x9f]{{0,{LONGEST_STRING}}}"
)
_CONTROL_BEGIN = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
_ESCAPE_BEGIN = r"\x1b[ -/]{0,8}"
_UNWANTED = rf"{_STRING_BEGIN}(?:[\x07\x9c]|\x1b\\)|{_CONTROL_BEGIN}[@-~]|{_ESCAPE_BEGIN}[0-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_NOT_ESCAPED_BY_JSON = "[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_TURNS = "[\u202a-\u202e\u2066-\u2069]"
_CREDENTIALS = r"[^/\s:@]*:(?!//)[^\s@]*@"
_HALVES = "[\ud800-\udfff]"
_UNFINISHED = rf"(?:{_STRING_BEGIN}\x1b?|{_CONTROL_BEGIN}|{_ESCAPE_BEGIN})\Z"


_encode_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes one each time


# Unicode prints these as nothing (fillers, variation selectors, blank Braille), and Python calls them printable
_INVISIBLE = (
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d159\U000e0100-\U000e01ef]"
)


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen: blanks, controls and characters without width."""
    if text[:1].isascii() and text[:1].isalnum():
        return False  # nearly always
    without_turns = re.sub(_TURNS, "", text)  # which `clean` makes visible
    visible = re.sub(_INVISIBLE, "", clean(without_turns))
    return not any(one.isprintable() and one != " " for one in visible)


def clean(text: str) -> str:
    """Remove controls (C0 but newline and tab, DEL, C1) and whole escape sequences, and show changes of direction."""
    if _is_plain(text):
        return text
    seen = re.sub(_TURNS, lambda turn: f"<U+{ord(turn[0]):04X}>", re.sub(_UNWANTED, "", text))
    return re.sub(_HALVES, "\ufffd", seen)


def json_line(value: Any) -> str:
    """Give a value as one line of JSON, control characters, half characters and changes of direction escaped."""
    text = _encode_json(value)
    return re.sub(_NOT_ESCAPED_BY_JSON, lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def hide_password(text: str) -> str:
    """Return a text, such as a mistyped URL, with `***@` for every `user:password@` in it."""
    return re.sub(_CREDENTIALS, "***@", text)


def one_line(text: str, longest: int = 80) -> str:
    """Give a foreign name as one short line: nothing invisible in it, and its middle left out if it is long."""
    shown = "".join(
        one if one.isprintable() else " " if one.isspace() else "?" for one in clean(text)
    ).strip()
    if len(shown) <= longest:
        return shown
    head = longest // 2
    return f"{shown[:head]}…{shown[head + 1 - longest :]}"


class Cleaner:
    """The same for a text that comes in pieces: holds back a sequence until its end is seen."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Give what of the text so far is new and safe."""
        text = self._held + piece if self._held else piece
        if _is_plain(text):
            self._held = ""
            return text
        where = max(0, len(text) - LONGEST_STRING - 4)  # not from the begin: the text may be long
        unfinished = re.search(_UNFINISHED, text[where:])
        cut = where + unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return clean(text[:cut])

    def flush(self) -> str:
        """Give what was held back, as text, now that nothing more comes."""
        held, self._held = self._held, ""
        return clean(held)


def _is_plain(text: str) -> bool:
    """Whether there is nothing to remove, as nearly always; the patterns are compiled where there is."""
    return text.replace(
        "\n", ""
    ).isprintable()  # of Unicode: no controls, formats or halves of a pair
