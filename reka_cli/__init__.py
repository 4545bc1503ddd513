"""Ask Reka's multimodal models about images (unofficial).

>>> from reka_cli import Client
>>> answer = Client(provider="sandbox").ask("What can you see?", images=["docs/images/cat.jpeg"])
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, whose import would be most of what `--version` costs

if TYPE_CHECKING:
    from reka_cli.answer import Answer
    from reka_cli.client import BatchResult, Client
    from reka_cli.config import Config
    from reka_cli.errors import (
        BadInput,
        DeadlineExceeded,
        IncompleteAnswer,
        NetworkError,
        NotLoggedIn,
        RateLimited,
        Refused,
        RekaError,
        ServiceError,
        UsageError,
    )
    from reka_cli.images.preparation import Preparation
    from reka_cli.messages import (
        Done,
        Image,
        Message,
        Notice,
        Options,
        ReasoningDelta,
        Start,
        TextDelta,
        Usage,
    )
    from reka_cli.providers.sandbox import Sandbox
    from reka_cli.providers.web import Reka

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BadInput",
    "BatchResult",
    "Client",
    "Config",
    "DeadlineExceeded",
    "Done",
    "Image",
    "IncompleteAnswer",
    "Message",
    "NetworkError",
    "NotLoggedIn",
    "Notice",
    "Options",
    "Preparation",
    "RateLimited",
    "ReasoningDelta",
    "Refused",
    "Reka",
    "RekaError",
    "Sandbox",
    "ServiceError",
    "Start",
    "TextDelta",
    "Usage",
    "UsageError",
    "__version__",
]

_MODULES = {
    "Answer": "answer",
    "BatchResult": "client",
    "Client": "client",
    "Config": "config",
    "Done": "messages",
    "Image": "messages",
    "Message": "messages",
    "Notice": "messages",
    "Options": "messages",
    "Preparation": "images.preparation",
    "ReasoningDelta": "messages",
    "Reka": "providers.web",
    "Sandbox": "providers.sandbox",
    "Start": "messages",
    "TextDelta": "messages",
    "Usage": "messages",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `import reka_cli` alone costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
