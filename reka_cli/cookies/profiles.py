"""Where browsers keep their cookies: every profile of every known browser of one home.

Sources: for Linux the browsers' own documentation and what Chromium 156 and Firefox ESR 153 did in 2026-11; for macOS
and Windows the lists of browser_cookie3 0.20.1, as data.
"""

from __future__ import annotations

import configparser
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

FIREFOX_DATABASE = "cookies.sqlite"
_UNKNOWN = "?"  # the name of a profile in a folder that may not be listed


@dataclass(frozen=True)
class Profile:
    """One cookie store: `browser` is a word of ours ("chrome", "firefox"), `name` what a person calls the profile."""

    browser: str
    name: str
    database: Path


def profiles(home: Path | None = None, environ: Mapping[str, str] | None = None) -> list[Profile]:
    """Give every profile that has cookies, or may have some in a folder that cannot be read.

    The environment of this process says nothing about another home: `environ` is then empty unless given.
    """
    if environ is None:
        environ = os.environ if home is None else {}
    try:
        home = home or Path.home()
    except RuntimeError:  # a user without an entry in the password file, as in many containers
        return []
    found: dict[str, Profile] = {}
    for profile in _profiles(_browser_folders(sys.platform, home, environ)):
        found.setdefault(os.path.realpath(profile.database), profile)
    return _make_names_unique(list(found.values()))


@dataclass(frozen=True)
class _BrowserFolder:
    browser: str
    family: str  # "chromium", "firefox" or "safari"
    folder: Path


_CHROMIUM_CONFIG = {  # under $XDG_CONFIG_HOME
    "google-chrome": "chrome",
    "google-chrome-beta": "chrome-beta",
    "google-chrome-unstable": "chrome-unstable",
    "chromium": "chromium",
    "BraveSoftware/Brave-Browser": "brave",
    "BraveSoftware/Brave-Browser-Beta": "brave-beta",
    "BraveSoftware/Brave-Browser-Dev": "brave-dev",
    "BraveSoftware/Brave-Browser-Nightly": "brave-nightly",
    "microsoft-edge": "edge",
    "microsoft-edge-beta": "edge-beta",
    "microsoft-edge-dev": "edge-dev",
    "vivaldi": "vivaldi",
    "vivaldi-snapshot": "vivaldi-snapshot",
    "opera": "opera",
    "opera-beta": "opera-beta",
    "opera-developer": "opera-developer",
}
_CHROMIUM_HOME = {  # snap and flatpak; under the home
    "snap/chromium/common/chromium": "chromium",
    ".var/app/com.google.Chrome/config/google-chrome": "chrome",
    ".var/app/org.chromium.Chromium/config/chromium": "chromium",
    ".var/app/com.brave.Browser/config/BraveSoftware/Brave-Browser": "brave",
    ".var/app/com.microsoft.Edge/config/microsoft-edge": "edge",
    ".var/app/com.vivaldi.Vivaldi/config/vivaldi": "vivaldi",
    ".var/app/com.opera.Opera/config/opera": "opera",
    "snap/brave/current/.config/BraveSoftware/Brave-Browser": "brave",
    "snap/opera/current/.config/opera": "opera",
    "snap/vivaldi/current/.config/vivaldi": "vivaldi",
    "snap/microsoft-edge/current/.config/microsoft-edge": "edge",
}
_FIREFOX_CONFIG = {"mozilla/firefox": "firefox"}  # where Firefox 147 and later makes new profiles
_FIREFOX_HOME = {
    ".mozilla/firefox": "firefox",
    "snap/firefox/common/.mozilla/firefox": "firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox": "firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox": "firefox",
    ".librewolf": "librewolf",
    "snap/librewolf/common/.librewolf": "librewolf",
    ".zen": "zen",
    ".var/app/app.zen_browser.zen/.zen": "zen",
    ".config/zen": "zen",
    ".var/app/io.gitlab.librewolf-community/.librewolf": "librewolf",
    ".var/app/io.gitlab.librewolf-community/config/librewolf/librewolf": "librewolf",
    ".floorp": "floorp",
    ".waterfox": "waterfox",
}
_CHROMIUM_MACOS = {  # under ~/Library/Application Support
    "Google/Chrome": "chrome",
    "Google/Chrome Beta": "chrome-beta",
    "Google/Chrome Dev": "chrome-unstable",
    "Chromium": "chromium",
    "BraveSoftware/Brave-Browser": "brave",
    "BraveSoftware/Brave-Browser-Beta": "brave-beta",
    "BraveSoftware/Brave-Browser-Dev": "brave-dev",
    "BraveSoftware/Brave-Browser-Nightly": "brave-nightly",
    "Microsoft Edge": "edge",
    "Microsoft Edge Beta": "edge-beta",
    "Microsoft Edge Dev": "edge-dev",
    "Microsoft Edge Canary": "edge-canary",
    "Vivaldi": "vivaldi",
    "Arc/User Data": "arc",
    "com.operasoftware.Opera": "opera",
    "com.operasoftware.OperaNext": "opera-beta",
    "com.operasoftware.OperaDeveloper": "opera-developer",
    "com.operasoftware.OperaGX": "opera-gx",
}
_FIREFOX_MACOS = {"Firefox": "firefox", "librewolf": "librewolf"}
_SAFARI_MACOS = (
    "Library/Containers/com.apple.Safari/Data/Library/Cookies",
    "Library/Cookies",
)
_CHROMIUM_LOCAL = {  # under %LOCALAPPDATA%
    "Google/Chrome/User Data": "chrome",
    "Google/Chrome Beta/User Data": "chrome-beta",
    "Google/Chrome Dev/User Data": "chrome-unstable",
    "Chromium/User Data": "chromium",
    "BraveSoftware/Brave-Browser/User Data": "brave",
    "BraveSoftware/Brave-Browser-Beta/User Data": "brave-beta",
    "BraveSoftware/Brave-Browser-Dev/User Data": "brave-dev",
    "BraveSoftware/Brave-Browser-Nightly/User Data": "brave-nightly",
    "Microsoft/Edge/User Data": "edge",
    "Microsoft/Edge Beta/User Data": "edge-beta",
    "Microsoft/Edge Dev/User Data": "edge-dev",
    "Microsoft/Edge SxS/User Data": "edge-canary",
    "Vivaldi/User Data": "vivaldi",
}
_CHROMIUM_ROAMING = {  # under %APPDATA%
    "Opera Software/Opera Stable": "opera",
    "Opera Software/Opera Next": "opera-beta",
    "Opera Software/Opera Developer": "opera-developer",
    "Opera Software/Opera GX Stable": "opera-gx",
}
_FIREFOX_ROAMING = {"Mozilla/Firefox": "firefox", "librewolf": "librewolf"}


def _browser_folders(platform: str, home: Path, environ: Mapping[str, str]) -> list[_BrowserFolder]:
    if platform == "win32":
        return _windows_places(home, environ)
    if platform == "darwin":
        support = home / "Library/Application Support"
        safari = [_BrowserFolder("safari", "safari", home / path) for path in _SAFARI_MACOS]
        return (
            _folders_in(support, "chromium", _CHROMIUM_MACOS)
            + _folders_in(support, "firefox", _FIREFOX_MACOS)
            + safari
        )
    config = _folder(environ, "XDG_CONFIG_HOME", home / ".config")
    return (
        _folders_in(config, "chromium", _CHROMIUM_CONFIG)
        + _folders_in(home, "chromium", _CHROMIUM_HOME)
        + _folders_in(config, "firefox", _FIREFOX_CONFIG)
        + _folders_in(home, "firefox", _FIREFOX_HOME)
    )


def _windows_places(home: Path, environ: Mapping[str, str]) -> list[_BrowserFolder]:
    local = _folder(environ, "LOCALAPPDATA", home / "AppData/Local")
    roaming = _folder(environ, "APPDATA", home / "AppData/Roaming")
    packaged = sorted(
        local.glob("Packages/Mozilla.Firefox_*/LocalCache/Roaming/Mozilla/Firefox")
    )  # of the Store
    return (
        _folders_in(local, "chromium", _CHROMIUM_LOCAL)
        + _folders_in(roaming, "chromium", _CHROMIUM_ROAMING)
        + _folders_in(roaming, "firefox", _FIREFOX_ROAMING)
        + [_BrowserFolder("firefox", "firefox", folder) for folder in packaged]
    )


def _folder(environ: Mapping[str, str], variable: str, otherwise: Path) -> Path:
    value = environ.get(variable, "")
    return (
        Path(value) if Path(value).is_absolute() else otherwise
    )  # the XDG specification: a relative one is ignored


def _folders_in(folder: Path, family: str, browsers: Mapping[str, str]) -> list[_BrowserFolder]:
    return [_BrowserFolder(browser, family, folder / path) for path, browser in browsers.items()]


def _profiles(places: list[_BrowserFolder]) -> Iterator[Profile]:
    for place in places:
        if place.family == "chromium":
            yield from _chromium_profiles(place)
        elif place.family == "firefox":
            yield from _firefox_profiles(place)
        elif _is_there(database := place.folder / "Cookies.binarycookies"):
            yield Profile(place.browser, "Default", database)


def _chromium_profiles(place: _BrowserFolder) -> Iterator[Profile]:
    try:
        folders = _folders(place.folder)
    except PermissionError:
        yield Profile(place.browser, _UNKNOWN, place.folder / "Default/Cookies")
        return
    names = _chromium_names(place.folder)
    within = [folder for folder in folders if folder.name != "Network"]
    for folder in (place.folder, *within):  # the root itself is the profile of Opera
        for database in (
            folder / "Network/Cookies",
            folder / "Cookies",
        ):  # the former since Chrome 96 on Windows
            if _is_there(database):
                name = "Default" if folder == place.folder else folder.name
                yield Profile(place.browser, _display_name(names.get(folder.name, name)), database)
                break


def _chromium_names(root: Path) -> dict[str, str]:
    """Give the names people gave to the profile folders of one browser."""
    try:
        cache = json.loads((root / "Local State").read_bytes())["profile"]["info_cache"]
        return {
            folder: about["name"]
            for folder, about in cache.items()
            if isinstance(about["name"], str)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _firefox_profiles(place: _BrowserFolder) -> Iterator[Profile]:
    folders: list[Path] = []
    try:
        folders = _folders(place.folder)
        if (place.folder / "Profiles") in folders:
            folders += _folders(place.folder / "Profiles")
    except PermissionError:
        yield Profile(place.browser, _UNKNOWN, place.folder / FIREFOX_DATABASE)
    names = _firefox_names(place.folder)
    for folder in dict.fromkeys([*folders, *names]):  # profiles.ini also knows those kept elsewhere
        if _is_there(folder / FIREFOX_DATABASE):
            yield Profile(
                place.browser,
                _display_name(names.get(folder, folder.name)),
                folder / FIREFOX_DATABASE,
            )


def _firefox_names(root: Path) -> dict[Path, str]:
    """Give the names of the profile folders that profiles.ini lists."""
    ini = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        ini.read_string((root / "profiles.ini").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, configparser.Error):
        return {}
    sections = [ini[name] for name in ini.sections() if name.startswith("Profile")]
    return {
        root / one["Path"]: one["Name"] for one in sections if one.get("Path") and one.get("Name")
    }


def _folders(folder: Path) -> list[Path]:
    """Give the folders in a folder, none if it is not there; raise PermissionError if it may not be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except PermissionError:
        raise
    except OSError:
        return []


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True  # perhaps; who looks into it says that it may not be read
    except (OSError, ValueError):
        return False
    return True


def _display_name(name: str) -> str:
    return "".join(character for character in name if character.isprintable()) or _UNKNOWN


def _make_names_unique(found: list[Profile]) -> list[Profile]:
    """Add the folder to a name that two profiles of one browser share."""
    called = [(profile.browser, profile.name) for profile in found]
    return [
        profile
        if called.count(name) == 1
        else replace(profile, name=f"{profile.name} ({_own_folder(profile)})")
        for profile, name in zip(found, called, strict=True)
    ]


def _own_folder(profile: Profile) -> str:
    folder = profile.database.parent
    return _display_name(folder.parent.name if folder.name == "Network" else folder.name)
