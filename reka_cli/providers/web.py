"""The user's own web session: cookies, access token, upload, chat.

Nothing of this wire is documented by Reka. Source of each fact: clients that others wrote (gpt4free 2024-04 to 2025-07;
reca and jessfin, MIT, 2024; and others), collected in docs/protocols.md. Last reported to work by others in 2025.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, ClassVar

from reka_cli.call import Limits
from reka_cli.catalogue import Model
from reka_cli.config import Config
from reka_cli.credentials import WebAccess, web_access
from reka_cli.errors import BadInput, NotLoggedIn, ServiceError
from reka_cli.messages import ChatRequest, Done, Event, Events, Image, Message, Notice, Start, Usage
from reka_cli.providers import WEB_MODELS
from reka_cli.providers.text_so_far import TextSoFar
from reka_cli.schema import instruction
from reka_cli.session import Session, is_bearer, token_expiry_s
from reka_cli.stream import objects, tokens
from reka_cli.transport import Body, Diverted, Response, Transport, form_body, json_body

LOGIN_HINT = "log in at https://space.reka.ai in a browser, then: reka-cli login"
RENEW_HINT = "export REKA_TOKEN with a new token, or unset it and: reka-cli login"

# The models' turn separator, and the next turn that a model may make up. It comes letter by letter at the end of an
# answer, after a newline and a blank.
_SEPARATOR = "\n <sep> human:"
_HALF_CHARACTERS = "\ufffd" + "".join(map(chr, range(0xD800, 0xDC00)))
_SEPARATOR_PARTS = tuple(_SEPARATOR[:length] for length in range(len(_SEPARATOR), 2, -1))


class Reka:
    """Reka's web chat with the session of the user."""

    name: ClassVar[str] = "web"
    default_model: str = "reka-core"

    def __init__(
        self,
        config: Config,
        limits: Limits,
        log: Callable[[str], None] | None = None,
        access: WebAccess | None = None,
    ) -> None:
        found = access or web_access(config)
        if found is None:
            raise NotLoggedIn("there is no web session", hint=LOGIN_HINT)
        self._access = found
        self._limits = limits
        self._log = log

    def events(self, request: ChatRequest) -> Events:
        """See Provider.events."""
        turns, image = _conversation(request)
        yield Start(request.model)
        with closing(Transport(self._access.base_url, self._limits, self._log)) as transport:
            call = _Call(transport, self._access)
            try:
                if image:
                    turns[0] |= {"image_url": (yield from call.upload(image)), "media_type": "image"}
                response = yield from call.post("/api/chat", json_body(_body(request, turns)))
            except NotLoggedIn as error:
                error.hint = RENEW_HINT if self._access.token else LOGIN_HINT
                raise
            yield from _answer(response)

    def check(self) -> Generator[Notice, None, None]:
        """See Provider.check."""
        yield from self.renewed()

    def renewed(self) -> Generator[Notice, None, Session | None]:
        """Get a token for the session and return the session as it is then; a token of its own can only be read."""
        access = self._access
        if access.session is None:
            expires_s = token_expiry_s(access.token or "")
            if expires_s is not None and expires_s <= time.time():
                raise NotLoggedIn("the token of the web session has expired", hint=RENEW_HINT)
            yield Notice("whether the service takes a token shows only in a question: its date alone was looked at")
            return None
        with closing(Transport(access.base_url, self._limits, self._log)) as transport:
            call = _Call(transport, access)
            try:
                return (yield from call.renew(access.session))
            except NotLoggedIn as error:
                error.hint = LOGIN_HINT
                raise

    def models(self, *, refresh: bool = False) -> Generator[Notice, None, tuple[Model, ...]]:  # noqa: ARG002
        """See Provider.models: there is no list to ask for, only the names that clients of 2024 knew."""
        yield Notice("the web session has no list: these names were seen in clients of 2024, any other is sent too")
        return tuple(Model(name, ("text", "image")) for name in WEB_MODELS)


class _Call:
    """The requests of one question, with the token they share."""

    def __init__(self, transport: Transport, access: WebAccess) -> None:
        self._transport = transport
        self._access = access
        self._session = access.session
        self._token = self._kept_token()
        self._renewed = False
        cookies = access.session.cookies if access.session else ()
        for secret in (self._token or "", *(cookie.value for cookie in cookies)):
            transport.keep_secret(secret)

    def upload(self, image: Image) -> Generator[Notice, None, str]:
        """Upload a picture and return the URL to refer to it by; it is opaque and passed on as it came."""
        name = image.media_type.replace("/", ".")  # the user's own name for it may say more than the picture
        response = yield from self.post("/api/upload-image", form_body("image", name, image))
        answer = response.json()
        for key in ("media_url", "image_url"):  # seen under the first name in 2024-04, under the second in 2024-05
            if isinstance(answer, dict) and isinstance(answer.get(key), str) and answer[key]:
                return str(answer[key])
        raise ServiceError("the service took the picture but gave no URL for it")

    def post(self, path: str, body: Body) -> Generator[Notice, None, Response]:
        """POST with the token, after a 401 once more with a fresh one."""
        if self._token is None and self._session:
            self._token = yield from self._mint(self._session)
        try:
            return (yield from self._send(path, body))
        except NotLoggedIn:
            if self._session is None or self._renewed:
                raise
        self._renewed = True
        self._token = yield from self._mint(self._session)
        return (yield from self._send(path, body))

    def renew(self, session: Session) -> Generator[Notice, None, Session]:
        """Get a fresh token, whatever is kept, and return the session as it is after that."""
        yield from self._mint(session)
        return self._session or session

    def _send(self, path: str, body: Body) -> Generator[Notice, None, Response]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream, application/json"}
        return (yield from self._transport.send("POST", path, headers=headers, body=body))

    def _kept_token(self) -> str | None:
        access = self._access
        if access.session and access.store:
            with suppress(NotLoggedIn):  # a store that cannot be used is told when the next token is to be kept
                return access.store.token(access.session, access.base_url)
        return access.token

    def _mint(self, session: Session) -> Generator[Notice, None, str]:
        """Get a token for the session, and the session anew if it was refreshed with it; keep both."""
        headers = {"Cookie": session.header, "Accept": "application/json"}
        try:
            response = yield from self._transport.send("GET", "/bff/auth/access_token", headers=headers)
            answer = response.json()
        except Diverted as error:  # to a page for logging in, whatever type it claims
            raise NotLoggedIn("the web session is no longer valid: the service wants a login") from error
        token = answer.get("accessToken") if isinstance(answer, dict) else None
        if not (isinstance(token, str) and is_bearer(token)):
            raise NotLoggedIn("the web session gave no access token")
        now = self._session = session.refreshed(response.set_cookie, time.time()) or session
        for secret in (token, *(cookie.value for cookie in now.cookies)):
            self._transport.keep_secret(secret)
        yield from self._keep(token, session, now)
        return token

    def _keep(self, token: str, before: Session, now: Session) -> Iterator[Notice]:
        access = self._access
        if access.store is None:
            return
        try:
            if access.session_is_stored and now != before:
                access.store.save_session(now, replacing=before)
            # a cookie file is not ours to change: the next question starts from what it holds again
            bound_to = now if access.session_is_stored or access.session is None else access.session
            access.store.save_token(token, bound_to, access.base_url)
        except (BadInput, NotLoggedIn) as error:
            yield Notice(f"the access token could not be kept for the next question: {error.message}")


def _conversation(request: ChatRequest) -> tuple[list[dict[str, str]], Image | None]:
    """Give `conversation_history` and the picture of its first turn; raise BadInput for what they cannot carry."""
    if request.options.max_tokens is not None or request.options.temperature is not None:
        raise BadInput("the web session takes neither --max-tokens nor --temperature")
    messages = list(request.messages)
    system = messages.pop(0) if messages and messages[0].role == "system" else Message("system", "")
    for index, message in enumerate(messages):
        if message.role != ("assistant" if index % 2 else "user"):
            raise BadInput("on the web session questions and answers must alternate, a question first")
    if len(messages) % 2 == 0:
        raise BadInput("on the web session a conversation must end with a question")
    first, *later = messages
    if any(message.videos for message in request.messages):
        raise BadInput("the web session takes no video here", hint="--provider api")
    if system.images or any(message.images for message in later):
        raise BadInput("on the web session a picture can only go with the first question of a conversation")
    if len(first.images) > 1:
        count = len(first.images)
        raise BadInput(f"the web session takes one picture a question, not {count}", hint="ask about one at a time")
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


def _answer(response: Response) -> Iterator[Event]:
    """Turn the stream of texts so far into deltas; end at `finish_reason`, or with none at the end of the stream."""
    progress = _Progress()
    with closing(objects(response)) as answers:
        for answer in answers:
            if answer is None or answer.get("type", "model") != "model":
                continue
            if answer.get("text") is not None:
                yield from progress.events(answer["text"], is_last=bool(answer.get("finish_reason")))
            if answer.get("finish_reason"):
                yield from _usage(answer.get("metadata"))
                yield from progress.end(str(answer["finish_reason"]))
                return
    yield from progress.end(None)


class _Progress:
    """The text so far, of which the new part is passed on."""

    def __init__(self) -> None:
        self._text = TextSoFar()

    def events(self, so_far: object, *, is_last: bool) -> Iterator[Event]:
        """Give what is new in `so_far`, the whole text with its blanks and its unfinished separator."""
        if not isinstance(so_far, str):
            raise ServiceError("the service sent an answer whose text is no text")
        # a character that was cut in two comes as U+FFFD or as half a surrogate pair first
        yield from self._text.update(_visible(so_far if is_last else so_far.rstrip(_HALF_CHARACTERS)))

    def end(self, finish_reason: str | None) -> Iterator[Event]:
        yield from self._text.end()
        yield Done(finish_reason, self._text.replacement)


def _visible(so_far: str) -> str:
    end = len(so_far.rstrip())
    while part := next((part for part in _SEPARATOR_PARTS if so_far.endswith(part, 0, end)), None):
        end -= len(part)
        while so_far[end - 1 : end].isspace():  # not rstrip(): each copy would be as long as the text
            end -= 1
    return so_far[:end].lstrip()


def _usage(metadata: object) -> Iterator[Usage]:
    if isinstance(metadata, dict):
        counts = [metadata.get(key) for key in ("input_tokens", "generated_tokens")]
        yield Usage(*map(tokens, counts))
