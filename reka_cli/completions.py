"""The OpenAI-shaped face of Client: `client.chat.completions.create(...)`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, overload

from reka_cli.answer import Answer
from reka_cli.errors import BadInput, UsageError
from reka_cli.messages import Done, Image, Message, Options, ReasoningDelta, Role, TextDelta

if TYPE_CHECKING:
    from reka_cli.images import Source

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class ChoiceDelta:
    """The new part of the answer; `content` and `reasoning_content` are None where there is none."""

    content: str | None = None
    reasoning_content: str | None = None


@dataclass(frozen=True)
class ChunkChoice:
    delta: ChoiceDelta
    finish_reason: str | None = None
    index: int = 0


@dataclass(frozen=True)
class ChatCompletionChunk:
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"


@dataclass(frozen=True)
class CompletionUsage:
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class ChatCompletionMessage:
    content: str
    role: str = "assistant"
    reasoning_content: str | None = None


@dataclass(frozen=True)
class Choice:
    message: ChatCompletionMessage
    finish_reason: str | None
    index: int = 0


@dataclass(frozen=True)
class ChatCompletion:
    model: str
    choices: list[Choice]
    usage: CompletionUsage | None = None
    object: str = "chat.completion"


class Send(Protocol):
    """What `Client.send` does: ask with a whole conversation."""

    def __call__(
        self, messages: Sequence[Message], model: str | None, options: Options
    ) -> Answer: ...


class Load(Protocol):
    """What `Client.load` does: make images ready."""

    def __call__(self, images: Iterable[Source | Image]) -> tuple[Image, ...]: ...


@dataclass(frozen=True)
class Chat:
    send: Send = field(repr=False)
    load: Load = field(repr=False)

    @property
    def completions(self) -> Completions:
        return Completions(self.send, self.load)


@dataclass(frozen=True)
class Completions:
    send: Send = field(repr=False)
    load: Load = field(repr=False)

    @overload
    def create(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        stream: Literal[True],
        model: str | None = ...,
        image: Source | Image | None = ...,
        images: Iterable[Source | Image] | None = ...,
        max_tokens: int | None = ...,
        temperature: float | None = ...,
        seed: int | None = ...,
    ) -> Iterator[ChatCompletionChunk]: ...

    @overload
    def create(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        stream: Literal[False] = ...,
        model: str | None = ...,
        image: Source | Image | None = ...,
        images: Iterable[Source | Image] | None = ...,
        max_tokens: int | None = ...,
        temperature: float | None = ...,
        seed: int | None = ...,
    ) -> ChatCompletion: ...

    def create(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        stream: bool = False,
        model: str | None = None,
        image: Source | Image | None = None,
        images: Iterable[Source | Image] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Ask with messages as the OpenAI library takes them.

        `messages` are dicts of `role` ("system", "user", "assistant") and `content`, a text or a list of parts
        `{"type": "text", "text"}` and `{"type": "image_url", "image_url": {"url"}}`, an http(s) or a data URL. `image`
        and `images` (whatever `Client.ask` takes) go with the last of them. With `stream`, chunks whose
        `choices[0].delta.content` is the new text; else one completion. Raises RekaError, as Answer does.
        """
        turns = [_message(one, self.load) for one in messages]
        sources = [] if image is None else [image]
        sources.extend(images or ())
        loaded = self.load(sources)
        if loaded and turns:
            last = turns[-1]
            turns[-1] = Message(last.role, last.text, last.images + loaded)
        answer = self.send(turns, model, Options(max_tokens, temperature, seed))
        return _chunks(answer) if stream else _completion(answer)


def _chunks(answer: Answer) -> Iterator[ChatCompletionChunk]:
    try:
        for event in answer:
            match event:
                case TextDelta(text):
                    yield ChatCompletionChunk(
                        answer.model, [ChunkChoice(ChoiceDelta(content=text))]
                    )
                case ReasoningDelta(text):
                    yield ChatCompletionChunk(
                        answer.model, [ChunkChoice(ChoiceDelta(reasoning_content=text))]
                    )
                case Done(finish_reason):
                    yield ChatCompletionChunk(
                        answer.model, [ChunkChoice(ChoiceDelta(), finish_reason)]
                    )
    finally:
        answer.close()


def _completion(answer: Answer) -> ChatCompletion:
    reasoning = "".join(event.text for event in answer if isinstance(event, ReasoningDelta)) or None
    message = ChatCompletionMessage(answer.text, reasoning_content=reasoning)
    usage = None
    if (
        answer.usage
        and answer.usage.input_tokens is not None
        and answer.usage.output_tokens is not None
    ):
        counts = answer.usage.input_tokens, answer.usage.output_tokens
        usage = CompletionUsage(*counts, sum(counts))
    return ChatCompletion(answer.model, [Choice(message, answer.finish_reason)], usage)


def _message(one: Mapping[str, Any], load: Load) -> Message:
    if not isinstance(one, Mapping):
        raise UsageError("a message must be a dict with role and content")
    role, content = one.get("role"), one.get("content")
    if role not in _ROLES:
        raise UsageError(f"a message's role must be one of {', '.join(_ROLES)}, not {role!r}")
    if isinstance(content, str):
        return Message(cast("Role", role), content)
    texts: list[str] = []
    images: list[Image] = []
    for part in content if isinstance(content, list) else [None]:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                images += load([_url(url)])
            case _:
                raise UsageError(
                    "a message's content must be a text, or a list of text and image_url parts"
                )
    return Message(cast("Role", role), "\n".join(texts), tuple(images))


def _url(text: str) -> str:
    if not text.lower().startswith(("data:", "http://", "https://")):  # nor a path, which is no URL
        raise BadInput("an image_url must be an http(s) URL or a data URL")
    return text
