"""An answer in Markdown, of any length and always the same."""

from __future__ import annotations

import random

_WORDS = [
    "the",
    "cat",
    "sits",
    "on",
    "a",
    "**wall**",
    "of",
    "`stone`",
    "and",
    "_looks_",
    "at",
    "the",
    "sea,",
    "while",
    "[gulls](https://x.y)",
    "pass",
]


def answer(size: int, seed: int = 7) -> str:
    """Give an answer of about `size` characters with a bit of everything."""
    chance = random.Random(seed)
    text = ""
    while len(text) < size:
        sentence = " ".join(chance.choice(_WORDS) for _ in range(chance.randrange(5, 60)))
        rows = range(chance.randrange(2, 9))
        text += chance.choice(
            [
                f"{sentence}.\n\n",
                f"## {sentence[:40]}\n\n",
                "".join(f"- {sentence[:50]} {row}\n" for row in rows) + "\n",
                "".join(f"{row + 1}. {sentence[:70]}\n" for row in rows) + "\n",
                "```python\n"
                + "".join(f"def f{row}():\n    return {row}\n" for row in rows)
                + "```\n\n",
                "| a | b |\n|---|---|\n"
                + "".join(f"| {row} | {sentence[:20]} |\n" for row in rows)
                + "\n",
                f"> {sentence}\n\n",
            ]
        )
    return text
