"""What a text that goes to strangers may not show: secrets, and who and where the reader is."""

import getpass
import os
import platform
import re
import socket
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from companion.door import is_folder, without_password
from companion.door.tables import read_table
from companion.hub import endpoints, environment, token_place
from companion.hub.endpoints import MODELSCOPE, OFFLINE, host_of
from companion.hub.fetch import VARIABLE as WHERE
from companion.sources import PROFILES

VARIABLES = read_table(Path(__file__).with_name("variables.toml"))
USERS = ("USER", "LOGNAME", "USERNAME", "LNAME", "SUDO_USER", "JUPYTERHUB_USER")
HOMES = ("HOME", "USERPROFILE")
HOSTS = ("HOSTNAME", "HOST", "COMPUTERNAME")
SECRET = re.compile("(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|KEY|CREDENTIALS?)(_|$)", re.IGNORECASE)
SHORTEST_SECRET = 6  # a shorter value of such a variable is a switch
SHORTEST_PASSWORD = 4  # a shorter one is taken out of its address, and out of nothing else
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
            ("<proxy>", [_host(name) for name in VARIABLES["addresses"] if _is_proxy(name)]),
            ("<endpoint>", [_host(name) for name in VARIABLES["addresses"]]),
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
        if name in VARIABLES["addresses"]:
            user = (value.partition("://")[2] or value).rpartition("@")[0]
            password = user.partition(":")[2]
            if len(password) >= SHORTEST_PASSWORD:
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
    for prefix in (Path(sys.prefix), Path(sys.base_prefix)):
        if len(prefix.parts) > 3:  # /usr, /usr/local and /opt/conda are everybody's
            yield prefix, "<python>"
    yield Path(os.environ.get(WHERE, "")), "<endpoint>"  # which may be a folder
    yield environment.cache(), "<cache>"
    yield environment.home(), "<cache>"
    with suppress(OSError):
        yield Path.cwd(), "<here>"
    with suppress(RuntimeError):
        yield Path.home(), "~"
    yield from ((Path(os.environ.get(name, "")), "~") for name in HOMES)


def _spellings(path: Path) -> set[str]:
    """A folder as texts may name it: with links followed or not, from ~ on, on Windows with both
    slashes."""
    if len(path.parts) < 2 or not path.is_absolute():  # "/" is everywhere
        return set()
    found = {path}
    with suppress(OSError, RuntimeError):
        found.add(path.resolve())
    with suppress(RuntimeError):
        home = Path.home()
        found |= {"~" / known.relative_to(home) for known in found if known.is_relative_to(home)}
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
    told = [os.environ.get(name, "") for name in HOSTS]
    for host in (*told, socket.gethostname(), platform.node()):
        yield from (host, host.partition(".")[0])


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


def _host(variable: str) -> str:
    """The host of the address that a variable holds, unless the book knows it."""
    address = os.environ.get(variable, "")
    if address in ("auto", OFFLINE.name, MODELSCOPE, *endpoints()) or is_folder(Path(address)):
        return ""  # a word that means something else, too
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
