"""Client asks: configuration, provider, question. No terminal, no storage of its own."""

from __future__ import annotations

import math
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self, TypeVar

from reka_cli.answer import Answer, limit_length
from reka_cli.config import Config
from reka_cli.errors import BadInput, NotLoggedIn, RateLimited, RekaError, UsageError
from reka_cli.images import DEFAULT_PREPARATION, Preparation
from reka_cli.images.videos import load as load_video
from reka_cli.limits.call import Call, Limits
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import ChatRequest, Events, Image, Message, Notice, Options, Start

if TYPE_CHECKING:
    from reka_cli.completions import Chat
    from reka_cli.images import Source
    from reka_cli.providers import Provider
    from reka_cli.providers._models import Model
    from reka_cli.schema.validator import Validator
    from reka_cli.transport import ConnectionPool

T = TypeVar("T")

Progress = Callable[[str, int, int], None]

_SERVICE_DECIDES = Options()


@dataclass(frozen=True)
class Listing:
    """What a provider can be asked; `default` is the model that is asked if none is named, None if one must be."""

    provider: str
    models: tuple[Model, ...]
    default: str | None


@dataclass(frozen=True)
class BatchResult:
    """What became of one question of `Client.batch`: an answer that is complete, or an error."""

    index: int  # of the question, from 0
    answer: Answer | None
    error: RekaError | None


class Client:
    """Ask models, over connections that are kept between questions; safe from many threads.

    Nothing is opened before an answer is iterated. A context manager: `close()` closes the
    connections, and ends the process or server that `local` or `sandbox` started. The list of
    models, a token and the URL of an uploaded image are kept as long as the client.

    `provider` is a name ("auto", "web", "api", "local", "sandbox") or a provider class; without it, what the
    environment and the configuration say. `config` is what `Config.read()` gives unless given. Without
    `waits_for_limits`, a rate limit is an error at once, not waited for. `log` gets lines about the HTTP, secrets
    redacted. `preparation` says how images are made ready; `progress` is told the name of an image, how many of its bytes
    were sent, and how many it has. `stdin` reads the image that `-` stands for, until a deadline; without it `-` is
    rejected.
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
        waits_for_limits: bool = True,
        config: Config | None = None,
        headers: Mapping[str, str] | None = None,
        log: Callable[[str], None] | None = None,
        preparation: Preparation = DEFAULT_PREPARATION,
        progress: Progress | None = None,
        stdin: Callable[[Deadline], bytes] | None = None,
        pictures: Preparation | None = None,  # deprecated name
    ) -> None:
        if pictures is not None:  # deprecated name
            message = "Client(pictures=...) is now Client(preparation=...)"  # deprecated name
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            preparation = pictures  # deprecated name
        self._config = config or Config.read()
        self._has_headers = bool(headers)
        if headers:
            merged = {**self._config.api_headers, **headers}
            self._config = replace(self._config, api_headers=merged)
        self._provider = provider or self._config.provider
        self._model = model or self._config.model
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._retries = retries
        self._allow_partial = allow_partial
        self._waits_for_limits = waits_for_limits
        self._log = log
        self._preparation = preparation
        self._progress = progress
        self._stdin = stdin
        self._lock = threading.RLock()
        self._pool: ConnectionPool | None = None
        self._providers: dict[str | type[Provider], Provider] = {}
        self._auto_providers: dict[str | None, str] = {}  # the provider that `auto` means, by model
        self._open_calls: weakref.WeakSet[Call] = weakref.WeakSet()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the answers that are still read, close every connection, end what was started.

        The same happens without it when the client and its answers are collected.
        """
        with self._lock:
            self._is_closed = True
            calls = list(self._open_calls)
            providers, pool = list(self._providers.values()), self._pool
            self._providers, self._pool = {}, None
        for call in calls:
            call.cancellation.cancel()
        for provider in providers:
            provider.close()
        if pool:
            pool.close()

    @property
    def chat(self) -> Chat:
        """The same client in the shape of the OpenAI library: `client.chat.completions.create(...)`."""
        from reka_cli.completions import Chat

        return Chat(self.send, self.load)

    def load(
        self, images: Iterable[Source | Image] | None, deadline: Deadline | None = None
    ) -> tuple[Image, ...]:
        """Make images ready, as `ask` does; raise BadInput for one that is none, and what fetching one raises."""
        if images is None or (isinstance(images, Sized) and not images):
            return ()
        from reka_cli.images import load_all

        until = deadline or Deadline.after(self._timeout_s)
        read_stdin = self._stdin
        stdin = None if read_stdin is None else lambda: read_stdin(until)
        return load_all(
            images, until, self._preparation, stdin=stdin, log=self._log, pool=self._connections
        )

    def ask(
        self,
        prompt: str,
        images: Iterable[Source | Image] | None = (),
        *,
        system: str | None = None,
        model: str | None = None,
        options: Options = _SERVICE_DECIDES,
        deadline: Deadline | None = None,
        videos: Iterable[str | os.PathLike[str]] = (),
        schema: dict[str, Any] | None = None,
        is_scheduled: bool = False,
    ) -> Answer:
        """Ask one question; images are bytes, open binary files, loaded already, or what the command takes.

        That is a path, folder, glob, URL, `clipboard`, or `NAME=` and one of these; videos are paths or URLs.
        With `schema`, a JSON Schema, the text is JSON that is valid against it, or the answer is incomplete. Raises
        BadInput for an image that is none, what fetching one raises, UsageError, and NotLoggedIn; the answer raises the
        rest.
        """
        deadline = deadline or Deadline.after(self._timeout_s)
        head = (Message("system", system),) if system else ()
        question = Message(
            "user",
            prompt,
            self.load(images, deadline),
            tuple(load_video(one, deadline) for one in videos),
        )
        return self.send(
            (*head, question), model, options, deadline, schema, is_scheduled=is_scheduled
        )

    def send(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        options: Options = _SERVICE_DECIDES,
        deadline: Deadline | None = None,
        schema: dict[str, Any] | None = None,
        *,
        is_scheduled: bool = False,
    ) -> Answer:
        """Send a whole conversation that ends with a question.

        With `is_scheduled`, the caller spaces the questions: each 429 is an error at once, and
        limits that other processes ran into are ignored.
        """
        for message in messages:
            _check_text(message)
        if not messages or not (
            messages[-1].text.strip() or messages[-1].images or messages[-1].videos
        ):
            raise UsageError(
                "there is no question", hint='reka-cli ask "What can you see?" image.jpg'
            )
        _check_options(options)
        validator = None if schema is None else _validator(schema)
        model = model or self._model
        call = self._call(deadline or Deadline.after(self._timeout_s), is_scheduled=is_scheduled)
        provider = self._provider_for(model)
        sent = tuple(
            _add_image_names(_track_uploads(message, self._progress)) for message in messages
        )
        request = ChatRequest(sent, model or provider.default_model, options, schema)

        def ask(request: ChatRequest) -> Events:
            return limit_length(provider.events(request, call))

        if validator is None:
            events = ask(request)
        else:
            from reka_cli.schema.asking import ask_until_valid

            events = ask_until_valid(ask, request, validator, allow_partial=self._allow_partial)
        images = [image for message in messages for image in message.images]
        if notices := [image.notice for image in messages[-1].images if image.notice]:
            events = _add_notices(events, notices)
        return Answer(
            events,
            provider.name,
            request.model,
            images=images,
            allow_partial=self._allow_partial,
            cancellation=call.cancellation,
        )

    def batch(
        self,
        questions: Iterable[str | tuple[str, Iterable[Source | Image]]],
        concurrency: int = 8,
        *,
        system: str | None = None,
        model: str | None = None,
        options: Options = _SERVICE_DECIDES,
        schema: dict[str, Any] | None = None,
    ) -> Generator[BatchResult, None, None]:
        """Ask many questions, and yield a result for each as soon as it is there.

        A question is a prompt, or a prompt and its images. They are taken from their iterator one by
        one, `concurrency` at most are on their way at once, fewer while the service limits the
        rate. A question that fails is a result with its error. Raises NotLoggedIn and UsageError,
        which no question would survive. Closing the generator cancels nothing that is on its way.
        """
        from reka_cli.limits.concurrency import MOST_PAUSES, AdaptiveLimit
        from reka_cli.limits.parallel import work_in_threads

        limit = AdaptiveLimit(concurrency)

        def ask(
            one: tuple[int, str | tuple[str, Iterable[Source | Image]]],
            should_stop: Callable[[], bool],
        ) -> BatchResult | None:
            index, question = one
            prompt, images = (question, ()) if isinstance(question, str) else question
            kept = tuple(images)  # an iterator could not be read again after a rate limit
            while slot := limit.take(should_stop):
                try:
                    answer = self.ask(
                        prompt,
                        kept,
                        system=system,
                        model=model,
                        options=options,
                        schema=schema,
                        is_scheduled=True,
                    )
                    answer.read()
                except RateLimited as error:
                    limit.back_off(slot, error.retry_after_s)
                    if error.status == 402 or limit.pauses_in_a_row > MOST_PAUSES:
                        return BatchResult(index, None, error)
                except (NotLoggedIn, UsageError):
                    limit.fail()
                    raise
                except RekaError as error:
                    limit.fail()
                    return BatchResult(index, None, error)
                else:
                    limit.succeed(slot)
                    return BatchResult(index, answer, None)
            return None

        yield from work_in_threads(enumerate(questions), ask, concurrency)

    def target(self, model: str | None = None) -> tuple[str, str]:
        """Return the names of the provider and the model that a question for `model` goes to.

        The model is empty where the provider finds it out with the first question. Raises
        NotLoggedIn if no provider can be used.
        """
        provider = self._provider_for(model or self._model)
        return provider.name, model or self._model or provider.default_model

    def models(
        self, *, refresh: bool = False, notice: Callable[[str], None] | None = None
    ) -> Listing:
        """List what can be asked, up to a day old unless `refresh`; `notice` is told what a user should know of it.

        Raises what a question raises.
        """
        provider = self._provider_for(None)
        call = self._call(Deadline.after(self._timeout_s))
        models = run_to_completion(provider.models(call, refresh=refresh), notice)
        default = self._model or provider.default_model
        if not default:
            from reka_cli.providers._models import default_model

            chosen = default_model(models, "reka-edge-2603")
            default = chosen.id if chosen else ""
        return Listing(provider.name, models, default or None)

    def check(self, *, notice: Callable[[str], None] | None = None) -> str:
        """Ask the service whether it takes the credentials, and return the name of the provider.

        Raises NotLoggedIn if it does not, and what a question raises.
        """
        provider = self._provider_for(self._model)
        run_to_completion(provider.check(self._call(Deadline.after(self._timeout_s))), notice)
        return provider.name

    def _call(self, deadline: Deadline, *, is_scheduled: bool = False) -> Call:
        limits = Limits(
            deadline,
            _check_seconds(self._idle_timeout_s),
            retries=self._retries,
            waits_for_limits=self._waits_for_limits,
            is_scheduled=is_scheduled,
        )
        call = Call(limits)
        with self._lock:
            self._check_open()
            self._open_calls.add(call)
        return call

    def _provider_for(self, model: str | None) -> Provider:
        """Return the provider that a question goes to; it is made once."""
        key = self._provider_key(model)
        with self._lock:
            self._check_open()
            provider = self._providers.get(key)
            if provider is None:
                from reka_cli import providers

                kind = providers.load(key) if isinstance(key, str) else key
                if self._has_headers and kind.name != "api":
                    raise BadInput(
                        f"the provider {kind.name} sends no extra headers", hint="--provider api"
                    )
                provider = self._providers[key] = kind(self._config, self._connections(), self._log)
            return provider

    def _provider_key(self, model: str | None) -> str | type[Provider]:
        if self._provider != "auto":
            return self._provider
        if model not in self._auto_providers:
            from reka_cli import providers

            self._auto_providers[model] = providers.choose(self._config, model)
        return self._auto_providers[model]

    def _connections(self) -> ConnectionPool:
        from reka_cli.transport import ConnectionPool
        from reka_cli.transport.rate_limit import SharedRateLimits

        with self._lock:
            self._check_open()
            self._pool = self._pool or ConnectionPool(SharedRateLimits(self._config.state_dir))
            return self._pool

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("the client is closed", hint="make a new Client")


def run_to_completion(
    asking: Generator[Notice, None, T], notice: Callable[[str], None] | None = None
) -> T:
    """Run to its end what asks a service, and give what it returns; `notice` is told what comes on the way."""
    while True:
        try:
            event = next(asking)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if notice:
            notice(event.text)


def _validator(schema: dict[str, Any]) -> Validator:
    from reka_cli.schema.validator import Validator

    return Validator(schema)


def _check_text(message: Message) -> None:
    if not isinstance(message.text, str):
        raise UsageError(f"a question must be text, not {type(message.text).__name__}")
    try:
        message.text.encode()
    except UnicodeEncodeError as error:
        raise BadInput("the question holds bytes that are not UTF-8 text") from error


def _add_image_names(message: Message) -> Message:
    """Tell the model what the user calls the images, in a line before the question: no protocol has a place for it."""
    names = []
    for label, run in groupby(enumerate(message.images, 1), key=lambda one: one[1].label):
        numbers = [number for number, _ in run]
        which = (
            f"Image {numbers[0]} is"
            if len(numbers) == 1
            else f"Images {numbers[0]} to {numbers[-1]} are"
        )
        names += [f'{which} "{label}"'] if label else []
    if not names:
        return message
    introduction = ", ".join([names[0], *(one[0].lower() + one[1:] for one in names[1:])]) + "."
    return replace(message, text="\n\n".join(part for part in (introduction, message.text) if part))


@dataclass(frozen=True)
class _TrackedImage:
    """The bytes of an image, of which is told how many were taken."""

    image: Image
    progress: Progress

    @property
    def size_bytes(self) -> int:
        return self.image.size_bytes

    def blocks(self) -> Iterator[bytes]:
        taken = 0
        for block in self.image.blocks():
            yield block
            taken += len(block)
            self.progress(self.image.name, taken, self.size_bytes)


def _track_uploads(message: Message, progress: Progress | None) -> Message:
    if progress is None:
        return message
    return replace(
        message,
        images=tuple(replace(one, content=_TrackedImage(one, progress)) for one in message.images),
    )


def _add_notices(events: Events, notices: Sequence[str]) -> Events:
    """Say how images were changed as soon as the question is on its way."""
    with closing(events):
        for event in events:
            yield event
            if isinstance(event, Start):
                yield from map(Notice, notices)


def _check_options(options: Options) -> None:
    if options.temperature is not None and not math.isfinite(options.temperature):
        raise UsageError(f"a temperature is a number, not {options.temperature}")


def _check_seconds(seconds: float) -> float:
    return Deadline.after(seconds).total_s
