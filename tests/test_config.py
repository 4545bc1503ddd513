import os
import sys
import tomllib
from pathlib import Path

import pytest

from reka_cli import config
from reka_cli.config import Config
from reka_cli.errors import DeadlineExceeded, UsageError

CANARY = "canary-5e55104"


def read(home, **variables):
    return Config.read({"REKA_HOME": str(home), **variables})


def failure(home, **variables):
    """Give message and hint of the UsageError."""
    with pytest.raises(UsageError) as caught:
        read(home, **variables)
    return caught.value.message, caught.value.hint


def of(home, *values, **more):
    return Config(home, *values, cache_dir=home / "cache", **more)


class TestTheBaseOfTheWebSession:
    @pytest.mark.parametrize(
        ("base", "expected"),
        [
            ("https://space.reka.ai", "https://space.reka.ai"),
            ("https://chat.reka.ai", "https://chat.reka.ai"),
            ("https://reka.ai", "https://reka.ai"),
            ("https://space.reka.ai/", "https://space.reka.ai"),
            ("https://space.reka.ai//", "https://space.reka.ai"),
            (" https://space.reka.ai\n", "https://space.reka.ai"),
            ("https://space.reka.ai/in/front/", "https://space.reka.ai/in/front"),
            ("https://space.reka.ai:8443", "https://space.reka.ai:8443"),
            ("HTTPS://SPACE.Reka.AI", "HTTPS://SPACE.Reka.AI"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://LOCALHOST", "http://LOCALHOST"),
            ("http://127.0.0.1:8000/in/front/", "http://127.0.0.1:8000/in/front"),
            ("http://127.8.9.10", "http://127.8.9.10"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("https://localhost:8443", "https://localhost:8443"),
        ],
    )
    def test_may_be_a_host_of_reka_or_of_this_machine(self, tmp_path, base, expected):
        assert read(tmp_path, REKA_WEB_BASE=base).web_base == expected

    @pytest.mark.parametrize(
        "base",
        [
            *(
                "https://evil.example",
                "https://evilreka.ai",
                "https://reka.ai.evil.example",
                "https://space.reka.ai.evil.example",
            ),
            *(
                "https://evil.example/space.reka.ai",
                "https://evil.example/https://space.reka.ai",
                "https://space-reka.ai",
            ),
            *(
                "https://space.reka.ai@evil.example",
                "https://evil.example\\.reka.ai",
                "https://evil.example\\@space.reka.ai",
            ),
            *(
                "https://evil.example%2f.reka.ai",
                "https://evil.example#.reka.ai",
                "https://evil.example?.reka.ai",
            ),
            *(
                "http://evil.example[::1]",
                "https://space.reka.ai?",
                "https://space.reka.ai#",
                "https://@space.reka.ai",
            ),
            *(
                "https://localhost.evil.example",
                "http://127.0.0.1.evil.example",
                "https://evil.example#@localhost",
            ),
            *(
                "http://10.0.0.1",
                "http://192.168.1.1:8000",
                "http://169.254.169.254",
                "http://2130706433",
            ),
            *(
                "https://user@space.reka.ai",
                f"https://user:{CANARY}@space.reka.ai",
                f"http://:{CANARY}@localhost",
            ),
            *(
                f"https://space.reka.ai/?token={CANARY}",
                "https://space.reka.ai#x",
                "http://localhost:8000?x",
            ),
            *(
                "space.reka.ai",
                "localhost:8000",
                "/in/front",
                "https:",
                "https://",
                "https:///space.reka.ai",
                "file:///etc/passwd",
                CANARY,
            ),
            # not URLs: which of them urlsplit rejects differs between releases of Python
            *("https://space.reka.ai:99999", "https://space.reka.ai:https", "http://localhost:-1"),
            *("http://[::1", "http://::1]", "http://[::1]evil.example", "http://[localhost]"),
        ],
    )
    def test_may_be_nothing_else(self, tmp_path, base):
        assert failure(tmp_path, REKA_WEB_BASE=base) == (
            "REKA_WEB_BASE must be a host of reka.ai or of this machine: the session goes there",
            "export REKA_WEB_BASE=https://space.reka.ai",
        )

    @pytest.mark.parametrize(
        ("base", "cure"),
        [
            ("http://space.reka.ai", "https://space.reka.ai"),
            ("http://chat.reka.ai:443/in/front", "https://chat.reka.ai"),
            ("//space.reka.ai", "https://space.reka.ai"),
            ("ftp://space.reka.ai", "https://space.reka.ai"),
            ("ws://localhost", "https://localhost"),
        ],
    )
    def test_is_encrypted_unless_it_is_this_machine(self, tmp_path, base, cure):
        expected = ("REKA_WEB_BASE must begin with https://", f"export REKA_WEB_BASE={cure}")
        assert failure(tmp_path, REKA_WEB_BASE=base) == expected


class TestTheEnvironment:
    def test_alone_leaves_the_defaults(self, tmp_path):
        assert read(tmp_path) == Config(
            state_dir=tmp_path,
            provider="auto",
            model=None,
            web_base=None,
            cookies_file=None,
            token=None,
            api_base=None,
            api_key=None,
            cache_dir=tmp_path / "cache",
        )

    def test_sets_everything(self, tmp_path):
        found = read(
            tmp_path,
            REKA_PROVIDER="web",
            REKA_MODEL="reka-flash",
            REKA_WEB_BASE="https://chat.reka.ai/",
            REKA_COOKIES="/secret/cookies.txt",
            REKA_TOKEN=f" {CANARY}\n",
        )
        cookies = Path("/secret/cookies.txt")
        assert found == of(tmp_path, "web", "reka-flash", "https://chat.reka.ai", cookies, CANARY)

    @pytest.mark.parametrize("blank", ["", " ", "\t\n"])
    def test_counts_blank_variables_as_unset(self, tmp_path, blank):
        names = ("REKA_PROVIDER", "REKA_MODEL", "REKA_WEB_BASE", "REKA_COOKIES", "REKA_TOKEN")
        assert read(tmp_path, **dict.fromkeys(names, blank)) == of(tmp_path)

    def test_may_name_files_in_the_home_of_the_user(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        found = Config.read({"REKA_HOME": "~/reka", "REKA_COOKIES": "~/cookies.txt"})
        assert found == of(tmp_path / "reka", cookies_file=tmp_path / "cookies.txt")

    def test_is_that_of_the_process_if_none_is_given(self, tmp_path, monkeypatch):
        for name in ("REKA_PROVIDER", "REKA_WEB_BASE", "REKA_COOKIES", "REKA_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("REKA_HOME", str(tmp_path))
        monkeypatch.setenv("REKA_MODEL", "reka-edge")
        assert Config.read() == of(tmp_path, model="reka-edge")

    def test_has_a_token_that_is_not_shown(self, tmp_path):
        expected = f"Config(state_dir={tmp_path!r}, provider='auto', model=None, web_base=None, cookies_file=None, api_base=None, cache_dir={tmp_path / 'cache'!r})"
        assert repr(read(tmp_path, REKA_TOKEN=CANARY)) == expected


class TestThePreferences:
    @pytest.mark.parametrize(
        ("text", "provider", "model"),
        [
            ("", "auto", None),
            ("# nothing yet\n", "auto", None),
            ('model = "reka-flash"', "auto", "reka-flash"),
            ('provider = "web"\nmodel = "reka-flash"\n', "web", "reka-flash"),
            ('model = "Grüße"\r\n', "auto", "Grüße"),
        ],
    )
    def test_are_read_from_the_file(self, tmp_path, text, provider, model):
        (tmp_path / "config.toml").write_text(text, encoding="utf-8", newline="")
        assert read(tmp_path) == of(tmp_path, provider, model)

    def test_are_beaten_by_the_environment(self, tmp_path):
        (tmp_path / "config.toml").write_text(
            'provider = "web"\nmodel = "reka-flash"\n', encoding="utf-8"
        )
        assert read(tmp_path, REKA_PROVIDER="sandbox", REKA_MODEL="reka-edge") == of(
            tmp_path, "sandbox", "reka-edge"
        )

    def test_are_beaten_one_by_one_and_not_by_blank_variables(self, tmp_path):
        (tmp_path / "config.toml").write_text(
            'provider = "web"\nmodel = "reka-flash"\n', encoding="utf-8"
        )
        assert read(tmp_path, REKA_PROVIDER=" ", REKA_MODEL="reka-edge") == of(
            tmp_path, "web", "reka-edge"
        )

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            (f'token = "{CANARY}"', "token"),
            ('modell = "reka-flash"', "modell"),
            ('model = "reka-flash"\nweb_base = "https://space.reka.ai"', "web_base"),
            ("model = 1", "model"),
            ("provider = true", "provider"),
            ('model = ["reka-flash"]', "model"),
            ('[model]\nname = "reka-flash"', "model"),
        ],
    )
    def test_are_known_and_texts(self, tmp_path, text, name):
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        message = f"{path}: {name} is not a preference, or not a text"
        assert failure(tmp_path) == (message, "known preferences: model, provider, [api.headers]")

    @pytest.mark.parametrize("text", ["model", "model = reka-flash", 'model = "a"\nmodel = "b"'])
    def test_are_toml(self, tmp_path, text):
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(tomllib.TOMLDecodeError) as expected:
            tomllib.loads(text)
        reason = str(expected.value)
        message = f"cannot read {path}: {reason[:1].lower()}{reason[1:]}"
        assert failure(tmp_path) == (message, None)

    def test_are_utf8(self, tmp_path):
        path = tmp_path / "config.toml"
        path.write_bytes(b"\xff")
        reason = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
        assert failure(tmp_path) == (f"cannot read {path}: {reason}", None)

    def test_are_a_file(self, tmp_path):
        path = tmp_path / "config.toml"
        path.mkdir()
        assert failure(tmp_path) == (f"cannot read {path}: is a directory", None)

    def test_are_not_waited_for_without_end_if_they_are_a_pipe(self, tmp_path, monkeypatch):
        monkeypatch.setattr(config, "_LONGEST_WAIT_S", 0.1)
        os.mkfifo(tmp_path / "config.toml")
        with pytest.raises(DeadlineExceeded) as caught:
            read(tmp_path)
        assert caught.value.message == f"nothing came from {tmp_path}/config.toml within 0.1 s"

    def test_are_not_too_large(self, tmp_path):
        path = tmp_path / "config.toml"
        path.write_text("#" * ((1 << 20) + 1))
        assert failure(tmp_path) == (f"{path} is larger than 1 MB", None)

    def test_are_in_a_folder(self, tmp_path):
        home = tmp_path / "home"
        home.touch()
        assert failure(home) == (f"cannot read {home / 'config.toml'}: no such file", None)


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the folders are what platformdirs says"
)
class TestTheFolders:
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    @staticmethod
    def prefer(folder, model):
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(f'model = "{model}"', encoding="utf-8")

    def test_are_those_of_the_standard(self, tmp_path):
        self.prefer(tmp_path / ".config/reka-cli", "of-home")
        assert Config.read({}) == Config(
            tmp_path / ".local/state/reka-cli",
            model="of-home",
            cache_dir=tmp_path / ".cache/reka-cli",
        )

    def test_follow_the_variables_of_the_standard(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "preferences"))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
        self.prefer(tmp_path / ".config/reka-cli", "of-home")
        self.prefer(tmp_path / "preferences/reka-cli", "of-xdg")
        assert Config.read({}) == Config(
            tmp_path / "states/reka-cli", model="of-xdg", cache_dir=tmp_path / ".cache/reka-cli"
        )

    def test_are_one_if_a_home_is_given(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
        self.prefer(tmp_path / ".config/reka-cli", "of-home")
        self.prefer(tmp_path / "mine", "of-mine")
        assert read(tmp_path / "mine") == of(tmp_path / "mine", model="of-mine")

    def test_are_not_made_by_reading(self, tmp_path):
        Config.read({})
        assert list(tmp_path.iterdir()) == []


class TestTheBaseOfTheApi:
    @pytest.mark.parametrize(
        ("base", "url"),
        [
            ("https://api.reka.ai/v1", "https://api.reka.ai/v1"),
            ("https://gateway.example/in/front/v1/", "https://gateway.example/in/front/v1"),
            ("http://localhost:8080/v1", "http://localhost:8080/v1"),
            ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ],
    )
    def test_is_one_whose_way_is_private(self, tmp_path, base, url):
        assert read(tmp_path, REKA_API_BASE=base).api_base == url

    @pytest.mark.parametrize(
        "base", ["api.reka.ai/v1", "ftp://x/v1", "https:///v1", "https://a@b/v1", "https://a\\b/v1"]
    )
    def test_is_the_url_of_a_host(self, tmp_path, base):
        expected = (
            "REKA_API_BASE is not the URL of a host",
            "export REKA_API_BASE=https://HOST/v1",
        )
        assert failure(tmp_path, REKA_API_BASE=base) == expected

    def test_ends_in_v1(self, tmp_path):
        expected = (
            "REKA_API_BASE must end in /v1",
            "export REKA_API_BASE=http://localhost:8080/v1",
        )
        assert failure(tmp_path, REKA_API_BASE="http://localhost:8080") == expected

    def test_is_http_elsewhere_only_if_allowed(self, tmp_path):
        env = {"REKA_HOME": str(tmp_path), "REKA_API_BASE": "http://192.0.2.1/v1"}
        assert Config.read(env, insecure_http=True).api_base == "http://192.0.2.1/v1"
