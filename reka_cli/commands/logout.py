"""`reka-cli logout`: forget what `login` stored."""

from __future__ import annotations

from reka_cli.config import Config
from reka_cli.credentials.store import Store
from reka_cli.files import show_path
from reka_cli.terminal import Terminal


def logout() -> None:
    """Remove the stored credentials.

    Examples:
        reka-cli logout

    The browser stays logged in, and credentials in environment variables are still used.
    """
    store = Store(Config.read().state_dir)
    removed = store.clear()
    what = f"removed {show_path(store.path)}" if removed else "there was nothing stored"
    Terminal().write(
        f"{what}; the browser stays logged in, and environment variables still count\n"
    )
