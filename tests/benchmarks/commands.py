"""What is compared: our command on both protocols, its peers, and what Python alone costs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.environments import clean, own, peer
from benchmarks.processes import Command, Server

IMPORTS = "import typer, requests"  # which is the floor of a question

# the package has no command any more: what a user would write instead
_OPENAI = """
import sys
from openai import OpenAI
question = [{"role": "user", "content": sys.argv[1]}]
for chunk in OpenAI().chat.completions.create(model="m", messages=question, stream=True):
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
"""


class Commands:
    """Commands that ask `server`, with a home in `folder`."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._own = own()
        self._log_in()

    def python(self, code: str) -> Command:
        """Run a piece of code in our own environment."""
        return Command([self._own / "python", "-c", code])

    def ours(self, *arguments: str, env: dict[str, str] | None = None) -> Command:
        return Command(
            [self._own / "reka-cli", *arguments],
            {"REKA_HOME": str(self._folder / "home"), **(env or {})},
        )

    def api(self, course: str = "", *more: str) -> Command:
        """Ask over the API, as of a server of one's own."""
        return self.ours(
            "ask", "-n", "-m", "m", "hi", *more, env={"REKA_API_BASE": self._server.api(course)}
        )

    def web(self, course: str = "", *more: str) -> Command:
        """Ask over the web session that `login` stored; its token is minted in the first round and kept."""
        env = {"REKA_WEB_BASE": self._server.base(course), "REKA_PROVIDER": "web"}
        return self.ours("ask", "-n", "hi", *more, env=env)

    def curl(self, course: str = "", path: str = "v1/chat/completions") -> Command:
        url = f"{self._server.base(course)}/{path}"
        return Command(
            ["curl", "-sN", "-H", "Content-Type: application/json", "-d", '{"stream":true}', url]
        )

    def llm(self, course: str = "") -> Command:
        folder = self._folder / "llm"
        folder.mkdir(exist_ok=True)
        model = {
            "model_id": "loop",
            "model_name": "m",
            "api_base": self._server.api(course),
            "api_key_name": "loop",
        }
        (folder / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
        (folder / "keys.json").write_text('{"loop": "x"}')
        return Command(
            [peer("llm") / "llm", "-m", "loop", "-n", "hi"], {"LLM_USER_PATH": str(folder)}
        )

    def sgpt(self, course: str = "", *more: str) -> Command:
        env = {
            "OPENAI_API_KEY": "x",
            "API_BASE_URL": self._server.api(course),
            "HOME": str(self._folder),
        }
        return Command([peer("sgpt") / "sgpt", "--model", "m", "--no-cache", *more, "hi"], env)

    def httpie(self, course: str = "") -> Command:
        url = f"{self._server.api(course)}/chat/completions"
        words = ["--stream", "--ignore-stdin", "--body", "POST", url, "stream:=true"]
        return Command([peer("http") / "http", *words], {"HTTPIE_CONFIG_DIR": str(self._folder)})

    def openai(self, course: str = "") -> Command:
        env = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": self._server.api(course)}
        return Command([peer("openai") / "python", "-c", _OPENAI, "hi"], env)

    def _log_in(self) -> None:
        cookies = self._folder / "cookies.txt"
        cookies.write_text(
            "# Netscape HTTP Cookie File\nspace.reka.ai\tFALSE\t/\tTRUE\t0\tappSession\tbench-session\n"
        )
        login = self.ours(
            "login", "--cookies", str(cookies), env={"REKA_WEB_BASE": self._server.base()}
        )
        subprocess.run(login.words, env={**clean(), **login.env}, check=True, capture_output=True)
