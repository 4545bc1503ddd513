"""Machines that differ from the usual: no home, odd input, proxies, certificates, hostile files."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import zygote
from conftest import CAT, Run, Service

from reka_cli import BadInput, Client, UsageError
from reka_cli.config import NOWHERE, Config
from reka_cli.escapes import hide_password
from reka_cli.images import load
from reka_cli.images.formats.structure import Damaged, Walk, merge_pieces
from reka_cli.images.formats.tiff import check_complete

SANDBOX = {"REKA_PROVIDER": "sandbox", "REKA_MODEL": "sandbox-text"}


class TestStandardInput:
    @pytest.mark.parametrize(
        "data",
        [
            b"\xef\xbb\xbfM\xc3\xbcll",
            "\ufeffMüll".encode("utf-16-le"),
            "\ufeffMüll".encode("utf-16-be"),
            "\ufeffMüll".encode("utf-32-le"),
            "\ufeffMüll".encode("utf-32-be"),
        ],
    )
    def test_a_byte_order_mark_says_what_it_is(self, run: Run, data: bytes) -> None:
        result = run("ask", stdin=data, env=SANDBOX)

        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.endswith("Your question was: Müll\n")

    def test_a_byte_of_another_encoding_is_replaced(self, run: Run) -> None:
        result = run("ask", stdin=b"-M\xfcller, who lives here\n+Miller\n" * 4, env=SANDBOX)

        assert result.exit_code == 0
        assert result.stderr == (
            "notice: 4 bytes of standard input are not UTF-8 and were replaced by U+FFFD\n"
        )
        assert "M\ufffdller" in result.stdout

    @pytest.mark.parametrize(
        "data",
        [
            CAT.read_bytes(),
            b"a\0b",
            b"\xfc\xfd\xfe" * 9,
            b"\xff\xfea",
            b"\x89PNG\r\n\x1a\n" + b"x" * 999,
        ],
    )
    def test_what_is_not_text_is_rejected(self, run: Run, data: bytes) -> None:
        result = run("ask", stdin=data, env=SANDBOX)

        assert result.exit_code == 5
        assert result.stderr.startswith("error: standard input is not ")
        assert 'hint: reka-cli ask -i - "What can you see?" < image.jpg' in result.stderr

    def test_a_secret_without_end_is_not_kept_in_memory(self, run: Run) -> None:
        result = run("login", "--api-key", stdin=b"x" * 100_000)

        assert (result.exit_code, result.stderr) == (
            5,
            "error: the API key is longer than 64 KB\n",
        )


class TestNobodyReads:
    @pytest.mark.parametrize(("stream", "model"), [("stdout", "text"), ("stderr", "429-once")])
    def test_the_deadline_ends_the_wait(
        self, clean_env: dict[str, str], stream: str, model: str
    ) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        with suppress(BlockingIOError):
            while True:
                os.write(write_end, b"x" * 4096)
        os.set_blocking(write_end, True)
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: write_end}
        words = ["ask", "hello", "-m", f"sandbox-{model}", "--timeout", "1"]
        env = clean_env | {"REKA_PROVIDER": "sandbox"}
        with zygote.Popen(
            [sys.executable, "-m", "reka_cli", *words], env=env, **streams
        ) as process:
            code = process.wait(50)
        os.close(read_end)
        os.close(write_end)

        assert code == 8


class TestFolders:
    def test_without_a_home_nothing_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        config = Config.read({})

        assert config.state_dir == config.cache_dir == NOWHERE
        assert not NOWHERE.exists()

    def test_config_may_begin_with_a_byte_order_mark(self, run: Run, home: Path) -> None:
        (home / "config.toml").write_bytes(b'\xef\xbb\xbfprovider = "sandbox"\n')

        assert run("ask", "hello").exit_code == 0


class TestSecrets:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("rtsp://admin:secret@camera/1", "rtsp://***@camera/1"),
            ("http:/admin:secret@camera/x.jpg", "***@camera/x.jpg"),
            ("https//admin:secret@camera/x.jpg", "https//***@camera/x.jpg"),
            ("http://admin:12/34@camera/x.jpg", "http://***@camera/x.jpg"),
            ("photos/a b.jpg", "photos/a b.jpg"),
            ("C:/photos/a.jpg", "C:/photos/a.jpg"),
            ("http://[::1]:8080/x.jpg", "http://[::1]:8080/x.jpg"),
        ],
    )
    def test_a_password_is_hidden_however_a_url_is_written(self, text: str, shown: str) -> None:
        assert hide_password(text) == shown

    @pytest.mark.parametrize("url", ["rtsp://u:hunter2@camera/1", "https//u:hunter2@camera/x.jpg"])
    def test_an_error_does_not_show_it(self, run: Run, url: str) -> None:
        result = run("ask", "What?", "-i", url, env=SANDBOX)

        assert result.exit_code == 5
        assert "hunter2" not in result.stderr

    def test_a_program_that_reads_the_clipboard_gets_no_variable_of_ours(
        self, run: Run, tmp_path: Path
    ) -> None:
        program = tmp_path / "wl-paste"
        program.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\nexit 1\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        env = {
            "WAYLAND_DISPLAY": "w",
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "REKA_API_KEY": "secret",
        }
        run("ask", "What?", "-i", "clipboard", env=SANDBOX | env)

        assert "REKA_" not in (tmp_path / "seen").read_text()


class TestCertificates:
    @pytest.mark.parametrize(
        "variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
    )
    def test_a_variable_that_names_no_file_is_told(self, run: Run, variable: str) -> None:
        env = {"REKA_API_BASE": "https://localhost:9/v1", "REKA_API_KEY": "k" * 9}
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
        unset = dict.fromkeys(names, "")
        result = run("ask", "hello", "-m", "m", env=env | unset | {variable: "/nonexistent"})

        assert result.exit_code == 2
        assert result.stderr == (
            f"error: {variable} names no certificates\nhint: unset {variable}\n"
        )


class TestLibrary:
    @pytest.mark.parametrize("images", [None, (), [], iter(())])
    def test_no_images_may_be_said_in_several_ways(self, service: Service, images: object) -> None:
        config = Config(NOWHERE, api_base=f"{service.url}/v1")
        with Client("api", model="sandbox-text", config=config) as client:
            assert "hello" in client.ask("hello", images=images).read()  # type: ignore[arg-type]

    @pytest.mark.parametrize("data", [bytearray(CAT.read_bytes()), memoryview(CAT.read_bytes())])
    def test_bytes_of_any_kind_are_an_image(self, data: object) -> None:
        with Client("sandbox") as client:
            (image,) = client.load(data)  # type: ignore[arg-type]

        assert image.media_type == "image/jpeg"

    @pytest.mark.parametrize("source", [None, 5, object()])
    def test_what_is_no_source_is_bad_input(self, source: object) -> None:
        with Client("sandbox") as client, pytest.raises(BadInput, match="an image must be a path"):
            client.load([source])  # type: ignore[list-item]

    def test_a_question_is_a_text(self) -> None:
        with Client("sandbox") as client, pytest.raises(UsageError, match="must be text, not None"):
            client.ask(None)  # type: ignore[arg-type]


class TestHostileImages:
    def test_pieces_are_joined_once(self) -> None:
        class Counted(bytes):
            additions = 0

            def __add__(self, other: bytes) -> bytes:
                Counted.additions += 1
                return Counted(bytes(self) + other)

        assert merge_pieces((Counted(b"a"), Counted(b"b"), (0, 2), (2, 3))) == [b"ab", (0, 5)]
        merge_pieces(tuple(Counted(b"x") for _ in range(1_000)))
        assert Counted.additions == 0

    def test_directories_of_a_tiff_that_share_an_array_are_read_once(self, tmp_path: Path) -> None:
        places, directories = 50_000, 2_000
        array = 16
        first = array + 4 * places
        size = 2 + 12 + 4
        data = bytearray(b"II*\0" + struct.pack("<I", first) + bytes(8) + bytes(4 * places))
        for number in range(directories):
            following = first + size * (number + 1) if number + 1 < directories else 0
            data += struct.pack("<HHHIII", 1, 273, 4, places, array, following)
        path = tmp_path / "x.tif"
        path.write_bytes(data)
        with path.open("rb") as file:
            walk = Walk(file, len(data))
            with pytest.raises(Damaged):
                check_complete(walk)

        assert walk._steps < 100

    @pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3"])
    def test_plain_pnm_is_converted(self, kind: bytes) -> None:
        depth = b"" if kind == b"P1" else b"255\n"
        pixels = b"1 0 1 0" if kind != b"P3" else b"255 0 0 " * 4
        image = load(kind + b"\n# a comment\n2 2\n" + depth + pixels)

        assert (image.width, image.height) == (2, 2)
