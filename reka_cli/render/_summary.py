"""What `-v` reports when an answer is complete: what was sent, tokens, cost and seconds."""

from __future__ import annotations

from collections.abc import Sequence

from reka_cli.answer import Answer
from reka_cli.messages import Image
from reka_cli.terminal import Terminal


def report_summary(answer: Answer, terminal: Terminal) -> None:
    """Write a line about the images, if there are any, and one about the answer to stderr."""
    if answer.images:
        terminal.detail(_images_line(answer.images))
    terminal.detail(_answer_line(answer))


def _images_line(images: Sequence[Image]) -> str:
    original_bytes = sum((image.original or image).size_bytes for image in images)
    sent_bytes = sum(image.size_bytes for image in images)
    count = "1 image" if len(images) == 1 else f"{len(images)} images"
    sizes = _megabytes(original_bytes)
    if sent_bytes != original_bytes:
        sizes += f" → {_megabytes(sent_bytes)}"
    return f"sent {count}, {sizes}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _answer_line(answer: Answer) -> str:
    usage = answer.usage
    first_s, total_s = answer.first_token_s or 0.0, answer.total_s
    streamed_s = total_s - first_s
    parts = [answer.provider, answer.model]
    if usage:
        parts.append(f"{usage.input_tokens} tokens in, {usage.output_tokens} out")
        if usage.cost_usd is not None:
            parts.append(f"{usage.cost_usd:.6f} USD")
    parts.append(f"first word after {first_s:.1f} s, {total_s:.1f} s")
    if usage and usage.output_tokens and streamed_s > 0:
        parts.append(f"{usage.output_tokens / streamed_s:.0f} tokens/s")
    return ", ".join(parts)
