"""`reka-cli status`: which ways to a model are ready, with whose credentials, until when."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Annotated

from typer import Option

from reka_cli import providers
from reka_cli.call import Limits
from reka_cli.client import finished
from reka_cli.commands._options import CheckTimeoutOption, ProviderOption, QuietOption
from reka_cli.config import Config
from reka_cli.credentials import WebAccess, api_access, web_access
from reka_cli.deadline import Deadline
from reka_cli.errors import RekaError
from reka_cli.session import token_expiry_s
from reka_cli.store import Store
from reka_cli.terminal import Terminal

_DAY_S = 86_400


@dataclass(frozen=True)
class State:
    """What is known of one provider without asking it; nothing in it is a secret."""

    provider: str
    ready: bool
    source: str | None = None
    holds: tuple[str, ...] = ()  # names and lengths
    expires_s: float | None = None  # seconds since the epoch
    account: str | None = None  # no service tells it yet
    problem: str | None = None


def status(
    as_json: Annotated[bool, Option("--json", help="One JSON object.")] = False,
    check: Annotated[bool, Option("--check", help="Ask the service of --provider; exit 3 if it rejects them.")] = False,
    provider: ProviderOption = None,
    warn_days: Annotated[float, Option("--warn-days", help="With --check, warn if fewer are left.", min=0)] = 2.0,
    timeout: CheckTimeoutOption = 60.0,
    quiet: QuietOption = False,
) -> None:
    """Show which ways to a model are ready, where their credentials come from, and until when they hold."""
    config = Config.read()
    terminal = Terminal(quiet=quiet)
    states = [_web(config), _api(config), _local(), State("sandbox", ready=True, source="nothing needed")]
    if as_json:
        terminal.write(json.dumps({"schema": "reka-cli/status/1", "providers": [asdict(one) for one in states]}) + "\n")
    else:
        terminal.write("".join("\t".join(_row(one)) + "\n" for one in states))
    if check:
        _check(config, provider or config.provider, states, terminal, timeout, warn_days)


def _check(
    config: Config, wanted: str, states: list[State], terminal: Terminal, timeout_s: float, warn_days: float
) -> None:
    name = providers.choose(config, config.model) if wanted == "auto" else wanted
    asked = providers.load(name)(config, Limits(Deadline.after(timeout_s)), None)
    finished(asked.check(), terminal.notice)
    ends_s = next((one.expires_s for one in states if one.provider == name), None)
    if ends_s is not None and ends_s - time.time() < warn_days * _DAY_S:
        terminal.notice(f"the credentials of {name} end {in_words(ends_s)}: reka-cli login")


def _web(config: Config) -> State:
    try:
        access = web_access(config)
    except RekaError as error:
        return State("web", ready=False, problem=error.message)
    if access is None:
        return State("web", ready=False, problem="no session: reka-cli login")
    if access.session is None:
        token = access.token or ""
        holds: tuple[str, ...] = (f"token of {len(token)} characters",)
        return State("web", True, _source(config, access, "bearer"), holds, token_expiry_s(token))
    holds = tuple(f"{one.name} of {len(one.value)} characters" for one in access.session.cookies)
    ends_s = access.session.expires_s
    source = _source(config, access, "session")
    if ends_s is not None and ends_s <= time.time():
        return State("web", False, source, holds, ends_s, problem=f"expired {in_words(ends_s)}: reka-cli login")
    return State("web", True, source, holds, ends_s)


def _source(config: Config, access: WebAccess, what: str) -> str:
    if config.token:
        return "REKA_TOKEN"
    if access.session and not access.session_is_stored:
        return f"REKA_COOKIES ({config.cookies_file})"
    return _stored(config, what)


def _stored(config: Config, what: str) -> str:
    origin = Store(config.state_dir).origin(what)
    if origin is None:
        return "stored"
    source, saved_at_s = origin
    return f"{source}, stored {time.strftime('%Y-%m-%d', time.localtime(saved_at_s))}"


def _api(config: Config) -> State:
    try:
        access = api_access(config)
    except RekaError as error:
        return State("api", ready=False, problem=error.message)
    if access is None:
        return State("api", ready=False, problem="no key: reka-cli login --api-key")
    if access.key is None:
        return State("api", True, f"no key needed at {access.base_url}")
    source = "REKA_API_KEY" if config.api_key else _stored(config, "api_key")
    return State("api", True, f"{source}, for {access.base_url}", (f"key of {len(access.key)} characters",))


def _local() -> State:
    if find_spec("xllamacpp") is None:
        return State("local", ready=False, problem='not installed: pip install "reka-cli[local]"')
    return State("local", True, "-m FILE.gguf")


def _row(state: State) -> tuple[str, ...]:
    ready = "ready" if state.ready else "not ready"
    ends = f"ends {in_words(state.expires_s)}" if state.expires_s is not None and state.ready else ""
    return (state.provider, ready, "; ".join(filter(None, (state.source, *state.holds, ends, state.problem))))


def in_words(moment_s: float) -> str:
    """Put a moment (seconds since the epoch) as people say it: in 6 days, 3 hours ago."""
    left_s = moment_s - time.time()
    size_s = abs(left_s)
    for unit, seconds in (("day", _DAY_S), ("hour", 3600), ("minute", 60)):
        if size_s >= seconds:
            count = int(size_s // seconds)
            amount = f"{count} {unit}{'s' if count != 1 else ''}"
            return f"in {amount}" if left_s > 0 else f"{amount} ago"
    return "now"
