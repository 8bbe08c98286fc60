"""The endpoints: hosts that serve the hub's protocol, by name or by address."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

TABLE = Path(__file__).with_name("endpoints.toml")


@dataclass(frozen=True)
class Endpoint:
    """A host that serves the hub's protocol.

    Attributes:
        name: its name in endpoints.toml, or its host.
        address: URL without a trailing slash, what HF_ENDPOINT is set to.
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
        return urlsplit(self.address).netloc


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
    parts = urlsplit(name)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"There is no endpoint {name!r}; choose auto, {', '.join(endpoints())}, offline, an "
            "address such as https://hf-mirror.com, or a folder."
        )
    return Endpoint(parts.netloc, name)
