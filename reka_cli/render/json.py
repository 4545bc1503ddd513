"""One JSON object when all is done, and nothing on failure. Shape: docs/json.md."""

from __future__ import annotations

from typing import Any, assert_never

from reka_cli.answer import Answer
from reka_cli.escapes import json_line
from reka_cli.messages import Done, Image, Notice, ReasoningDelta, Start, TextDelta, Usage
from reka_cli.terminal import Terminal

FOR_PROGRAMS = True
SCHEMA = "reka-cli/answer/1"


def render(answer: Answer, terminal: Terminal) -> None:
    """Write the whole answer as one line of JSON, notices to stderr."""
    for event in answer:
        match event:
            case Notice(said):
                terminal.notice(said)
            case ReasoningDelta():
                terminal.show_activity("thinking")
            case TextDelta():
                terminal.show_activity("answering")
            case Start() | Usage() | Done():
                pass
            case _:
                assert_never(event)
    terminal.write(json_line(answer_object(answer)))


def answer_object(answer: Answer) -> dict[str, Any]:
    """Give all that is known of an answer that has ended."""
    usage = answer.usage
    return {
        "schema": SCHEMA,
        "provider": answer.provider,
        "model": answer.model,
        "model_served": answer.model_served,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "finish_reason": answer.finish_reason,
        "usage": usage
        and {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost_usd": usage.cost_usd,
        },
        "images": [_image(image) for image in answer.images],
        "attempts": answer.attempts,
        "first_token_s": answer.first_token_s and round(answer.first_token_s, 3),
        "total_s": round(answer.total_s, 3),
    }


def _image(image: Image) -> dict[str, Any]:
    given = image.original or image
    return {
        "name": image.name,
        "media_type": given.media_type,
        "width": given.width,
        "height": given.height,
        "bytes": given.size_bytes,
        "sha256": given.sha256,
        "sent_media_type": image.media_type,
        "sent_width": image.width,
        "sent_height": image.height,
        "sent_bytes": image.size_bytes,
        "sent_sha256": image.sha256,
    }
