"""The endpoints: hosts that serve the hub's protocol, by name or by address."""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from companion.door import printable
from companion.door.advice import Advice
from companion.door.tables import read_table

TABLE = Path(__file__).with_name("endpoints.toml")
MODELSCOPE_TABLE = Path(__file__).with_name("modelscope.toml")
MODELSCOPE = "modelscope"
# RFC 1123, section 2.1, and the "_" of networks at home and at work.
HOST = re.compile(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
DISPUTED = frozenset("ßς\u200c\u200d")
LONGEST_HOST = 254  # with a dot at its end
PORTS = {"http": 80, "https": 443}
SHOWN = 60  # characters of what is no endpoint


@dataclass(frozen=True)
class Endpoint:
    """A host that serves the hub's protocol.

    Attributes:
        name: its name in endpoints.toml, or its host.
        address: URL without a trailing slash, what HF_ENDPOINT is set to. It may hold a password:
            `bare` is for what is shown.
        official: whether it belongs to Hugging Face: only then it gets the reader's token.
        protocol: what it speaks: "hub", or "modelscope".
    """

    name: str
    address: str
    official: bool = False
    protocol: str = "hub"

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


class UnknownEndpoint(ValueError):
    """What was named is no endpoint.

    Attributes:
        advice: what it is in its place, and what to choose from.
    """

    def __init__(self, advice: Advice) -> None:
        super().__init__(str(advice))
        self.advice = advice


@cache
def endpoints() -> dict[str, Endpoint]:
    """The endpoints of endpoints.toml by name, the official one first."""
    return {name: Endpoint(name, **entry) for name, entry in read_table(TABLE).items()}


def mirror() -> Endpoint | None:
    """The first mirror of endpoints.toml: the one that a remedy names."""
    return next((known for known in endpoints().values() if not known.official), None)


def find_endpoint(name: str | None = None) -> Endpoint:
    """The endpoint of a name or an address; without one, what HF_ENDPOINT says, or the official.

    Raises:
        UnknownEndpoint: a ValueError: neither a known name nor an address.
    """
    if name == OFFLINE.name:
        return OFFLINE
    if name == MODELSCOPE:
        return _modelscope()
    name = (name or os.environ.get("HF_ENDPOINT") or "official").rstrip("/")
    if name in endpoints():
        return endpoints()[name]
    for known in endpoints().values():
        if known.address == name:
            return known
    if not is_address(name):
        if "@" in name:  # not shown: a part of it may be a password
            raise UnknownEndpoint(Advice("The endpoint cannot be read as an address", ESCAPES))
        shown = re.split("[?#;&=]", name)[0][:SHOWN]  # what follows may be a secret
        shown += "…" if shown != name else ""
        why = " (an endpoint has no ? and no #)" if {"?", "#"} & set(name) else ""
        known = mirror() or endpoints()["official"]
        raise UnknownEndpoint(
            Advice(
                f"There is no endpoint {printable(shown)!r}{why}",
                f"choose auto, {', '.join(endpoints())}, offline, an address such as "
                f"{known.address}, a folder, or {MODELSCOPE}",
            )
        )
    return Endpoint(host_of(name), name)


def _modelscope() -> Endpoint:
    """ModelScope: at the address that its own client's variable names, or its own."""
    named = os.environ.get("MODELSCOPE_ENDPOINT", "").rstrip("/")
    if named and not is_address(named):
        raise UnknownEndpoint(
            Advice(
                "MODELSCOPE_ENDPOINT cannot be read as an address",
                "set it to one such as https://modelscope.cn, or unset it",
            )
        )
    address = named or read_table(MODELSCOPE_TABLE)["address"]
    return Endpoint(host_of(address), address, protocol=MODELSCOPE)


ESCAPES = "in its name and password write %23 for #, %2F for /, %3A for : and %40 for @"


def is_address(text: str, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    """Whether a text is the address of a host: scheme, host, a right port, and nothing odd."""
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        known = parts.scheme in schemes and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:  # a port that is no number, half a bracket
        return False
    # What stands behind the host and has an @ is the rest of a password that was not escaped.
    return bool(known) and not {*"@#?"} & {*text.partition(parts.netloc)[2]}


def is_host(name: str) -> bool:
    """Whether a text can be the name or the number of a host."""
    try:
        if ":" in name:
            return bool(ipaddress.IPv6Address(name))
        ascii_name = _in_ascii(name) if len(name) <= LONGEST_HOST else ""
    except ValueError:
        return False
    return len(ascii_name) <= LONGEST_HOST and bool(HOST.fullmatch(ascii_name))


def leads_on(location: str) -> bool:
    """Whether what a redirect names is an address, or the path of one."""
    try:
        parts = urlsplit(location)
        whole = bool(parts.scheme or parts.netloc)
        known = parts.scheme in ("", "http", "https") and is_host(parts.hostname or "")
        return location.isprintable() and (not whole or (known and parts.port != 0))
    except ValueError:  # a port that is no number, half a bracket
        return False


def bare_address(text: str) -> str:
    """An address without a name and a password, whatever characters are in them."""
    scheme, found, rest = text.partition("://")
    if not (found and scheme.isalnum()):
        scheme, found, rest = "", "", text
    return printable(scheme + found + rest.rpartition("@")[2])


def host_of(address: str) -> str:
    """Host of an address as it is asked: in small letters of ASCII, with its port where that is not
    its scheme's; "" where it has none."""
    try:
        parts = urlsplit(bare_address(address))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    with suppress(ValueError):  # as it is, for a sentence
        host = f"[{host}]" if ":" in host else _in_ascii(host)
    return host if port in (None, PORTS.get(parts.scheme)) else f"{host}:{port}"


def _in_ascii(host: str) -> str:
    """A host's name as name servers know it.

    Raises:
        ValueError: it has no such form, or one by the rules of 2003 and another by those of 2008
            (RFC 5891, which the HTTP library keeps): a password would go to another host.
    """
    if DISPUTED & set(host):
        raise ValueError("give the form that begins with xn--")
    return host if host.isascii() else host.encode("idna").decode()
