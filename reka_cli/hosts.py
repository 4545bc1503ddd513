"""Host names: which belong to Reka, and which to this machine.

Source of the names, not Reka's own: gpt4free's provider (2024-04 to 2025-07).
"""

from __future__ import annotations

import re

HOSTS = ("space.reka.ai", "chat.reka.ai")  # newest first
DOMAIN = "reka.ai"
_HOSTNAME = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")


def is_loopback(hostname: str) -> bool:
    """Return whether `hostname` is this machine, whatever a name server says."""
    from ipaddress import ip_address

    if hostname == "localhost":
        return True
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return False


def is_reka_host(hostname: str) -> bool:
    """Return whether `hostname`, in lower case, is Reka's and means the same to every URL parser.

    To urllib.parse `evil.example\\.reka.ai` is one name; to urllib3 the name ends at the backslash.
    """
    if not _HOSTNAME.fullmatch(hostname):
        return False
    return hostname == DOMAIN or hostname.endswith("." + DOMAIN)
