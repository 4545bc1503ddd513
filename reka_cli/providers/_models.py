"""Lists of models: as values, from both shapes that servers send, and from a file that is kept for a day.

Source: docs.reka.ai, list-models (autumn 2026: an envelope; older: a bare list); llama.cpp puts the modalities under
`architecture`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reka_cli.errors import BadInput, ServiceError
from reka_cli.files import hold_lock, read_state, replace_state
from reka_cli.limits.deadline import Deadline

_LIFE_S = 86_400.0
_LONGEST_LOCK_S = 1.0  # a stopped process may hold the lock for ever; the list is not worth more
_MOST_TOKENS = 1 << 53


@dataclass(frozen=True)
class Model:
    """One model; what the list does not tell is None. Prices are USD per token."""

    id: str
    input_modalities: tuple[str, ...] | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    input_usd: float | None = None
    output_usd: float | None = None

    def takes(self, modality: str) -> bool:
        """Whether it takes this kind of input, as far as is known."""
        return self.input_modalities is None or modality in self.input_modalities

    def cost_usd(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        if None in (self.input_usd, self.output_usd, input_tokens, output_tokens):
            return None
        return (input_tokens or 0) * (self.input_usd or 0) + (output_tokens or 0) * (
            self.output_usd or 0
        )


@dataclass(frozen=True)
class ModelList:
    """A list of models, and when it was got (seconds since the epoch)."""

    models: tuple[Model, ...]
    got_at_s: float

    @property
    def is_fresh(self) -> bool:
        return 0 <= time.time() - self.got_at_s < _LIFE_S

    def find(self, model_id: str) -> Model:
        """Give one model; raise BadInput with the nearest names if it is not in the list."""
        by_id = {model.id: model for model in self.models}
        for name in (model_id, f"{model_id}:latest"):  # which Ollama adds to a name without a tag
            if name in by_id:
                return by_id[name]
        from difflib import get_close_matches

        near = get_close_matches(model_id, by_id, 3, 0.4) or list(by_id)[:3]
        raise BadInput(
            f"there is no model {model_id!r} here", hint=f"-m {' | '.join(near)}" if near else None
        )


def parse_models(payload: Any) -> tuple[Model, ...]:
    """Read the JSON of `GET /v1/models`; raise ServiceError if it is no list of models."""
    rows = payload.get("data") if isinstance(payload, dict) else payload
    if not isinstance(rows, list):
        raise ServiceError("the service sent no list of models")
    return tuple(_model(row) for row in rows if isinstance(row, dict) and _is_name(row.get("id")))


class ModelCache:
    """Where the list of one service is kept between questions, a file for each account."""

    def __init__(self, folder: Path, base_url: str, key: str | None) -> None:
        name = hashlib.sha256(f"{base_url}\n{key or ''}".encode()).hexdigest()[:16]
        self._path = folder / f"models-{name}.json"

    def get(self) -> ModelList | None:
        try:
            kept = json.loads(read_state(self._path))
            return ModelList(parse_models(kept["models"]), float(kept["got_at_s"]))
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
            ServiceError,
        ):
            return None

    def put(self, payload: Any) -> None:
        """Keep a list; that it cannot be kept is nobody's error."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self._path.parent / "models.lock"
            with hold_lock(lock, Deadline.after(_LONGEST_LOCK_S)):
                replace_state(self._path, json.dumps({"got_at_s": time.time(), "models": payload}))


def _is_name(value: object) -> bool:
    """Whether it is a name that can be shown: one line, nothing that controls a terminal."""
    return isinstance(value, str) and value.isprintable() and bool(value)


def _model(row: dict[str, Any]) -> Model:
    architecture = row.get("architecture")
    told = row if "input_modalities" in row or not isinstance(architecture, dict) else architecture
    modalities, pricing = told.get("input_modalities"), row.get("pricing")
    prices = pricing if isinstance(pricing, dict) else {}
    return Model(
        row["id"],
        tuple(one.lower() for one in modalities if _is_name(one))
        if isinstance(modalities, list)
        else None,
        _count(row.get("context_length")),
        _count(row.get("max_output_length")),
        _price(prices.get("prompt")),
        _price(prices.get("completion")),
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value < _MOST_TOKENS else None


def _price(value: object) -> float | None:
    """Read a decimal string, USD per token."""
    try:
        price = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return price if 0 <= price < 1 else None
