"""The protocol of the web session: what is sent, what is kept for the next question."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, COOKIE_VALUE, Result, Run, Service, write_cookies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reka_cli import Answer, BadInput, Client, IncompleteAnswer, Refused, ServiceError
from reka_cli.config import Config
from reka_cli.cookies.session import Cookie, Session
from reka_cli.credentials.store import Store
from reka_cli.messages import Done, Message, Notice, Options, Start, TextDelta, Usage
from reka_cli.providers._reasoning import Splitter
from reka_cli.providers.web import WebAnswer, _visible

WORDS = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: {}\n"


@pytest.fixture
def client(service: Service, home: Path) -> Client:
    """A client with a token of the environment."""
    return Client(
        "web",
        config=Config(state_dir=home, web_base=service.url, token=service.server.token),
        retries=0,
    )


def sent(service: Service) -> dict[str, object]:
    """The body of the last request."""
    body: dict[str, object] = json.loads(service.received[-1].body)
    return body


class TestRequests:
    def test_a_question_is_one_human_turn(self, client: Client, service: Service) -> None:
        client.ask("hello").read()

        assert sent(service) == {
            "conversation_history": [{"type": "human", "text": "hello"}],
            "stream": True,
            "use_search_engine": False,
            "use_code_interpreter": False,
            "model_name": "reka-core",
        }

    def test_an_image_is_referred_to_by_the_url_it_got(
        self, client: Client, service: Service
    ) -> None:
        client.ask("hello", [CAT], model="reka-flash", options=Options(seed=7)).read()

        url = "https://sandbox.invalid/sandbox|user/vlm/fc898c685c70f36d349c9851=="
        assert sent(service) == {
            "conversation_history": [
                {"type": "human", "text": "hello", "image_url": url, "media_type": "image"}
            ],
            "stream": True,
            "use_search_engine": False,
            "use_code_interpreter": False,
            "model_name": "reka-flash",
            "random_seed": 7,
        }

    def test_an_image_is_uploaded_as_it_is_and_without_its_name(
        self, client: Client, service: Service
    ) -> None:
        client.ask("hello", [CAT]).read()

        upload = service.received[0]
        assert upload.path == "/api/upload-image"
        assert CAT.read_bytes() in upload.body
        assert b'name="image"; filename="image.jpeg"\r\nContent-Type: image/jpeg\r\n' in upload.body

    def test_a_system_prompt_stands_in_front_of_the_first_turn(
        self, client: Client, service: Service
    ) -> None:
        conversation = [
            Message("system", "Be brief."),
            Message("user", "hello"),
            Message("assistant", "hi"),
            Message("user", "again"),
        ]
        client.send(conversation).read()

        assert sent(service)["conversation_history"] == [
            {"type": "human", "text": "Be brief.\n\nhello"},
            {"type": "model", "text": "hi"},
            {"type": "human", "text": "again"},
        ]

    @pytest.mark.parametrize("loads", ["once", "each time"])
    def test_an_image_is_uploaded_once_in_a_conversation(
        self, client: Client, service: Service, loads: str
    ) -> None:
        image = client.load([CAT])
        said: list[Message] = []
        for turn in ("one", "two", "three"):
            images = image if loads == "once" else client.load([CAT])
            said.append(Message("user", turn, images if not said else ()))
            said[0] = Message("user", "one", images)
            said.append(Message("assistant", client.send(said).read()))

        assert service.paths == ["/api/upload-image", "/api/chat", "/api/chat", "/api/chat"]
        assert said[-1].text.startswith("This is the sandbox")
        assert [turn["type"] for turn in sent(service)["conversation_history"]] == [
            "human",
            "model",
        ] * 2 + ["human"]

    def test_an_image_that_the_service_has_forgotten_is_uploaded_again(
        self, client: Client, service: Service
    ) -> None:
        question = Message("user", "one", client.load([CAT]))
        answer = Message("assistant", client.send([question]).read())
        service.server.state._images.clear()

        text = client.send([question, answer, Message("user", "two")]).read()

        assert service.paths == [
            "/api/upload-image",
            "/api/chat",
            "/api/chat",
            "/api/upload-image",
            "/api/chat",
        ]
        assert text.endswith("Your question was: two")

    def test_another_conversation_uploads_its_image(self, client: Client, service: Service) -> None:
        for _ in range(2):
            client.ask("hello", [CAT]).read()

        assert service.paths == ["/api/upload-image", "/api/chat"] * 2

    def test_who_asks_is_said(self, client: Client, service: Service) -> None:
        client.ask("hello").read()

        headers = service.received[0].headers
        assert headers["user-agent"] == "reka-cli/0.1.0"
        assert "cookie" not in headers

    @pytest.mark.parametrize(
        ("messages", "options", "message"),
        [
            (
                [Message("user", "a"), Message("user", "b")],
                Options(),
                "on the web session questions and answers must alternate, a question first",
            ),
            (
                [Message("assistant", "a"), Message("user", "b")],
                Options(),
                "on the web session questions and answers must alternate, a question first",
            ),
            (
                [Message("user", "a"), Message("system", "late"), Message("user", "b")],
                Options(),
                "on the web session questions and answers must alternate, a question first",
            ),
            (
                [Message("user", "a"), Message("assistant", "b")],
                Options(),
                "on the web session a conversation must end with a question",
            ),
            (
                [Message("system", "only this")],
                Options(),
                "on the web session a conversation must end with a question",
            ),
            (
                [Message("user", "a")],
                Options(max_tokens=5),
                "the web session takes neither --max-tokens nor --temperature",
            ),
            (
                [Message("user", "a")],
                Options(temperature=0.5),
                "the web session takes neither --max-tokens nor --temperature",
            ),
        ],
    )
    def test_what_the_protocol_cannot_carry_is_refused(
        self,
        client: Client,
        service: Service,
        messages: list[Message],
        options: Options,
        message: str,
    ) -> None:
        with pytest.raises(BadInput) as caught:
            client.send(messages, options=options).read()

        assert caught.value.message == message
        assert service.received == []

    def test_an_image_on_a_later_turn_is_refused(self, client: Client, service: Service) -> None:
        messages = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
        with pytest.raises(BadInput) as caught:
            client.chat.completions.create(messages=messages, image=CAT)

        assert (
            caught.value.message
            == "on the web session an image can only go with the first question of a conversation"
        )
        assert service.received == []

    def test_two_images_are_refused(
        self, run: Run, service: Service, web_env: dict[str, str]
    ) -> None:
        result = run("ask", "Which is sharper?", str(CAT), str(CAT), env=web_env)

        told = "error: the web session takes one image a question, not 2\nhint: ask about one at a time\n"
        assert result == Result(5, "", told)
        assert service.received == []


class TestManyQuestions:
    @pytest.fixture
    def asking(self, service: Service, home: Path, cookies_file: Path) -> Iterator[Client]:
        """A client whose session has no token yet."""
        config = Config(state_dir=home, web_base=service.url, cookies_file=cookies_file)
        with Client("web", config=config, retries=0) as client:
            yield client

    def test_they_share_one_token(self, asking: Client, service: Service) -> None:
        with ThreadPoolExecutor(8) as pool:
            texts = set(pool.map(lambda _: asking.ask("hello").read() + "\n", range(16)))

        assert texts == {WORDS.format("hello")}
        assert sorted(service.paths) == ["/api/chat"] * 16 + ["/bff/auth/access_token"]

    def test_a_token_that_is_refused_is_renewed_once_for_all(
        self, asking: Client, service: Service
    ) -> None:
        asking.ask("hello").read()
        service.server.state._tokens.clear()
        service.received.clear()
        with ThreadPoolExecutor(8) as pool:
            texts = set(pool.map(lambda _: asking.ask("hello").read() + "\n", range(16)))

        assert texts == {WORDS.format("hello")}
        assert service.paths.count("/bff/auth/access_token") == 1


class TestEvents:
    def test_they_are_deltas_then_usage_then_the_end(self, client: Client) -> None:
        answer = client.ask("hello")
        events = list(answer)

        deltas = [event.text for event in events if isinstance(event, TextDelta)]
        assert deltas[:4] == ["This", " is", " the", " sandbox"]
        assert "".join(deltas) == WORDS.format("hello").strip() == answer.text
        assert events == [Start("reka-core"), *map(TextDelta, deltas), Usage(20, 20), Done("stop")]

    def test_a_false_separator_is_text(self, client: Client) -> None:
        question = "a\n <section> b\n <sep> c <sep"

        assert client.ask(question).read() == WORDS.format(question).strip()

    def test_a_rewritten_answer_keeps_the_final_text_apart_from_the_deltas(
        self, client: Client
    ) -> None:
        answer = client.ask("hello", model="sandbox-rewrite")
        events = list(answer)

        final = WORDS.format("hello").strip().replace("a stand-in", "a substitute")
        deltas = [event.text for event in events if isinstance(event, TextDelta)]
        assert answer.text == final
        assert events[-1] == Done("stop", final)
        assert "".join(deltas) == (
            "This is the sandbox of reka-cli: a stand-in for Reka,\n"
            "ubstitute for Reka, not a model. It cannot see.\n\nYour question was: hello"
        )
        assert [event.text for event in events if isinstance(event, Notice)] == [
            "the service rewrote its answer: what follows replaces the text from the point where it differs"
        ]

    def test_an_answer_that_shrinks_is_told_at_its_end(self, client: Client) -> None:
        answer = client.ask("hello", model="sandbox-take-back")
        events = list(answer)

        assert answer.text == "This is the sandbox of reka-cli: a stand-in for Reka, not"
        assert events[-3:] == [
            Notice("the service took back the end of its answer"),
            Usage(11, 11),
            Done("stop", "This is the sandbox of reka-cli: a stand-in for Reka, not"),
        ]

    def test_closing_the_answer_closes_the_connection(self, client: Client) -> None:
        answer = client.ask("hello", model="sandbox-stall")
        assert [next(iter(answer)) for _ in range(2)] == [Start("sandbox-stall"), TextDelta("This")]
        answer.close()  # an open socket would be a warning, and a warning is a failure

        assert answer.text == "This"
        assert list(answer) == []

    def test_how_much_had_been_passed_on_is_known(self, client: Client) -> None:
        with pytest.raises(ServiceError) as caught:
            client.ask("hello", model="sandbox-garbage").read()

        assert caught.value.partial_chars == len(
            "This is the sandbox of reka-cli: a stand-in for Reka,"
        )


@pytest.fixture
def texts(serve_stream: Callable[[bytes], str], home: Path) -> Callable[..., Answer]:
    """The answer to a stream of these texts so far, the last one with its finish reason."""

    def texts(*so_far: object, finish_reason: str | None = "stop") -> Answer:
        events = [{"type": "model", "text": text} for text in so_far]
        if finish_reason:
            events[-1]["finish_reason"] = finish_reason
        stream = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
        return Client("web", config=Config(home, web_base=serve_stream(stream), token="token")).ask(
            "hello"
        )

    return texts


class TestTextSoFar:
    @pytest.mark.parametrize(
        ("so_far", "deltas"),
        [
            (["caf\ufffd", "café is", "café is it"], ["caf", "é is", " it"]),
            (["a\ud83d", "a\ud83d\ude00", "a\ud83d\ude00 b"], ["a", "😀", " b"]),
            (["a", "a\ufffd"], ["a", "\ufffd"]),
            (["a\n <sep>\n <sep>"], ["a"]),
            (["a", "a\n <sep> hum", "a\n <sep> human:"], ["a"]),
            (["a\n <s", "a\n <sect"], ["a", "\n <sect"]),
            (["hello", None], ["hello"]),
            (["  a ", "  a \n b"], ["a", " \n b"]),
        ],
    )
    def test_becomes_deltas(
        self, texts: Callable[..., Answer], so_far: list[object], deltas: list[str]
    ) -> None:
        events = list(texts(*so_far))

        assert [event.text for event in events if isinstance(event, TextDelta)] == deltas
        assert [event for event in events if isinstance(event, Notice)] == []

    def test_separators_without_end_are_gone_over_once(self, texts: Callable[..., Answer]) -> None:
        assert texts("hello" + "\n <sep>" * 100_000).read() == "hello"

    @pytest.mark.parametrize("text", [5, [5], {"a": "b"}])
    def test_that_is_no_text_is_a_service_error(
        self, texts: Callable[..., Answer], text: object
    ) -> None:
        with pytest.raises(ServiceError, match="the service sent an answer whose text is no text"):
            texts(text).read()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.text("ab \n<sep>é", max_size=8), min_size=1, max_size=8))
    def test_joined_deltas_are_the_text_unless_that_is_told(self, pieces: list[str]) -> None:
        answer, events = WebAnswer(), []
        for index in range(len(pieces)):
            reason = "stop" if index == len(pieces) - 1 else None
            text = "".join(pieces[: index + 1])
            events += answer.read({"text": text, "finish_reason": reason})
        events += answer.end(is_done=False)

        joined = "".join(event.text for event in events if isinstance(event, TextDelta))
        has_notice = any(isinstance(event, Notice) for event in events)
        splitter = Splitter()
        visible = _visible("".join(pieces), is_last=True)
        deltas = [*splitter.feed(visible), *splitter.flush()]
        assert has_notice or joined == "".join(delta.text for delta in deltas)

    def test_what_is_read_again_fails_again(self, texts: Callable[..., Answer]) -> None:
        answer = texts("half", finish_reason=None)

        for _ in range(2):
            with pytest.raises(IncompleteAnswer, match="did not say that this is its end"):
                answer.read()

    def test_an_answer_that_was_closed_is_not_whole(self, texts: Callable[..., Answer]) -> None:
        answer = texts("a", "a b")
        next(iter(answer))
        answer.close()

        with pytest.raises(IncompleteAnswer, match="the answer was closed before its end"):
            answer.read()


class TestBodies:
    @pytest.mark.parametrize("body", [b"\n <!doctype html><p>challenge", b"<html>"])
    def test_a_page_is_refused_whatever_type_it_claims(
        self, serve_stream: Any, home: Path, body: bytes
    ) -> None:
        with pytest.raises(
            Refused, match="the service answered with a web page where an answer was due"
        ):
            Client("web", config=Config(home, web_base=serve_stream(body), token="token")).ask(
                "hello"
            ).read()

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b'{"detail": "gone"}', "the service reported an error: gone"),
            (b"[]", "the service sent an answer that is no object"),
            (b"{", "the service sent something that is not JSON in its answer"),
        ],
    )
    def test_json_that_is_no_answer_is_a_service_error(
        self, serve_stream: Any, home: Path, body: bytes, message: str
    ) -> None:
        base = serve_stream(body, "application/json")
        with pytest.raises(ServiceError) as caught:
            Client("web", config=Config(home, web_base=base, token="token")).ask("hello").read()

        assert caught.value.message == message

    def test_json_may_begin_with_a_byte_order_mark(self, serve_stream: Any, home: Path) -> None:
        base = serve_stream(
            b'\xef\xbb\xbf{"text": "hi", "finish_reason": "stop"}', "application/json"
        )

        assert (
            Client("web", config=Config(home, web_base=base, token="token")).ask("hello").read()
            == "hi"
        )

    def test_an_event_that_does_not_end_is_a_service_error(
        self, serve_stream: Any, home: Path
    ) -> None:
        base = serve_stream(b"data: " + b"x" * (17 << 20))
        with pytest.raises(ServiceError, match="the service sent more than 16 MB as one event"):
            Client("web", config=Config(home, web_base=base, token="token")).ask("hello").read()


class TestToken:
    @pytest.mark.parametrize("token", ["abc\ndef-secret", "žluť-secret", "a b-secret"])
    def test_one_that_no_header_can_carry_is_refused_and_not_shown(
        self, run: Run, service: Service, token: str
    ) -> None:
        result = run(
            "ask", "hello", "--debug", env={"REKA_WEB_BASE": service.url, "REKA_TOKEN": token}
        )

        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.endswith(
            "error: REKA_TOKEN holds what no header can carry\nhint: export REKA_TOKEN=... once more\n"
        )
        assert "secret" not in result.stderr
        assert service.received == []

    def test_it_is_kept_for_the_next_question(
        self, run: Run, service: Service, web_env: dict[str, str]
    ) -> None:
        results = [run("ask", "hello", env=web_env) for _ in range(2)]

        assert results == [Result(0, WORDS.format("hello"), "")] * 2
        assert service.paths == ["/bff/auth/access_token", "/api/chat", "/api/chat"]
        assert service.received[0].headers["cookie"] == f"appSession={COOKIE_VALUE}"
        assert "cookie" not in service.received[1].headers

    def test_it_is_not_sent_for_another_session(
        self, run: Run, service: Service, web_env: dict[str, str], cookies_file: Path
    ) -> None:
        run("ask", "hello", env=web_env)
        write_cookies(cookies_file, {"appSession": "another-session"})
        run("ask", "hello", env=web_env)

        assert service.paths == ["/bff/auth/access_token", "/api/chat"] * 2

    def test_a_fresh_one_is_got_once_after_a_401(
        self, run: Run, service: Service, web_env: dict[str, str], home: Path
    ) -> None:
        run("ask", "hello", env=web_env)
        service.received.clear()

        result = run("ask", "hello", "-m", "sandbox-401-once", env=web_env)

        assert result == Result(0, WORDS.format("hello"), "")
        assert service.paths == ["/api/chat", "/bff/auth/access_token", "/api/chat"]
        old, new = (
            one.headers["authorization"] for one in service.received if one.path == "/api/chat"
        )
        assert old != new
        assert new.removeprefix("Bearer ") in (home / "credentials.json").read_text()

    def test_a_401_that_a_fresh_one_does_not_cure_is_not_asked_again(
        self, run: Run, service: Service, web_env: dict[str, str]
    ) -> None:
        assert run("ask", "hello", "-m", "sandbox-401", env=web_env).exit_code == 3
        assert service.paths == ["/bff/auth/access_token", "/api/chat"] * 2

    def test_that_of_the_environment_is_never_stored(
        self, run: Run, service: Service, home: Path
    ) -> None:
        env = {"REKA_WEB_BASE": service.url, "REKA_TOKEN": service.server.token}

        assert run("ask", "hello", env=env).exit_code == 0
        assert service.paths == ["/api/chat"]
        assert list(home.iterdir()) == []

    def test_it_is_used_even_if_it_cannot_be_kept(
        self, run: Run, web_env: dict[str, str], home: Path
    ) -> None:
        home.chmod(0o755)

        result = run("ask", "hello", env=web_env)

        reason = f"{home} is not yours alone, so it is not used"
        notice = f"notice: the access token could not be kept for the next question: {reason}\n"
        assert result == Result(0, WORDS.format("hello"), notice)


class TestSession:
    def test_chunks_are_sent_in_their_order(
        self, run: Run, service: Service, web_env: dict[str, str], cookies_file: Path
    ) -> None:
        write_cookies(
            cookies_file, {"appSession.1": "second", "appSession.0": "first", "other": "no"}
        )

        assert run("ask", "hello", env=web_env).exit_code == 0
        assert service.received[0].headers["cookie"] == "appSession.0=first; appSession.1=second"

    def test_the_stored_one_is_used_and_its_refreshed_cookie_is_stored(
        self, run: Run, service: Service, home: Path
    ) -> None:
        session = Session(
            "space.reka.ai", (Cookie("space.reka.ai", "appSession", "sandbox-rotate-a"),)
        )
        Store(home).save_session(session)
        env = {"REKA_WEB_BASE": service.url}

        results = [run("ask", "hello", env=env) for _ in range(2)]

        assert results == [Result(0, WORDS.format("hello"), "")] * 2
        assert service.paths == [
            "/bff/auth/access_token",
            "/api/chat",
            "/api/chat",
        ]  # the token went with the session
        stored = Store(home).session()
        assert stored is not None
        assert stored.header == "appSession=sandbox-rotate-ax"

    @pytest.mark.parametrize("new", [None, "another"], ids=["logout", "another login"])
    def test_a_client_that_lives_on_keeps_nothing_of_one_that_was_stored(
        self, service: Service, home: Path, new: str | None
    ) -> None:
        store = Store(home)
        store.save_session(
            Session("space.reka.ai", (Cookie("space.reka.ai", "appSession", "sandbox-rotate-a"),))
        )
        with Client("web", config=Config(home, web_base=service.url)) as client:
            client.ask("hello").read()
            store.clear()
            if new:
                store.save_session(
                    Session("space.reka.ai", (Cookie("space.reka.ai", "appSession", new),))
                )
            before = store.path.read_bytes() if new else None
            answer = client.ask("hello", model="sandbox-401-once")

            assert answer.read() + "\n" == WORDS.format("hello")

        assert service.paths[-3:] == ["/api/chat", "/bff/auth/access_token", "/api/chat"]
        assert (store.path.read_bytes() if store.path.exists() else None) == before

    def test_a_refreshed_cookie_of_a_file_is_not_stored(
        self, run: Run, service: Service, web_env: dict[str, str], cookies_file: Path, home: Path
    ) -> None:
        write_cookies(cookies_file, {"appSession": "sandbox-rotate-a"})
        before = cookies_file.read_bytes()

        results = [run("ask", "hello", env=web_env) for _ in range(2)]

        assert [result.exit_code for result in results] == [0, 0]
        assert service.paths == ["/bff/auth/access_token", "/api/chat", "/api/chat"]
        assert cookies_file.read_bytes() == before
        assert Store(home).session() is None

    def test_a_netrc_is_not_read(
        self, run: Run, service: Service, web_env: dict[str, str], home: Path
    ) -> None:
        (home / ".netrc").write_text("default login somebody password else\n")
        os.chmod(home / ".netrc", 0o600)  # noqa: PTH101

        assert run("ask", "hello", env=web_env).exit_code == 0
        assert service.received[-1].headers["authorization"].startswith("Bearer ")
