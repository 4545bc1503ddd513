"""Client asks: configuration, provider, question. No terminal, no storage of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from reka_cli.answer import Answer, bounded
from reka_cli.config import Config
from reka_cli.deadline import Deadline, Limits
from reka_cli.errors import BadInput, UsageError
from reka_cli.images import Source, load_all
from reka_cli.messages import ChatRequest, Events, Image, Message, Notice, Options
from reka_cli.schema import check, held
from reka_cli.videos import load as load_video

if TYPE_CHECKING:
    from reka_cli.catalogue import Model
    from reka_cli.completions import Chat
    from reka_cli.providers import Provider

T = TypeVar("T")

_SERVICE_DECIDES = Options()


@dataclass(frozen=True)
class Listing:
    """What a provider can be asked; `default` is the model that is asked if none is named, None if one must be."""

    provider: str
    models: tuple[Model, ...]
    default: str | None


class Client:
    """Ask a model; nothing is opened before an answer is iterated, and nothing is left open after it.

    `provider` is a name ("auto", "web", "api", "local", "sandbox") or a provider class; without it, what the
    environment and the configuration say. `config` is what `Config.read()` gives unless given. `log` gets lines about
    the HTTP, secrets redacted.
    """

    def __init__(
        self,
        provider: str | type[Provider] | None = None,
        *,
        model: str | None = None,
        timeout_s: float = 600.0,
        idle_timeout_s: float = 60.0,
        retries: int = 2,
        allow_partial: bool = False,
        config: Config | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._config = config or Config.read()
        self._provider = provider or self._config.provider
        self._model = model or self._config.model
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._retries = retries
        self._allow_partial = allow_partial
        self._log = log

    @property
    def chat(self) -> Chat:
        """The same client in the shape of the OpenAI library: `client.chat.completions.create(...)`."""
        from reka_cli.completions import Chat

        return Chat(self.send)

    def ask(
        self,
        prompt: str,
        images: Iterable[Source | Image] = (),
        *,
        system: str | None = None,
        model: str | None = None,
        options: Options = _SERVICE_DECIDES,
        deadline: Deadline | None = None,
        videos: Iterable[str | os.PathLike[str]] = (),
        schema: dict[str, Any] | None = None,
    ) -> Answer:
        """Ask one question; images are paths, bytes, open binary files, or loaded already; videos are paths or URLs.

        With `schema`, a JSON Schema, the text is JSON that is valid against it, or the answer is incomplete. Raises
        BadInput for an image that is none, UsageError, and NotLoggedIn; the answer raises the rest.
        """
        head = (Message("system", system),) if system else ()
        question = Message("user", prompt, load_all(images), tuple(load_video(one, deadline) for one in videos))
        return self.send((*head, question), model, options, deadline, schema)

    def send(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        options: Options = _SERVICE_DECIDES,
        deadline: Deadline | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Answer:
        """Send a whole conversation that ends with a question."""
        for message in messages:
            _check_text(message)
        if not messages or not (messages[-1].text.strip() or messages[-1].images or messages[-1].videos):
            raise UsageError("there is no question", hint='reka-cli ask "What can you see?" picture.jpg')
        _check_options(options)
        if schema is not None:
            check(schema)
        model = model or self._model
        provider = self._open(model, deadline)
        request = ChatRequest(tuple(messages), model or provider.default_model, options, schema)

        def ask(request: ChatRequest) -> Events:
            return bounded(provider.events(request))

        events = ask(request) if schema is None else held(ask, request)
        images = [image for message in messages for image in message.images]
        return Answer(events, provider.name, request.model, images=images, allow_partial=self._allow_partial)

    def models(self, *, refresh: bool = False, notice: Callable[[str], None] | None = None) -> Listing:
        """List what can be asked, up to a day old unless `refresh`; `notice` is told what a user should know of it.

        Raises what a question raises.
        """
        provider = self._open(None, None)
        models = finished(provider.models(refresh=refresh), notice)
        only = models[0].id if len(models) == 1 else None
        return Listing(provider.name, models, self._model or provider.default_model or only)

    def _open(self, model: str | None, deadline: Deadline | None) -> Provider:
        limits = Limits(
            deadline or Deadline.after(self._timeout_s), _positive_s(self._idle_timeout_s), retries=self._retries
        )
        return self._load(model)(self._config, limits, self._log)

    def _load(self, model: str | None) -> type[Provider]:
        if isinstance(self._provider, type):
            return self._provider
        from reka_cli import providers

        name = self._provider
        return providers.load(providers.choose(self._config, model) if name == "auto" else name)


def finished(asking: Generator[Notice, None, T], notice: Callable[[str], None] | None = None) -> T:
    """Run to its end what asks a service, and give what it returns; `notice` is told what comes on the way."""
    while True:
        try:
            said = next(asking)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if notice:
            notice(said.text)


def _check_text(message: Message) -> None:
    try:
        message.text.encode()
    except UnicodeEncodeError as error:
        raise BadInput("the question holds bytes that are not UTF-8 text") from error


def _check_options(options: Options) -> None:
    if options.temperature is not None and not math.isfinite(options.temperature):
        raise UsageError(f"a temperature is a number, not {options.temperature}")


def _positive_s(seconds: float) -> float:
    return Deadline.after(seconds).total_s
