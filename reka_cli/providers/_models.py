"""Lists of models: as values, from the shapes that servers send, and from a file kept for a day.

Sources: docs.reka.ai, list-models (autumn 2026: an envelope; older: a bare list); llama.cpp has the
modalities under `architecture` and the context window under `meta`; vLLM, LM Studio, LiteLLM, Groq
and OpenRouter each name the limits their own way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reka_cli.errors import BadInput, ServiceError
from reka_cli.files import hold_lock, read_state, replace_state
from reka_cli.limits.deadline import Deadline

_LIFE_S = 86_400.0
_LONGEST_LOCK_S = 1.0  # a stopped process may hold the lock for ever; the list is not worth more
_MOST_TOKENS = 1 << 53
_LONGEST_HINT = 300  # characters

_CONTEXT_KEYS = ("context_length", "max_model_len", "max_context_length", "context_window")
_OUTPUT_KEYS = ("max_output_length", "max_output_tokens", "max_completion_tokens")
# models that do not chat, by their names: LM Studio always lists an embedding model
_NOT_CHAT = re.compile(r"embed|rerank", re.IGNORECASE)


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
        """Whether the model accepts this kind of input, as far as is known."""
        return self.input_modalities is None or modality in self.input_modalities

    def cost_usd(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        """Return the cost of a question, None where a price or a count is not known."""
        if self.input_usd is None or self.output_usd is None:
            return None
        if input_tokens is None or output_tokens is None:
            return None
        cost = input_tokens * self.input_usd + output_tokens * self.output_usd
        return float(f"{cost:.10g}")  # without the noise of floating-point numbers


@dataclass(frozen=True)
class ModelList:
    """A list of models, and when it was received (seconds since the epoch).

    `server` is what the server calls itself in its list, such as "llamacpp"; often nothing.
    """

    models: tuple[Model, ...]
    got_at_s: float
    server: str = ""

    @property
    def is_fresh(self) -> bool:
        return 0 <= time.time() - self.got_at_s < _LIFE_S

    def get(self, model_id: str) -> Model | None:
        """Return the model with this name; None if the list does not name it."""
        by_id = {model.id: model for model in self.models}
        # Ollama adds :latest to a name without a tag
        return by_id.get(model_id) or by_id.get(f"{model_id}:latest")

    def find(self, model_id: str) -> Model:
        """Return the model with this name. Raises BadInput with the nearest names."""
        model = self.get(model_id)
        if model is not None:
            return model
        from difflib import get_close_matches

        names = [model.id for model in self.models]
        near = get_close_matches(model_id, names, 3, 0.4) or names[:3]
        raise BadInput(f"there is no model {model_id!r} here", hint=model_hint(near))


def default_model(models: Iterable[Model], preferred: str = "") -> Model | None:
    """Return `preferred` if it is listed, else the only model that chats; None if there are more."""
    chat = [model for model in models if "*" not in model.id and not _NOT_CHAT.search(model.id)]
    for model in chat:
        if model.id == preferred:
            return model
    return chat[0] if len(chat) == 1 else None


def model_hint(names: Iterable[str]) -> str | None:
    """Return the option that names one of these models; None without names."""
    hint = ""
    for name in names:
        longer = f"{hint} | {shlex.quote(name)}" if hint else f"-m {shlex.quote(name)}"
        if len(longer) > _LONGEST_HINT:
            break
        hint = longer
    return hint or None


def parse_models(payload: Any) -> tuple[Model, ...]:
    """Return the models of the JSON of `GET /v1/models`. Raises ServiceError for another JSON."""
    return tuple(_model(row) for row in _rows(payload))


def server_name(payload: Any) -> str:
    """Return what the server calls itself in its list of models; "" if it does not."""
    for row in _rows(payload):
        owner = row.get("owned_by")
        return owner if isinstance(owner, str) else ""
    return ""


class ModelCache:
    """The file that keeps the list of one service, one for each account."""

    def __init__(self, folder: Path, base_url: str, key: str | None) -> None:
        name = hashlib.sha256(f"{base_url}\n{key or ''}".encode()).hexdigest()[:16]
        self._path = folder / f"models-{name}.json"

    def get(self) -> ModelList | None:
        """Return the list, however old; None if there is none that can be read."""
        try:
            kept = json.loads(read_state(self._path))
            payload, got_at_s = kept["models"], float(kept["got_at_s"])
            return ModelList(parse_models(payload), got_at_s, server_name(payload))
        except (OSError, ServiceError, RecursionError):
            return None
        except (ValueError, KeyError, TypeError, OverflowError):
            return None

    def put(self, payload: Any) -> None:
        """Keep a list; a cache that cannot be written is not an error."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self._path.parent / "models.lock"
            with hold_lock(lock, Deadline.after(_LONGEST_LOCK_S)):
                replace_state(self._path, json.dumps({"got_at_s": time.time(), "models": payload}))


def _rows(payload: Any) -> list[dict[str, Any]]:
    rows = payload
    if isinstance(payload, dict):
        named = [payload[key] for key in ("data", "models") if key in payload]
        rows = next((one for one in named if one is not None), [] if named else None)
    if not isinstance(rows, list):
        raise ServiceError("the response is not a list of models")
    objects = [row if isinstance(row, dict) else {"id": row} for row in rows]
    return [{**row, "id": _name_of(row)} for row in objects if _name_of(row)]


def _name_of(row: dict[str, Any]) -> str:
    """Return the name of a model; "" if it has none that can be shown."""
    names = [row.get(key) for key in ("id", "name", "model")]
    return next((name for name in names if _is_name(name)), None) or ""


def _is_name(value: object) -> bool:
    """Whether a name can be shown: one line, without control characters."""
    return isinstance(value, str) and value.isprintable() and bool(value)


def _model(row: dict[str, Any]) -> Model:
    meta, provider = _object(row, "meta"), _object(row, "top_provider")
    prices = _object(row, "pricing")
    return Model(
        row["id"],
        _modalities(row),
        _count(row, *_CONTEXT_KEYS)
        or _count(meta, "n_ctx")
        or _count(provider, "context_length")
        or _count(row, "max_input_tokens"),
        _count(row, *_OUTPUT_KEYS) or _count(provider, "max_completion_tokens"),
        _price(prices.get("prompt")),
        _price(prices.get("completion")),
    )


def _modalities(row: dict[str, Any]) -> tuple[str, ...] | None:
    source = row if "input_modalities" in row else _object(row, "architecture")
    modalities = source.get("input_modalities")
    if not isinstance(modalities, list):
        return None
    return tuple(one.lower() for one in modalities if _is_name(one))


def _object(row: dict[str, Any], key: str) -> dict[str, Any]:
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _count(row: dict[str, Any], *keys: str) -> int | None:
    """Return the first of these numbers of tokens that is one."""
    for key in keys:
        value = row.get(key)
        if type(value) is int and 0 < value < _MOST_TOKENS:
            return value
    return None


def _price(value: object) -> float | None:
    """Return a price in USD per token from a decimal string or a number."""
    try:
        price = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return price if 0 <= price < 1 else None
