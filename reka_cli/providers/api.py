"""The OpenAI-compatible API: Reka's own with a key, or any server that speaks it.

Sources: docs/protocols.md, B (Reka's documentation, what others measured in 2026) and C (vLLM, llama.cpp and others).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

from reka_cli.config import Config
from reka_cli.credentials import ApiAccess, api_access, stored_source
from reka_cli.errors import (
    BadInput,
    DeadlineExceeded,
    IncompleteAnswer,
    NetworkError,
    NotLoggedIn,
    RekaError,
    ServiceError,
    UsageError,
    release_frames,
)
from reka_cli.hosts import is_reka_host
from reka_cli.limits.call import Call
from reka_cli.messages import (
    ChatRequest,
    Done,
    Events,
    Message,
    Notice,
    Start,
    Usage,
)
from reka_cli.providers import About, Log, Status
from reka_cli.providers._chat_chunks import ChatAnswer
from reka_cli.providers._models import Model, ModelCache, ModelList, parse_models
from reka_cli.providers._stream import json_objects, tokens
from reka_cli.transport import Body, ConnectionPool, DataUrl, Response, Transport, json_body

KEY_HINT = "reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=..."

_DEFAULT_MODEL = "reka-edge-2603"
_MOST_IMAGES = {
    "reka-edge-2603": 3
}  # at Reka: docs.reka.ai/chat/multimodal, autumn 2026; servers of one's own differ
_LIST_WAIT_S = 5.0  # for a list that only saves a refusal later
_LIST_PAUSE_S = 60.0  # after a failure to get it
_AFTER_THE_END_S = 2.0  # usage may still come after `finish_reason`; it is not worth more


class Api:
    """An OpenAI-compatible server, Reka's unless `REKA_API_BASE` names another."""

    name: ClassVar[str] = "api"
    about: ClassVar[About] = About(
        "Reka's API, or any server that speaks OpenAI's (vLLM, llama.cpp, Ollama, LM Studio)",
        "a key, or `REKA_API_BASE`",
        f"`{_DEFAULT_MODEL}`; elsewhere the only one",
    )

    def __init__(
        self,
        config: Config,
        pool: ConnectionPool,
        log: Log | None = None,
        access: ApiAccess | None = None,
    ) -> None:
        found = access or api_access(config)
        if found is None:
            raise NotLoggedIn("there is no API key", hint=KEY_HINT)
        self._access = found
        self._transport = Transport(found.base_url, pool, log, login_hint=KEY_HINT)
        self._transport.keep_secret(found.key or "")
        self._is_reka = is_reka_host(urlsplit(found.base_url).hostname or "")
        self.default_model = (
            _DEFAULT_MODEL if self._is_reka else ""
        )  # elsewhere, the one that the server has
        # what runs on this machine changes with its user: its list is not kept
        folder = None if found.is_loopback else config.cache_dir
        self._shelf = ModelCache(folder, found.base_url, found.key) if folder else None
        self._lock = threading.Lock()  # one question asks for the list, the others wait for it
        self._catalogue: ModelList | None = None
        self._no_list_until_s = 0.0  # of the monotonic clock

    def events(self, request: ChatRequest, call: Call) -> Events:
        """See Provider.events."""
        listed = yield from self._model_list(request, call)
        model = self._choose_model(request.model, listed)
        _check_request(
            request, model, listed, _MOST_IMAGES.get(model.id) if self._is_reka else None
        )
        yield Start(model.id)
        body = json_body(self._body(request, model))
        response = yield from self._send(call, "POST", "/chat/completions", body)
        yield from _answer_events(response, model)

    def check(self, call: Call) -> Generator[Notice, None, None]:
        """See Provider.check."""
        yield from self._fetch(call)

    def models(
        self, call: Call, *, refresh: bool = False
    ) -> Generator[Notice, None, tuple[Model, ...]]:
        """See Provider.models."""
        kept = self._cached_models()
        if kept and kept.is_fresh and not refresh:
            return kept.models
        try:
            return (yield from self._fetch(call)).models
        except (NetworkError, DeadlineExceeded, ServiceError) as error:
            if kept is None:
                raise
            yield Notice(f"{error.message}; the list kept from before is shown")
            return kept.models

    def close(self) -> None:
        """See Provider.close: there is nothing but connections, which are the pool's."""

    @classmethod
    def status(cls, config: Config) -> Status:
        """See Provider.status."""
        try:
            access = api_access(config)
        except RekaError as error:
            return Status(cls.name, ready=False, problem=error.message)
        if access is None:
            return Status(cls.name, ready=False, problem="no key: reka-cli login --api-key")
        if access.key is None:
            return Status(cls.name, True, f"no key needed at {access.base_url}")
        source = "REKA_API_KEY" if config.api_key else stored_source(config, "api_key")
        holds = (f"key of {len(access.key)} characters",)
        return Status(cls.name, True, f"{source}, for {access.base_url}", holds)

    def _send(
        self, call: Call, method: str, path: str, body: Body | None = None
    ) -> Generator[Notice, None, Response]:
        headers = {"Accept": "text/event-stream, application/json"}
        if self._access.key:
            headers["Authorization"] = f"Bearer {self._access.key}"
        return (yield from self._transport.send(call, method, path, headers=headers, body=body))

    def _cached_models(self) -> ModelList | None:
        if self._catalogue is None and self._shelf:
            self._catalogue = self._shelf.get()
        return self._catalogue

    def _fetch(self, call: Call) -> Generator[Notice, None, ModelList]:
        response = yield from self._send(call, "GET", "/models")
        payload = response.json()
        self._catalogue = ModelList(parse_models(payload), time.time())
        if self._shelf:
            self._shelf.put(payload)
        return self._catalogue

    def _model_list(
        self, request: ChatRequest, call: Call
    ) -> Generator[Notice, None, ModelList | None]:
        """Return the list of models if there is one, or if this question is worth asking for it.

        It is for an image, which is large and may be refused, and for a server whose one model is to be taken.
        """
        needs_model = not request.model
        has_media = any(message.images or message.videos for message in request.messages)
        kept = self._cached_models()
        if kept and kept.is_fresh:
            return kept
        if needs_model:
            yield from call.once(self._lock, self._fetch(call), lambda: self._fresh() is not None)
        elif has_media:
            yield from call.once(
                self._lock,
                self._fetch_if_possible(call),
                lambda: self._fresh() is not None or time.monotonic() < self._no_list_until_s,
            )
        return self._fresh()  # not an old list, which knows nothing of new models

    def _fresh(self) -> ModelList | None:
        return self._catalogue if self._catalogue and self._catalogue.is_fresh else None

    def _fetch_if_possible(self, call: Call) -> Generator[Notice, None, None]:
        try:
            yield from self._fetch(call.within(_LIST_WAIT_S, retries=0))
        except (NotLoggedIn, IncompleteAnswer):
            raise
        except RekaError as error:
            # without a list, the service itself will say what it does not take
            release_frames(error)
            self._no_list_until_s = time.monotonic() + _LIST_PAUSE_S

    def _choose_model(self, model: str, listed: ModelList | None) -> Model:
        if not model and listed:
            if len(listed.models) != 1:
                names = " | ".join(one.id for one in listed.models[:5])
                raise UsageError(
                    f"this server has {len(listed.models)} models: say which", hint=f"-m {names}"
                )
            return listed.models[0]
        return listed.find(model) if listed and listed.models else Model(model)

    def _body(self, request: ChatRequest, model: Model) -> dict[str, Any]:
        options = request.options
        wanted = {
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "seed": options.seed,
        }
        body: dict[str, Any] = {
            "model": model.id,
            "messages": [_message(message) for message in request.messages],
            "stream": True,
            **{name: value for name, value in wanted.items() if value is not None},
        }
        if not self._is_reka:
            body["stream_options"] = {
                "include_usage": True
            }  # Reka counts without being asked, llama.cpp does not
        if request.schema is not None:
            body["response_format"] = _response_format(request.schema)
        return body


def _check_request(
    request: ChatRequest, model: Model, listed: ModelList | None, most_images: int | None
) -> None:
    """Refuse, before anything is sent, what the model is known not to take."""
    images = sum(len(message.images) for message in request.messages)
    videos = sum(len(message.videos) for message in request.messages)
    for kind, count in (("image", images), ("video", videos)):
        if count and not model.takes(kind):
            able = [
                one.id
                for one in (listed.models if listed else ())
                if one.input_modalities and one.takes(kind)
            ]
            raise BadInput(
                f"{model.id} takes no {kind}", hint=f"-m {' | '.join(able[:5])}" if able else None
            )
    if most_images is not None and images > most_images:
        raise BadInput(f"{model.id} takes at most {most_images} images a question, not {images}")


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]]
    parts = [
        {"type": "image_url", "image_url": {"url": DataUrl(image)}} for image in message.images
    ]
    parts += [{"type": "video_url", "video_url": {"url": video.url}} for video in message.videos]
    if not parts:
        return {"role": message.role, "content": message.text}
    # models work best when media come before the text: README of Reka's SDK, 2024
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") == "object" and "properties" not in schema:
        schema = {**schema, "properties": {}}  # else 503: measured by others, 2026-07
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _answer_events(response: Response, model: Model) -> Events:
    """Turn chunks into events; `finish_reason` is the end, or `[DONE]` if nothing was left out."""
    answer = ChatAnswer()
    left_out: list[str] = []
    usage: object = None
    served: object = None
    is_done = False
    try:
        for chunk in json_objects(response, left_out):
            if chunk is None:
                is_done = True
                break
            served = chunk.get("model") or served
            usage = chunk.get("usage") or usage
            had_ended = answer.has_ended
            yield from answer.read(chunk)
            if answer.has_ended != had_ended:
                response.end_within(_AFTER_THE_END_S if answer.has_ended else math.inf)
    except (NetworkError, DeadlineExceeded, ServiceError) as error:
        if not answer.has_ended:
            raise
        if isinstance(error, ServiceError):
            yield Notice(f"after the end of the answer: {error.message}")
    yield from answer.end(is_done=is_done and not left_out)
    if left_out and answer.finish_reason is None:
        raise IncompleteAnswer(f"the answer was cut off; the service said: {left_out[0]}")
    yield from _usage(usage, model)
    served = served if isinstance(served, str) else None
    yield Done(answer.finish_reason, answer.replacement, served)


def _usage(usage: object, model: Model) -> Iterator[Usage]:
    if isinstance(usage, dict):
        put_in, put_out = (
            tokens(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")
        )
        yield Usage(put_in, put_out, model.cost_usd(put_in, put_out))


PROVIDER = Api
