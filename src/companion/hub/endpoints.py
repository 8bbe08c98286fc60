"""The endpoints: hosts that serve the hub's protocol, by name or by address."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from companion.door import printable

TABLE = Path(__file__).with_name("endpoints.toml")


@dataclass(frozen=True)
class Endpoint:
    """A host that serves the hub's protocol.

    Attributes:
        name: its name in endpoints.toml, or its host.
        address: URL without a trailing slash, what HF_ENDPOINT is set to. It may hold a password:
            `bare` is for what is shown.
        official: whether it belongs to Hugging Face: only then it gets the reader's token.
    """

    name: str
    address: str
    official: bool = False

    @property
    def offline(self) -> bool:
        """Whether it stands for what is on this machine already, and no host is asked."""
        return not self.address

    @property
    def shown(self) -> str:
        """How it is called in a sentence: by its host, or the name of what serves it."""
        return self.host if self.name in endpoints() else self.name

    @property
    def host(self) -> str:
        """Host, with its port where the address has one."""
        return host_of(self.address)

    @property
    def bare(self) -> str:
        """Address without a name and a password."""
        return bare_address(self.address)


OFFLINE = Endpoint("offline", "", official=False)


@cache
def endpoints() -> dict[str, Endpoint]:
    """The endpoints of endpoints.toml by name, the official one first."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Endpoint(name, **entry) for name, entry in table.items()}


def endpoint(name: str | None = None) -> Endpoint:
    """The endpoint of a name or an address; without one, what HF_ENDPOINT says, or the official.

    Raises:
        ValueError: neither a known name nor an address.
    """
    if name == OFFLINE.name:
        return OFFLINE
    name = (name or os.environ.get("HF_ENDPOINT") or "official").rstrip("/")
    if name in endpoints():
        return endpoints()[name]
    for known in endpoints().values():
        if known.address == name:
            return known
    if not is_address(name):
        if "@" in name:  # not shown: a part of it may be a password
            raise ValueError(f"The endpoint cannot be read as an address; {ESCAPES}.")
        raise ValueError(
            f"There is no endpoint {printable(name)!r}; choose auto, {', '.join(endpoints())}, "
            "offline, an address such as https://hf-mirror.com, or a folder."
        )
    return Endpoint(host_of(name), name)


ESCAPES = "in its name and password write %23 for #, %2F for /, %3A for : and %40 for @"


def is_address(text: str, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    """Whether a text is the address of a host: scheme, host, a right port, and nothing odd."""
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        known = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half a bracket
        return False
    # What stands behind the host and has an @ is the rest of a password that was not escaped.
    return bool(known) and not {*"@#?"} & {*text.partition(parts.netloc)[2]}


def bare_address(text: str) -> str:
    """An address without a name and a password, whatever characters are in them."""
    scheme, found, rest = text.partition("://")
    if not (found and scheme.isalnum()):
        scheme, found, rest = "", "", text
    return printable(scheme + found + rest.rpartition("@")[2])


def host_of(address: str) -> str:
    """Host of an address, with its port where it has one; "" where it has none."""
    try:
        return urlsplit(bare_address(address)).netloc
    except ValueError:
        return ""
