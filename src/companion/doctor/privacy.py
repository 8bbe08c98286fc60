"""What a text that goes to strangers may not show: secrets, and who and where the reader is."""

import getpass
import os
import platform
import re
import socket
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from companion.door import without_password
from companion.hub import endpoints, environment, token_place
from companion.hub.endpoints import host_of
from companion.sources import PROFILES

PROXIES = [spelt for name in environment.PROXIES for spelt in (name, name.upper())]
ADDRESSES = ("HF_ENDPOINT", *PROXIES)
USERS = ("USER", "LOGNAME", "USERNAME", "LNAME", "SUDO_USER", "JUPYTERHUB_USER")
HOMES = ("HOME", "USERPROFILE")
HOSTS = ("HOSTNAME", "HOST", "COMPUTERNAME")
SECRET = re.compile("(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|KEY|CREDENTIALS?)(_|$)", re.IGNORECASE)
SHORTEST_SECRET = 6  # a shorter value of such a variable is a switch
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")  # the hub's, whoever's they are
# Names that say nothing of anybody.
COMMON = ("root", "localhost", "127.0.0.1", "::1", "base", "home", "user")
SHORT = 4  # letters up to which a name may be a part of another word


class Privacy:
    """What is private here and now, and what is written in its place."""

    def __init__(self) -> None:
        rules = [(TOKEN, "<secret>")]
        rules += [(_exactly(text), "<secret>") for text in _longest_first(_secrets())]
        folders = {spelt: label for path, label in _folders() for spelt in _spellings(path)}
        rules += [(_folder(text), folders[text]) for text in _longest_first(folders)]
        for label, names in (
            ("<endpoint>", [_host(os.environ.get("HF_ENDPOINT", ""))]),
            ("<proxy>", [_host(os.environ.get(name, "")) for name in PROXIES]),
            ("<host>", _hosts()),
            ("<user>", _users()),
            ("<environment>", [Path(os.environ.get("CONDA_DEFAULT_ENV", "")).name]),
        ):
            rules += [(_name(text), label) for text in _longest_first(names) if _is_private(text)]
        self._rules = rules

    def hide(self, text: str) -> str:
        """The text without what is private."""
        text = without_password(text)
        for pattern, label in self._rules:
            text = pattern.sub(lambda _, label=label: label, text)  # type: ignore[misc]
        return text


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value.strip()) >= SHORTEST_SECRET:
            yield value.strip()
        if name in ADDRESSES:
            _, _, password = value.partition("://")[2].rpartition("@")[0].partition(":")
            yield from {password, unquote(password)}
    if place := token_place():
        with suppress(OSError, UnicodeError):
            yield Path(place).read_text(encoding="utf-8").strip()


def _folders() -> Iterator[tuple[Path, str]]:
    """Folders whose place is the reader's own, with what is written for them."""
    package = PROFILES.parent
    yield package, "<companion>"
    if package.parent.name == "src":
        yield package.parents[1], "<clone>"
    yield from ((Path(prefix), "<python>") for prefix in (sys.prefix, sys.base_prefix))
    yield environment.cache(), "<cache>"
    yield environment.home(), "<cache>"
    for unsure, label in ((Path.cwd, "<here>"), (tempfile.gettempdir, "<temporary>")):
        with suppress(OSError):
            yield Path(unsure()), label
    with suppress(RuntimeError):
        yield Path.home(), "~"
    yield from (
        (Path(os.environ[name]), "~") for name in ("HOME", "USERPROFILE") if name in os.environ
    )


def _spellings(path: Path) -> set[str]:
    """A folder as texts may name it: with links followed or not, on Windows with both slashes."""
    if len(path.parts) < 2 or not path.is_absolute():  # "/" is everywhere
        return set()
    found = {path}
    with suppress(OSError, RuntimeError):
        found.add(path.resolve())
    return {
        unicodedata.normalize(form, text)
        for known in found
        if len(known.parts) > 1
        for text in (str(known), known.as_posix(), str(known).replace("\\", "\\\\"))
        for form in ("NFC", "NFD")
    }


def _users() -> Iterator[str]:
    yield from (os.environ.get(name, "") for name in USERS)
    with suppress(Exception):  # what it raises without one depends on the version of Python
        yield getpass.getuser()
    with suppress(ImportError, KeyError, AttributeError):
        import pwd

        yield pwd.getpwuid(os.getuid()).pw_name
    with suppress(RuntimeError):
        yield Path.home().name


def _hosts() -> Iterator[str]:
    for name in (
        *(os.environ.get(name, "") for name in HOSTS),
        socket.gethostname(),
        platform.node(),
    ):
        yield from (name, name.partition(".")[0])


def _host(address: str) -> str:
    """The host of an address, unless the book knows it."""
    with suppress(ValueError):
        host = urlsplit(address if "://" in address else f"http://{address}").hostname or ""
        return "" if host in {host_of(known.address) for known in endpoints().values()} else host
    return ""


def _is_private(name: str) -> bool:
    return bool(name) and name.lower() not in COMMON


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if text}, key=len, reverse=True)


def _exactly(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text))


def _folder(text: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(text)}(?![\w-])", re.IGNORECASE)


def _name(text: str) -> re.Pattern[str]:
    """A name wherever it stands; a short one not within another word."""
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    alone = "|".join(map(re.escape, forms))
    if len(text) <= SHORT:
        alone = rf"(?<![^\W\d_])(?:{alone})(?![^\W\d_])"
    return re.compile(alone, re.IGNORECASE)
