"""Client asks: configuration, provider, question. No terminal, no storage of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from reka_cli.answer import Answer
from reka_cli.config import Config
from reka_cli.deadline import Deadline, Limits
from reka_cli.errors import BadInput, UsageError
from reka_cli.images import Source, load_all
from reka_cli.messages import ChatRequest, Image, Message, Options

if TYPE_CHECKING:
    from reka_cli.completions import Chat
    from reka_cli.providers import Provider

_SERVICE_DECIDES = Options()


class Client:
    """Ask a model; nothing is opened before an answer is iterated, and nothing is left open after it.

    `provider` is a name ("auto", "web", "sandbox") or a provider class; without it, what the environment and the
    configuration say. `config` is what `Config.read()` gives unless given. `log` gets lines about the HTTP, secrets
    redacted.
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
    ) -> Answer:
        """Ask one question; images are paths, bytes, open binary files, or loaded already.

        Raises BadInput for an image that is none, UsageError, and NotLoggedIn; the answer raises the rest.
        """
        head = (Message("system", system),) if system else ()
        return self.send((*head, Message("user", prompt, load_all(images))), model, options, deadline)

    def send(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        options: Options = _SERVICE_DECIDES,
        deadline: Deadline | None = None,
    ) -> Answer:
        """Send a whole conversation that ends with a question."""
        for message in messages:
            _check_text(message)
        if not messages or not (messages[-1].text.strip() or messages[-1].images):
            raise UsageError("there is no question", hint='reka-cli ask "What can you see?" picture.jpg')
        limits = Limits(
            deadline or Deadline.after(self._timeout_s), _positive_s(self._idle_timeout_s), retries=self._retries
        )
        provider = self._load()(self._config, limits, self._log)
        request = ChatRequest(tuple(messages), model or self._model or provider.default_model, options)
        return Answer(provider.events(request), provider.name, request.model, allow_partial=self._allow_partial)

    def _load(self) -> type[Provider]:
        if isinstance(self._provider, type):
            return self._provider
        from reka_cli import providers

        name = self._provider
        return providers.load(providers.choose(self._config) if name == "auto" else name)


def _check_text(message: Message) -> None:
    try:
        message.text.encode()
    except UnicodeEncodeError as error:
        raise BadInput("the question holds bytes that are not UTF-8 text") from error


def _positive_s(seconds: float) -> float:
    return Deadline.after(seconds).total_s
