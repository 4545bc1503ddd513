"""The OpenAI-compatible API: Reka's own with a key, or any server that speaks it.

Sources: docs/protocols.md, B (Reka's documentation, what others measured in 2026) and C (vLLM, llama.cpp and others).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from reka_cli.call import Limits
from reka_cli.catalogue import Catalogue, Model, Shelf, parse
from reka_cli.config import Config
from reka_cli.credentials import ApiAccess, api_access
from reka_cli.errors import BadInput, DeadlineExceeded, NetworkError, NotLoggedIn, RekaError, ServiceError, UsageError
from reka_cli.messages import (
    ChatRequest,
    Done,
    Events,
    Message,
    Notice,
    Start,
    Usage,
)
from reka_cli.providers.chat_chunks import ChatAnswer
from reka_cli.session import is_reka_host
from reka_cli.stream import objects, tokens
from reka_cli.transport import Body, DataUrl, Response, Transport, json_body

KEY_HINT = "reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=..."

_DEFAULT_MODEL = "reka-edge-2603"
_MOST_IMAGES = {"reka-edge-2603": 3}  # at Reka: docs.reka.ai/chat/multimodal, autumn 2026; servers of one's own differ
_LIST_WAIT_S = 5.0  # for a list that only saves a refusal later
_AFTER_THE_END_S = 2.0  # usage may still come after `finish_reason`; it is not worth more


class Api:
    """An OpenAI-compatible server, Reka's unless `REKA_API_BASE` names another."""

    name: ClassVar[str] = "api"

    def __init__(
        self,
        config: Config,
        limits: Limits,
        log: Callable[[str], None] | None = None,
        access: ApiAccess | None = None,
    ) -> None:
        found = access or api_access(config)
        if found is None:
            raise NotLoggedIn("there is no API key", hint=KEY_HINT)
        self._access = found
        self._limits = limits
        self._log = log
        self._is_reka = is_reka_host(urlsplit(found.base_url).hostname or "")
        self.default_model = _DEFAULT_MODEL if self._is_reka else ""  # elsewhere, the one that the server has
        # what runs on this machine changes with its user: its list is not kept
        folder = None if found.is_loopback else config.cache_dir
        self._shelf = Shelf(folder, found.base_url, found.key) if folder else None

    def events(self, request: ChatRequest) -> Events:
        """See Provider.events."""
        with closing(self._connect()) as transport:
            listed = yield from self._listed(transport, request)
            model = self._chosen(request.model, listed)
            _check(request, model, listed, _MOST_IMAGES.get(model.id) if self._is_reka else None)
            yield Start(model.id)
            body = json_body(self._body(request, model))
            response = yield from self._send(transport, "POST", "/chat/completions", body)
            yield from _answer(response, model)

    def check(self) -> Generator[Notice, None, None]:
        """See Provider.check."""
        with closing(self._connect()) as transport:
            yield from self._fetch(transport)

    def models(self, *, refresh: bool = False) -> Generator[Notice, None, tuple[Model, ...]]:
        """See Provider.models."""
        kept = self._shelf.get() if self._shelf else None
        if kept and kept.is_fresh and not refresh:
            return kept.models
        with closing(self._connect()) as transport:
            try:
                return (yield from self._fetch(transport)).models
            except (NetworkError, DeadlineExceeded, ServiceError) as error:
                if kept is None:
                    raise
                yield Notice(f"{error.message}; the list kept from before is shown")
                return kept.models

    def _connect(self, limits: Limits | None = None) -> Transport:
        transport = Transport(self._access.base_url, limits or self._limits, self._log)
        transport.keep_secret(self._access.key or "")
        return transport

    def _send(
        self, transport: Transport, method: str, path: str, body: Body | None = None
    ) -> Generator[Notice, None, Response]:
        headers = {"Accept": "text/event-stream, application/json"}
        if self._access.key:
            headers["Authorization"] = f"Bearer {self._access.key}"
        try:
            return (yield from transport.send(method, path, headers=headers, body=body))
        except NotLoggedIn as error:
            error.hint = KEY_HINT
            raise

    def _fetch(self, transport: Transport) -> Generator[Notice, None, Catalogue]:
        response = yield from self._send(transport, "GET", "/models")
        payload = response.json()
        models = parse(payload)
        if self._shelf:
            self._shelf.put(payload)
        return Catalogue(models, time.time())

    def _listed(self, transport: Transport, request: ChatRequest) -> Generator[Notice, None, Catalogue | None]:
        """Give the list of models if there is one, or if this question is worth asking for it.

        It is for a picture, which is large and may be refused, and for a server whose one model is to be taken.
        """
        kept = self._shelf.get() if self._shelf else None
        has_media = any(message.images or message.videos for message in request.messages)
        if kept and kept.is_fresh:
            return kept
        if not request.model:
            return (yield from self._fetch(transport))
        if not has_media:
            return None  # nor an old list, which knows nothing of new models
        limits = replace(self._limits, deadline=self._limits.deadline.sooner(_LIST_WAIT_S), retries=0)
        try:
            with closing(self._connect(limits)) as hasty:
                return (yield from self._fetch(hasty))
        except NotLoggedIn:
            raise
        except RekaError:
            return None  # without a list, the service itself will say what it does not take

    def _chosen(self, model: str, listed: Catalogue | None) -> Model:
        if not model and listed:
            if len(listed.models) != 1:
                names = " | ".join(one.id for one in listed.models[:5])
                raise UsageError(f"this server has {len(listed.models)} models: say which", hint=f"-m {names}")
            return listed.models[0]
        return listed.find(model) if listed and listed.models else Model(model)

    def _body(self, request: ChatRequest, model: Model) -> dict[str, Any]:
        options = request.options
        wanted = {"max_tokens": options.max_tokens, "temperature": options.temperature, "seed": options.seed}
        body: dict[str, Any] = {
            "model": model.id,
            "messages": [_message(message) for message in request.messages],
            "stream": True,
            **{name: value for name, value in wanted.items() if value is not None},
        }
        if not self._is_reka:
            body["stream_options"] = {"include_usage": True}  # Reka counts without being asked, llama.cpp does not
        if request.schema is not None:
            body["response_format"] = _response_format(request.schema)
        return body


def _check(request: ChatRequest, model: Model, listed: Catalogue | None, most_images: int | None) -> None:
    """Refuse, before anything is sent, what the model is known not to take."""
    images = sum(len(message.images) for message in request.messages)
    videos = sum(len(message.videos) for message in request.messages)
    for kind, count in (("image", images), ("video", videos)):
        if count and not model.takes(kind):
            able = [one.id for one in (listed.models if listed else ()) if one.input_modalities and one.takes(kind)]
            raise BadInput(f"{model.id} takes no {kind}", hint=f"-m {' | '.join(able[:5])}" if able else None)
    if most_images is not None and images > most_images:
        raise BadInput(f"{model.id} takes at most {most_images} images a question, not {images}")


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]]
    parts = [{"type": "image_url", "image_url": {"url": DataUrl(image)}} for image in message.images]
    parts += [{"type": "video_url", "video_url": {"url": video.url}} for video in message.videos]
    if not parts:
        return {"role": message.role, "content": message.text}
    # models work best when media come before the text: README of Reka's SDK, 2024
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") == "object" and "properties" not in schema:
        schema = {**schema, "properties": {}}  # else 503: measured by others, 2026-07
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _answer(response: Response, model: Model) -> Events:
    """Turn chunks into events; `finish_reason` is the end, or `[DONE]` is."""
    answer = ChatAnswer()
    usage: object = None
    served: object = None
    is_done = False
    try:
        for chunk in objects(response):
            if chunk is None:
                is_done = True
                break
            served = chunk.get("model") or served
            usage = chunk.get("usage") or usage
            was_complete = answer.finish_reason is not None
            yield from answer.read(chunk)
            if answer.finish_reason is not None and not was_complete:
                response.hurry(_AFTER_THE_END_S)
    except (NetworkError, DeadlineExceeded, ServiceError) as error:
        if answer.finish_reason is None:
            raise
        if isinstance(error, ServiceError):
            yield Notice(f"after the end of the answer: {error.message}")
    yield from answer.end(is_done=is_done)
    yield from _usage(usage, model)
    served = served if isinstance(served, str) else None
    yield Done(answer.finish_reason, answer.replacement, served)


def _usage(usage: object, model: Model) -> Iterator[Usage]:
    if isinstance(usage, dict):
        put_in, put_out = (tokens(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        yield Usage(put_in, put_out, model.cost_usd(put_in, put_out))
