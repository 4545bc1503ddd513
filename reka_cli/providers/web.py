"""The user's own web session: cookies, access token, upload, chat.

Nothing of this protocol is documented by Reka. Source of each fact: clients that others wrote (gpt4free 2024-04 to 2025-07;
reca and jessfin, MIT, 2024; and others), collected in docs/protocols.md. Last reported to work by others in 2025.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any, ClassVar

from reka_cli.config import Config
from reka_cli.cookies.session import Session
from reka_cli.cookies.tokens import is_bearer, token_expiry_s
from reka_cli.credentials import WebAccess, format_relative_time, stored_source, web_access
from reka_cli.errors import BadInput, NotLoggedIn, RekaError, ServiceError
from reka_cli.limits.call import Call
from reka_cli.messages import ChatRequest, Event, Events, Image, Message, Notice, Start, Usage
from reka_cli.providers import WEB_MODELS, About, Log, Status
from reka_cli.providers._assembly import AnswerAssembly, read_finish_reason
from reka_cli.providers._content import Content, read_content
from reka_cli.providers._models import Model
from reka_cli.providers._stream import read_answer, tokens
from reka_cli.schema import instruction
from reka_cli.transport import (
    Body,
    ConnectionPool,
    Response,
    Transport,
    UnexpectedRedirect,
    form_body,
    json_body,
)

LOGIN_HINT = "log in at https://space.reka.ai in a browser, then: reka-cli login"
RENEW_HINT = "export REKA_TOKEN with a new token, or unset it and: reka-cli login"

# The models' turn separator, and the next turn that a model may make up. It comes letter by letter at the end of an
# answer, after a newline and a blank.
_SEPARATOR = "\n <sep> human:"
_HALF_CHARACTERS = "\ufffd" + "".join(map(chr, range(0xD800, 0xDC00)))
_SEPARATOR_PARTS = tuple(_SEPARATOR[:length] for length in range(len(_SEPARATOR), 2, -1))

_MOST_UPLOADS = 100  # whose URLs are kept
_TOKEN_MARGIN_S = 60.0  # a token that ends sooner is renewed


class Reka:
    """Reka's web chat with the session of the user."""

    name: ClassVar[str] = "web"
    about: ClassVar[About] = About(
        "your own web session of Reka", "`reka-cli login`", "`reka-core`"
    )
    default_model: str = "reka-core"

    def __init__(
        self,
        config: Config,
        pool: ConnectionPool,
        log: Log | None = None,
        access: WebAccess | None = None,
    ) -> None:
        found = access or web_access(config)
        if found is None:
            raise NotLoggedIn("there is no web session", hint=LOGIN_HINT)
        hint = RENEW_HINT if found.token else LOGIN_HINT
        self._access = found
        self._transport = Transport(found.base_url, pool, log, login_hint=hint)
        self._login = _Login(found, self._transport)
        self._uploads = _Uploads()

    def events(self, request: ChatRequest, call: Call) -> Events:
        """See Provider.events."""
        turns, image = _conversation(request)
        yield Start(request.model)
        question = _Question(self._transport, self._login, call)
        if image is None:
            response = yield from question.post("/api/chat", json_body(_body(request, turns)))
        else:
            response = yield from self._ask_about(image, request, turns, question)
        yield from _answer_events(response)

    def check(self, call: Call) -> Generator[Notice, None, None]:
        """See Provider.check."""
        yield from self.renew_session(call)

    def renew_session(self, call: Call) -> Generator[Notice, None, Session | None]:
        """Get a token for the session and return the session as it is then; a token of its own can only be read."""
        if self._access.session is None:
            if _ends_within(self._access.token or "", 0):
                raise NotLoggedIn("the token of the web session has expired", hint=RENEW_HINT)
            yield Notice(
                "whether the service takes a token shows only in a question: its date alone was looked at"
            )
            return None
        return (yield from self._login.renew_session(call))

    def models(
        self,
        call: Call,  # noqa: ARG002
        *,
        refresh: bool = False,  # noqa: ARG002
    ) -> Generator[Notice, None, tuple[Model, ...]]:
        """See Provider.models: there is no list to ask for, only the names that clients of 2024 knew."""
        yield Notice(
            "the web session has no list: these names were seen in clients of 2024, any other is sent too"
        )
        return tuple(Model(name, ("text", "image")) for name in WEB_MODELS)

    def close(self) -> None:
        """See Provider.close: there is nothing but connections, which are the pool's."""

    @classmethod
    def status(cls, config: Config) -> Status:
        """See Provider.status."""
        try:
            access = web_access(config)
        except RekaError as error:
            return Status(cls.name, ready=False, problem=error.message)
        if access is None:
            return Status(cls.name, ready=False, problem="no session: reka-cli login")
        if access.session is None:
            token = access.token or ""
            holds: tuple[str, ...] = (f"token of {len(token)} characters",)
            return Status(
                cls.name, True, _source(config, access, "bearer"), holds, token_expiry_s(token)
            )
        holds = tuple(
            f"{one.name} of {len(one.value)} characters" for one in access.session.cookies
        )
        ends_s = access.session.expires_s
        source = _source(config, access, "session")
        if ends_s is not None and ends_s <= time.time():
            problem = f"expired {format_relative_time(ends_s)}: reka-cli login"
            return Status(cls.name, False, source, holds, ends_s, problem=problem)
        return Status(cls.name, True, source, holds, ends_s)

    def _ask_about(
        self,
        image: Image,
        request: ChatRequest,
        turns: list[dict[str, str]],
        question: _Question,
    ) -> Generator[Notice, None, Response]:
        """Ask about an image, which is uploaded in the first turn of a conversation and referred to later.

        Nothing is known of how long an upload lasts: where the service rejects a question that
        refers to an earlier one, the image is uploaded again.
        """
        is_first = len(turns) == 1
        url = None if is_first else self._uploads.url(image)
        while True:
            is_known = url is not None
            url = url or (yield from question.upload(image))
            turns[0] |= {"image_url": url, "media_type": "image"}
            try:
                response = yield from question.post("/api/chat", json_body(_body(request, turns)))
            except BadInput:
                if not is_known:
                    raise
                url = None
            else:
                self._uploads.keep(image, url)
                return response


class _Uploads:
    """The URLs of images that this client uploaded, the latest hundred; safe from many threads."""

    def __init__(self) -> None:
        self._urls: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def url(self, image: Image) -> str | None:
        return self._urls.get((image.sha256, image.media_type))

    def keep(self, image: Image, url: str) -> None:
        key = image.sha256, image.media_type
        with self._lock:
            self._urls.pop(key, None)
            self._urls[key] = url
            if len(self._urls) > _MOST_UPLOADS:
                del self._urls[next(iter(self._urls))]


class _Login:
    """The session and the token that all questions share; one of them renews it while the others wait."""

    def __init__(self, access: WebAccess, transport: Transport) -> None:
        self._access = access
        self._transport = transport
        self._session = access.session
        self._token = access.token
        self._lock = threading.Lock()
        cookies = access.session.cookies if access.session else ()
        for secret in (access.token or "", *(cookie.value for cookie in cookies)):
            transport.keep_secret(secret)

    @property
    def can_renew(self) -> bool:
        return self._session is not None

    def token(self, call: Call, stale: str | None = None) -> Generator[Notice, None, str]:
        """Return a token for a request, a new one if what there is has ended or is the `stale` one."""
        if self._session and not self._is_good(stale):
            yield from call.once(self._lock, self._renew(call, stale), lambda: self._is_good(stale))
        assert self._token
        return self._token

    def renew_session(self, call: Call) -> Generator[Notice, None, Session | None]:
        """Get a new token, whatever is kept, and return the session as it is after that."""
        yield from call.once(self._lock, self._mint(call), lambda: False)
        return self._session

    def _is_good(self, stale: str | None) -> bool:
        token = self._token
        return token is not None and token != stale and not _ends_within(token, _TOKEN_MARGIN_S)

    def _renew(self, call: Call, stale: str | None) -> Generator[Notice, None, None]:
        kept = self._kept_token()
        if kept and kept != stale:
            self._use(kept)
        else:
            yield from self._mint(call)

    def _kept_token(self) -> str | None:
        access = self._access
        if self._session and access.store:
            with suppress(
                NotLoggedIn
            ):  # a store that cannot be used is told when the next token is to be kept
                return access.store.token(self._session, access.base_url)
        return None

    def _use(self, token: str) -> None:
        self._transport.keep_secret(token)
        self._token = token

    def _mint(self, call: Call) -> Generator[Notice, None, None]:
        """Get a token for the session, and the session anew if it was refreshed with it; keep both."""
        session = self._session
        assert session is not None
        headers = {"Cookie": session.header, "Accept": "application/json"}
        path = "/bff/auth/access_token"
        try:
            response = yield from self._transport.send(call, "GET", path, headers=headers)
            answer = response.json()
        except UnexpectedRedirect as error:  # to a page for logging in, whatever type it claims
            message = "the web session is no longer valid: the service wants a login"
            raise NotLoggedIn(message, hint=LOGIN_HINT) from error
        token = answer.get("accessToken") if isinstance(answer, dict) else None
        if not (isinstance(token, str) and is_bearer(token)):
            raise NotLoggedIn("the web session gave no access token", hint=LOGIN_HINT)
        now = session.refresh(response.header_values("Set-Cookie"), time.time()) or session
        for cookie in now.cookies:
            self._transport.keep_secret(cookie.value)
        self._session = now
        self._use(token)
        yield from self._keep(token, session, now)

    def _keep(self, token: str, before: Session, now: Session) -> Iterator[Notice]:
        access = self._access
        if access.store is None:
            return
        try:
            if access.session_is_stored and now != before:
                access.store.save_session(now, replacing=before)
            # a cookie file is not ours to change: the next process starts from what it holds again
            bound_to = now if access.session_is_stored or access.session is None else access.session
            stored = access.session_is_stored
            access.store.save_token(token, bound_to, access.base_url, session_is_stored=stored)
        except (BadInput, NotLoggedIn) as error:
            yield Notice(
                f"the access token could not be kept for the next question: {error.message}"
            )


class _Question:
    """The requests of one question."""

    def __init__(self, transport: Transport, login: _Login, call: Call) -> None:
        self._transport = transport
        self._login = login
        self._call = call
        self._has_renewed = False

    def upload(self, image: Image) -> Generator[Notice, None, str]:
        """Upload an image and return the URL to refer to it by; it is opaque and used as it came."""
        name = image.media_type.replace(
            "/", "."
        )  # the user's own name for it may say more than the image
        response = yield from self.post("/api/upload-image", form_body("image", name, image))
        answer = response.json()
        for key in (
            "media_url",
            "image_url",
        ):  # seen under the first name in 2024-04, under the second in 2024-05
            if isinstance(answer, dict) and isinstance(answer.get(key), str) and answer[key]:
                return str(answer[key])
        raise ServiceError("the service took the image but gave no URL for it")

    def post(self, path: str, body: Body) -> Generator[Notice, None, Response]:
        """POST with the token; after a 401 once more with a fresh one."""
        token = yield from self._login.token(self._call)
        try:
            return (yield from self._send(path, body, token))
        except NotLoggedIn:
            if self._has_renewed or not self._login.can_renew:
                raise
        self._has_renewed = True
        token = yield from self._login.token(self._call, stale=token)
        return (yield from self._send(path, body, token))

    def _send(self, path: str, body: Body, token: str) -> Generator[Notice, None, Response]:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream, application/json",
        }
        return (
            yield from self._transport.send(self._call, "POST", path, headers=headers, body=body)
        )


def _source(config: Config, access: WebAccess, what: str) -> str:
    if config.token:
        return "REKA_TOKEN"
    if access.session and not access.session_is_stored:
        return f"REKA_COOKIES ({config.cookies_file})"
    return stored_source(config, what)


def _ends_within(token: str, seconds: float) -> bool:
    """Return whether a token says that it ends within so many seconds."""
    expires_s = token_expiry_s(token)
    return expires_s is not None and expires_s - seconds <= time.time()


def _conversation(request: ChatRequest) -> tuple[list[dict[str, str]], Image | None]:
    """Give `conversation_history` and the image of its first turn; raise BadInput for what they cannot carry."""
    if request.options.max_tokens is not None or request.options.temperature is not None:
        raise BadInput("the web session takes neither --max-tokens nor --temperature")
    messages = list(request.messages)
    system = messages.pop(0) if messages and messages[0].role == "system" else Message("system", "")
    for index, message in enumerate(messages):
        if message.role != ("assistant" if index % 2 else "user"):
            raise BadInput(
                "on the web session questions and answers must alternate, a question first"
            )
    if len(messages) % 2 == 0:
        raise BadInput("on the web session a conversation must end with a question")
    first, *later = messages
    if any(message.videos for message in request.messages):
        raise BadInput("the web session takes no video here", hint="--provider api")
    if system.images or any(message.images for message in later):
        raise BadInput(
            "on the web session an image can only go with the first question of a conversation"
        )
    if len(first.images) > 1:
        count = len(first.images)
        raise BadInput(
            f"the web session takes one image a question, not {count}",
            hint="ask about one at a time",
        )
    kinds = {"user": "human", "assistant": "model"}
    turns = [{"type": kinds[message.role], "text": message.text} for message in messages]
    if request.schema is not None:
        turns[-1]["text"] += instruction(request.schema)
    if system.text:
        turns[0]["text"] = f"{system.text}\n\n{turns[0]['text']}"
    return turns, next(iter(first.images), None)


def _body(request: ChatRequest, turns: list[dict[str, str]]) -> dict[str, Any]:
    seed = {} if request.options.seed is None else {"random_seed": request.options.seed}
    return {
        "conversation_history": turns,
        "stream": True,
        "use_search_engine": False,  # the answer is to be about what the user sent
        "use_code_interpreter": False,
        "model_name": request.model,
        **seed,
    }


class WebAnswer(AnswerAssembly):
    """Put an answer together from texts so far: `read` each event, then `end`; both yield what is new."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: object = None
        self._visible = ""

    def read(self, event: dict[str, Any]) -> Iterator[Event]:
        """Yield what an event adds. Raises ServiceError for a text that is not text."""
        if event.get("type", "model") != "model":
            return
        reason = read_finish_reason(event.get("finish_reason"))
        if event.get("text") is not None:
            content = read_content(event["text"])
            visible = _visible(content.text, is_last=reason is not None)
            # after the end only more text counts
            if self.finish_reason is None or not self._visible.startswith(visible):
                yield from self._read_text(content._replace(text=visible))
        if event.get("refusal"):
            self._add_refusal(read_content(event["refusal"]).text, is_whole=True)
        if reason is not None:
            self.finish_reason = self.finish_reason or reason
        self.metadata = event.get("metadata") or self.metadata

    def _read_text(self, content: Content) -> Iterator[Event]:
        if content:
            self._texts += 1
        if self.finish_reason is not None:
            yield from self._take_back_end()
        yield from self._update_reasoning(content.reasoning)
        if content.refusal:
            self._add_refusal(content.refusal, is_whole=True)
        self._visible = content.text
        yield from self._update(content.text)

    def end(self, *, is_done: bool) -> Iterator[Event]:  # noqa: ARG002 - [DONE] is not of this protocol
        """Yield what was held back."""
        yield from self._flush()


def _answer_events(response: Response) -> Iterator[Event]:
    """Yield the events of an answer, each of whose texts is the whole text so far."""
    answer = WebAnswer()
    yield from read_answer(response, answer)
    if isinstance(answer.metadata, dict):
        input_tokens = tokens(answer.metadata.get("input_tokens"))
        yield Usage(input_tokens, tokens(answer.metadata.get("generated_tokens")))
    yield answer.done()


def _visible(so_far: str, *, is_last: bool) -> str:
    """Return a text without the blanks around it and the turn separator after it.

    A character that was cut in two comes first as U+FFFD or as half of a surrogate pair.
    """
    if not is_last:
        so_far = so_far.rstrip(_HALF_CHARACTERS)
    end = len(so_far.rstrip())
    while True:
        part = _separator_at(so_far, end)
        if not part:
            return so_far[:end].lstrip()
        end -= len(part)
        # not rstrip(): each copy would be as long as the text
        while so_far[end - 1 : end].isspace():
            end -= 1


def _separator_at(text: str, end: int) -> str:
    """Return the turn separator before `end`, whole or only its beginning; "" if there is none."""
    for part in _SEPARATOR_PARTS:
        if text.endswith(part, 0, end):
            return part
    return ""


PROVIDER = Reka
