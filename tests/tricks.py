"""What a hostile text does to a terminal, or to whoever reads it; none of it may reach one."""

from __future__ import annotations

import re

TRICKS = {
    "clipboard": "\x1b]52;c;ZWNobyBoaQ==\x07",
    "clipboard, ended by ST": "\x1b]52;p;ZWNobyBoaQ==\x1b\\",
    "clipboard, by C1": "\x9d52;c;ZWNobyBoaQ==\x9c",
    "clipboard, asked for": "\x1b]52;c;?\x07",
    "title": "\x1b]0;root@bank\x07",
    "title, asked for": "\x1b[21t",
    "link with another target": "\x1b]8;;https://evil.example/\x1b\\https://space.reka.ai/\x1b]8;;\x1b\\",
    "link that is never closed": "\x1b]8;;https://evil.example/\x07",
    "notification": "\x1b]9;you won\x07\x1b]777;notify;you;won\x1b\\",
    "working folder": "\x1b]7;file:///etc\x07",
    "palette": "\x1b]4;1;#000000\x07\x1b]10;#000000\x07\x1b]11;?\x07",
    "image of iTerm": "\x1b]1337;File=inline=1:AAAA\x07",
    "image of kitty": "\x1b_Gf=100,a=T;AAAA\x1b\\",
    "sixel": "\x1bPq#0;2;0;0;0#0~~@@vv\x1b\\",
    "key of screen": "\x1bkname\x1b\\",
    "end of a bracketed paste": "\x1b[201~rm -rf /\r",
    "begin of a bracketed paste": "\x1b[200~",
    "mouse": "\x1b[?1000h\x1b[?1006h",
    "other screen": "\x1b[?1049h",
    "cursor": "\x1b[1;1H\x1b[2J\x1b[3J\x1b[8m",
    "insert and delete": "\x1b[10P\x1b[10@\x1b[M",
    "scroll region": "\x1b[1;2r",
    "reset": "\x1bc\x1b[!p",
    "request of a setting": '\x1bP$q"p\x1b\\',
    "request of a capability": "\x1bP+q544e\x1b\\",
    "answerback": "\x05",
    "who are you": "\x1b[c\x1b[>c\x1b[6n\x1bZ",
    "music": "\x1b[MFT180O3L4CDE\x0e",
    "C1 in UTF-8": "\x9b31m\x9b2J\x90q\x9c",
    "C0": "".join(map(chr, [*range(9), 11, 12, *range(14, 27), *range(28, 32), 127])),
    "overprinting": "harmless\rharmful",
    "backspaces": "no\x08\x08yes",
    "shift out": "\x0eqqq\x0f\x1b(0\x1b)0",
    "reversed": "\u202egpj.exe\u202c",
    "isolated": "\u2066admin\u2069 \u2067// \u2068",
    "sequence in a sequence": "\x1b]0;\x1b[31m\x07\x1b[\x1b]0;x\x0731m",
    "what is left makes a sequence": "\x1b\x1b[0m[31m\x1b\x07]0;x\x07",
    "string without end": "\x1b]0;" + "x" * 5000,
    "parameters without end": "\x1b[" + "1;" * 5000 + "m",
    "half a character": "\ud83d",
}
ALL = "begin " + " . ".join(TRICKS.values()) + " end"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def forbidden(text: str) -> list[str]:
    """Give what in a text may not reach a person."""
    return [f"U+{ord(one):04X}" for one in _FORBIDDEN.findall(text)]
