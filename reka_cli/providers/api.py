"""The OpenAI-compatible API: Reka's own with a key, or any server that speaks it.

Sources: docs/protocols.md, B (Reka's documentation, what others measured in 2026) and C (vLLM, llama.cpp and others).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator
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
    Events,
    Image,
    Message,
    Notice,
    Start,
    Usage,
)
from reka_cli.providers import About, Log, Status
from reka_cli.providers._chat_chunks import ChatAnswer
from reka_cli.providers._headers import merge_headers, read_headers
from reka_cli.providers._models import (
    Model,
    ModelCache,
    ModelList,
    default_model,
    model_hint,
    parse_models,
    server_name,
)
from reka_cli.providers._stream import read_answer, tokens
from reka_cli.transport import (
    Body,
    ConnectionPool,
    DataUrl,
    Response,
    Transport,
    UnexpectedRedirect,
    json_body,
)

KEY_HINT = "reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=..."

_DEFAULT_MODEL = "reka-edge-2603"
# at Reka (docs.reka.ai/chat/multimodal, autumn 2026); other servers differ
_MOST_IMAGES = {"reka-edge-2603": 3}
_LIST_WAIT_S = 5.0  # for a list that only saves an error later
_LIST_PAUSE_S = 60.0  # after a failure to get the list
_LARGEST_LIST = 16 << 20  # bytes; OpenRouter's has more than one megabyte
_NO_MODEL_HINT = "-m NAME names the model to ask"

# servers that decode only some formats, by the name in their list of models: llama.cpp decodes with
# stb_image, which has no WebP (measured 2026-11)
_DECODED = {"llamacpp": frozenset({"image/jpeg", "image/png", "image/gif"})}
_DECODED_EVERYWHERE = frozenset({"image/jpeg", "image/png"})
_CANNOT_DECODE = re.compile(
    r"image.*(?:format|load|decod|type|mime|identify|process|unknown|support)"
    r"|(?:format|load|decod|type|mime|identify|process|unknown|support).*image",
    re.IGNORECASE,
)
# the optional field that is sent without being asked for, and what servers say of a field they do not know
_OPTIONAL_FIELD = re.compile(r"stream[_ ]?options|include_usage", re.IGNORECASE)
_UNKNOWN_FIELD = re.compile(
    r"(?:unknown|unrecognized|unexpected|extra|additional|unsupported|invalid)\W+(?:\w+\W+)?"
    r"(?:fields?|keys?|inputs?|arguments?|parameters?|param|propert(?:y|ies))",
    re.IGNORECASE,
)


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
        self._headers: dict[str, str] = {}
        if access is None:  # a server that was started here gets no headers
            self._headers = read_headers(config.api_headers, found.base_url)
            self._transport.hide_headers(self._headers)
        self._is_reka = is_reka_host(urlsplit(found.base_url).hostname or "")
        # elsewhere, the list of models decides
        self.default_model = _DEFAULT_MODEL if self._is_reka else ""
        # the models of a server on this machine change often: their list is not kept
        folder = None if found.is_loopback else config.cache_dir
        self._cache = ModelCache(folder, found.base_url, found.key) if folder else None
        self._lock = threading.Lock()  # one question asks for the list, the others wait for it
        self._list: ModelList | None = None
        self._no_list_until_s = 0.0  # of the monotonic clock
        # what the server has turned out to accept
        self._accepts_stream_options = not self._is_reka  # Reka counts without being asked
        self._decoded: frozenset[str] | None = None  # media types; None for all

    def events(self, request: ChatRequest, call: Call) -> Events:
        """See Provider.events."""
        listed = yield from self._model_list(request, call)
        model = self._choose_model(request.model, listed)
        _check_request(
            request, model, listed, _MOST_IMAGES.get(model.id) if self._is_reka else None
        )
        if listed and listed.server in _DECODED:
            self._decoded = self._decoded or _DECODED[listed.server]
        yield Start(model.id)
        response = yield from self._ask(request, model, call)
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
            yield Notice(f"{error.message}; showing an earlier list")
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

    def _ask(
        self, request: ChatRequest, model: Model, call: Call
    ) -> Generator[Notice, None, Response]:
        """Send a question, and once more without what the server turns out not to accept."""
        while True:
            body = json_body(self._body(request, model))
            try:
                return (
                    yield from self._send(call, "POST", "/chat/completions", body, model=model.id)
                )
            except (BadInput, ServiceError) as error:
                if not self._adapt(error, request):
                    raise
                release_frames(error)

    def _adapt(self, error: RekaError, request: ChatRequest) -> bool:
        """Remember what the server does not accept; return whether that explains an error."""
        text = error.service_text
        if self._accepts_stream_options and _may_reject_stream_options(error):
            self._accepts_stream_options = False
            return True
        formats = {image.media_type for message in request.messages for image in message.images}
        decoded = self._decoded or formats
        if formats & decoded <= _DECODED_EVERYWHERE or not _CANNOT_DECODE.search(text):
            return False
        self._decoded = _DECODED_EVERYWHERE
        return True

    def _send(
        self, call: Call, method: str, path: str, body: Body | None = None, model: str = ""
    ) -> Generator[Notice, None, Response]:
        headers = {"Accept": "text/event-stream, application/json"}
        if self._access.key:
            headers["Authorization"] = f"Bearer {self._access.key}"
        headers = merge_headers(headers, self._headers)
        return (
            yield from self._transport.send(
                call, method, path, headers=headers, body=body, model=model
            )
        )

    def _cached_models(self) -> ModelList | None:
        if self._list is None and self._cache:
            self._list = self._cache.get()
        return self._list

    def _fetch(self, call: Call) -> Generator[Notice, None, ModelList]:
        response = yield from self._send(call, "GET", "/models")
        payload = response.json(_LARGEST_LIST)
        self._list = ModelList(parse_models(payload), time.time(), server_name(payload))
        if self._cache:
            self._cache.put(payload)
        return self._list

    def _model_list(
        self, request: ChatRequest, call: Call
    ) -> Generator[Notice, None, ModelList | None]:
        """Return the list of models if it is there, or if this question is worth a request for it.

        It is needed where no model is named, and useful for images, which are large and may be
        rejected.
        """
        has_media = any(message.images or message.videos for message in request.messages)
        kept = self._cached_models()
        if kept and kept.is_fresh:
            return kept
        if not request.model:
            fetch = self._fetch_to_choose(call)
            yield from call.once(self._lock, fetch, lambda: self._fresh() is not None)
        elif has_media:
            yield from call.once(
                self._lock,
                self._fetch_if_possible(call),
                lambda: self._fresh() is not None or time.monotonic() < self._no_list_until_s,
            )
        return self._fresh()  # not an old list, which does not name new models

    def _fresh(self) -> ModelList | None:
        return self._list if self._list and self._list.is_fresh else None

    def _fetch_to_choose(self, call: Call) -> Generator[Notice, None, None]:
        """Fetch the list for a question that names no model."""
        host = self._transport.host
        try:
            yield from self._fetch(call)
        except BadInput as error:  # such as 404
            message = f"no model is named, and there is no list of models: {error.message}"
            raise UsageError(message, hint=_NO_MODEL_HINT) from error
        except (UnexpectedRedirect, ServiceError) as error:
            if error.status is not None and error.status >= 500:
                raise type(error)(error.message, hint=_NO_MODEL_HINT) from error
            message = f"no model is named, and {host} does not list its models"
            raise UsageError(message, hint=_NO_MODEL_HINT) from error

    def _fetch_if_possible(self, call: Call) -> Generator[Notice, None, None]:
        try:
            yield from self._fetch(call.within(_LIST_WAIT_S, retries=0))
        except (NotLoggedIn, IncompleteAnswer):
            raise
        except RekaError as error:
            # without a list, the service itself reports what it does not accept
            release_frames(error)
            self._no_list_until_s = time.monotonic() + _LIST_PAUSE_S

    def _choose_model(self, name: str, listed: ModelList | None) -> Model:
        if not name:
            return self._default(listed)
        if listed is None or not listed.models:
            return Model(name)
        # other lists may be incomplete or hold patterns, and llama.cpp takes any name
        return listed.find(name) if self._is_reka else listed.get(name) or Model(name)

    def _default(self, listed: ModelList | None) -> Model:
        models = listed.models if listed else ()
        model = default_model(models, _DEFAULT_MODEL)
        if model is not None:
            return model
        host = self._transport.host
        names = [one.id for one in models if "*" not in one.id][:5]
        if not names:
            raise UsageError(f"{host} lists no models", hint=_NO_MODEL_HINT)
        raise UsageError(
            f"{host} has {len(models)} models, and none is named", hint=model_hint(names)
        )

    def _body(self, request: ChatRequest, model: Model) -> dict[str, Any]:
        options = request.options
        sampling = {
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "seed": options.seed,
        }
        body: dict[str, Any] = {
            "model": model.id,
            "messages": [_message(message, self._decoded) for message in request.messages],
            "stream": True,
        }
        body |= {name: value for name, value in sampling.items() if value is not None}
        if self._accepts_stream_options:
            body["stream_options"] = {"include_usage": True}  # llama.cpp counts only if asked
        if request.schema is not None:
            body["response_format"] = _response_format(request.schema)
        return body


def _may_reject_stream_options(error: RekaError) -> bool:
    """Whether the reason for an error may be the field `stream_options`."""
    text = error.service_text
    if _OPTIONAL_FIELD.search(text):
        return True
    return error.status in (400, 422) and (not text.strip() or bool(_UNKNOWN_FIELD.search(text)))


def _check_request(
    request: ChatRequest, model: Model, listed: ModelList | None, most_images: int | None
) -> None:
    """Raise BadInput, before anything is sent, for what the model is known not to accept."""
    images = sum(len(message.images) for message in request.messages)
    videos = sum(len(message.videos) for message in request.messages)
    for kind, count in (("image", images), ("video", videos)):
        if count and not model.takes(kind):
            models = listed.models if listed else ()
            able = [one.id for one in models if one.input_modalities and one.takes(kind)]
            raise BadInput(f"{model.id} does not accept {kind}s", hint=model_hint(able[:5]))
    if most_images is not None and images > most_images:
        raise BadInput(
            f"{model.id} accepts at most {most_images} images in a question, not {images}"
        )


def _message(message: Message, decoded: frozenset[str] | None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [
        _media_part("image_url", _data_url(image, decoded)) for image in message.images
    ]
    parts += [_media_part("video_url", video.url) for video in message.videos]
    if not parts:
        return {"role": message.role, "content": message.text}
    # models work best when media come before the text: README of Reka's SDK, 2024
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def _media_part(kind: str, url: str | DataUrl) -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}}


def _data_url(image: Image, decoded: frozenset[str] | None) -> DataUrl:
    """Return an image as a data URL, in a format that the server decodes."""
    if decoded is None or image.media_type in decoded:
        return DataUrl(image)
    from reka_cli.images import convert_format

    return DataUrl(convert_format(image, decoded))


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") == "object" and "properties" not in schema:
        schema = {**schema, "properties": {}}  # else 503: measured by others, 2026-07
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _answer_events(response: Response, model: Model) -> Events:
    """Yield the events of an answer."""
    answer = ChatAnswer()
    yield from read_answer(response, answer)
    if isinstance(answer.usage, dict):
        yield _usage(answer.usage, model)
    served = answer.model_served
    yield answer.done(served if isinstance(served, str) else None)


def _usage(usage: dict[str, Any], model: Model) -> Usage:
    input_tokens = tokens(usage.get("prompt_tokens"))
    output_tokens = tokens(usage.get("completion_tokens"))
    return Usage(input_tokens, output_tokens, model.cost_usd(input_tokens, output_tokens))


PROVIDER = Api
