"""The content of a message: a text, or typed parts of text, reasoning and refusal.

Sources of the spellings: OpenAI's chat, assistants (`text: {value}`) and responses (`output_text`,
`summary_text`), Anthropic's and Mistral's `thinking`, Ollama's `thinking` beside the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reka_cli.errors import ServiceError

# fields of a message; at Reka the first two, depending on the model (2026-10)
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
# fields of a typed part that can hold its text, in the order of preference
_TEXT_FIELDS = ("text", "thinking", "reasoning", "summary", "refusal", "content", "value")
_REASONING_WORDS = ("think", "thought", "reason", "summary")
_DEEPEST = 8  # parts in parts
_NO_TEXT = "the service sent an answer whose text is no text"


class Content(NamedTuple):
    """What a message or a delta says; it is empty, and false, if it says nothing."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.refusal)


NOTHING = Content()


def read_message(message: Mapping[str, Any]) -> Content:
    """Return the content of a message or delta. Raises ServiceError for what is not text."""
    content = message.get("content")
    reasoning = refusal = ""
    if content is None:
        text = ""
    elif isinstance(content, str):
        text = content
    else:
        text, reasoning, refusal = read_content(content)
    for field in _REASONING_FIELDS:
        value = message.get(field)
        if value:
            reasoning += _read_reasoning(value)
            break
    if message.get("refusal"):
        refusal += _read_text(message["refusal"], _DEEPEST)
    return Content(text, reasoning, refusal)


def read_content(content: object) -> Content:
    """Return a content that is a text, a typed part or a list of these.

    Raises ServiceError for everything else: something of the answer would be missing.
    """
    parts = content if isinstance(content, list) else [content]
    texts: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for part in parts:
        kind = "text"
        if isinstance(part, dict):
            kind = _kind(part)
        texts[kind].append(_read_text(part, _DEEPEST))
    return Content(*("".join(pieces) for pieces in texts.values()))


def _kind(part: dict[str, Any]) -> str:
    name = str(part.get("type") or "text").lower()
    if "refus" in name:
        return "refusal"
    if any(word in name for word in _REASONING_WORDS):
        return "reasoning"
    if part.get("text") is None and (part.get("thinking") or part.get("reasoning")):
        return "reasoning"
    return "text"


def _read_text(value: object, depth: int) -> str:
    """Return the text of a part, of parts in it, or of an object like `{"value": "text"}`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return "".join(_read_text(one, depth - 1) for one in value)
    if isinstance(value, dict) and depth:
        return _read_text_of_part(value, depth - 1)
    raise ServiceError(_NO_TEXT)


def _read_text_of_part(part: dict[str, Any], depth: int) -> str:
    fields = [field for field in _TEXT_FIELDS if field in part]
    for field in fields:
        if part[field]:
            return _read_text(part[field], depth)
    kind = part.get("type")
    is_redacted = isinstance(kind, str) and any(word in kind.lower() for word in _REASONING_WORDS)
    if fields or is_redacted:
        return ""
    if isinstance(kind, str) and kind.isprintable() and kind.isascii():
        raise ServiceError(f"the service sent a part of type {kind[:40]!r}, which is no text")
    raise ServiceError(_NO_TEXT)


def _read_reasoning(value: object) -> str:
    """Return reasoning, and nothing for what is not text: nobody depends on it."""
    if isinstance(value, str):
        return value
    try:
        return _read_text(value, _DEEPEST)
    except ServiceError:
        return ""
