"""What a batch may cost, and what it has cost so far."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from reka_cli.errors import UsageError

# assumed where nothing was measured yet: English text, and an image of about a megapixel
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_IMAGE = 1_000
_TOKENS_OF_ANSWER = 500


@dataclass(frozen=True)
class Price:
    """USD per token."""

    input_usd: float
    output_usd: float

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read `IN/OUT`, in USD per million tokens. Raises UsageError if it is something else."""
        try:
            put_in, put_out = (float(one) for one in text.split("/"))
        except ValueError:
            put_in = put_out = -1.0
        if not (0 <= put_in < 1e6 and 0 <= put_out < 1e6):
            message = f"--price must be IN/OUT in USD per million tokens, not {text!r}"
            raise UsageError(message, hint="--price 0.20/0.60")
        return cls(put_in / 1e6, put_out / 1e6)

    def cost_usd(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        if input_tokens is None or output_tokens is None:
            return None
        return input_tokens * self.input_usd + output_tokens * self.output_usd


def estimate_tokens(prompt: str, images: int, max_tokens: int | None) -> tuple[int, int]:
    """Return the assumed number of input and output tokens of one question."""
    put_in = len(prompt) // _CHARACTERS_PER_TOKEN + images * _TOKENS_PER_IMAGE
    return put_in, max_tokens or _TOKENS_OF_ANSWER


class Budget:
    """Counts costs, and keeps a run below `most_usd`; safe from many threads.

    A question reserves its estimate before it is sent, so that those on their way cannot overshoot.
    The estimate is the highest cost seen so far, or `first_estimate_usd` before that.
    """

    def __init__(self, most_usd: float | None = None, first_estimate_usd: float = 0.0) -> None:
        self.spent_usd = 0.0
        self.is_exhausted = False
        self._most_usd = most_usd
        self._estimate_usd = first_estimate_usd
        self._highest_usd = 0.0
        self._reserved_usd = 0.0
        self._open = 0  # reservations
        self._lock = threading.Lock()

    def reserve(self) -> float | None:
        """Set the estimate of one question aside and return it; None if there is no money left."""
        with self._lock:
            estimate = self._highest_usd or self._estimate_usd
            committed = self.spent_usd + self._reserved_usd
            if self._most_usd is not None and committed + estimate > self._most_usd:
                if not self._open:
                    self.is_exhausted = True
                return None
            self._reserved_usd += estimate
            self._open += 1
            return estimate

    def settle(self, reserved_usd: float, cost_usd: float | None, attempts: int = 1) -> None:
        """Replace the estimate of a question by its cost, None if it is unknown."""
        with self._lock:
            self._open -= 1
            self._reserved_usd = self._reserved_usd - reserved_usd if self._open else 0.0
            if cost_usd is not None:
                self.spent_usd += cost_usd
                self._highest_usd = max(self._highest_usd, cost_usd)
            elif attempts and self._most_usd is not None:
                self.spent_usd += reserved_usd  # it may have been charged
