"""The proxies that the environment names: which one a request goes through, and which cannot be
used at all."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import urllib.request
from urllib.parse import urlsplit

from companion.door.advice import Advice

from .endpoints import ESCAPES, bare_address, is_address

SOCKS = ("socks5", "socks5h")
OFFICIAL = "https://huggingface.co"


def proxy_of(address: str) -> str | None:
    """The proxy that a request to an address goes through, or None.

    It may hold a password: `proxy` is for what is shown.
    """
    parts = urlsplit(address)
    proxies = _proxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if found and not _passed_by(parts.hostname or "", parts.port) else None


def proxy(address: str = OFFICIAL) -> str | None:
    """The proxy that a request to an address goes through, without name and password, or None."""
    found = proxy_of(address)
    return bare_address(found) if found else None


def unset_proxy(address: str = OFFICIAL) -> str:
    """The command that takes away the proxy of an address: `unset https_proxy`."""
    names = [*_spelt(urlsplit(address).scheme), *_spelt("all")]
    # None: they are settings of the system.
    return f"unset {' '.join(names) or 'http_proxy https_proxy all_proxy'}"


def proxy_fault() -> Advice | None:
    """What to do about a proxy that the hub's library cannot use, or None.

    One such variable stops every request, also those that would not go through this proxy.
    """
    if "*" in _exceptions():
        return None
    for scheme, value in _proxies().items():
        names = _spelt(scheme) or [f"{scheme}_proxy"]
        name, gone = names[0], f"unset {' '.join(names)} before Python starts"
        kind, shown = value.partition("://")[0].lower(), bare_address(value).rstrip("/")
        if kind not in ("http", "https", "socks", *SOCKS):
            return Advice(f"{name} names a kind of proxy that Python's libraries do not know", gone)
        if not is_address(value.rstrip("/"), (kind,)):
            how = ESCAPES if "@" in value else f"set {name} to one such as http://127.0.0.1:7890"
            return Advice(f"{name} cannot be read as an address", f"{how}, or {gone}")
        if kind == "socks" and "@" in value:
            return Advice(
                f"{name} begins with socks://, which Python's libraries do not know",
                f"write socks5:// in its place, or {gone}",
            )
        if kind == "socks":
            version_5 = shown.replace("socks", "socks5", 1)
            return Advice(
                f"{name}={shown} begins with socks://, which Python's libraries do not know",
                f"set {name}={version_5}, or {gone}",
            )
        if kind in SOCKS and importlib.util.find_spec("socksio") is None:
            return Advice(
                f"{name} is the SOCKS proxy {shown}, which takes one more package",
                f"python -m pip install 'httpx[socks]', or {gone}",
            )
    return None


def _proxies() -> dict[str, str]:
    """Proxy by scheme, each with its own scheme in front, as the hub's library reads them."""
    found = urllib.request.getproxies()
    return {
        scheme: found[scheme] if "://" in found[scheme] else f"http://{found[scheme]}"
        for scheme in ("http", "https", "all")
        if found.get(scheme)
    }


def _spelt(scheme: str) -> list[str]:
    """The variables that name a proxy for a scheme, the one that counts first."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return [name for name in names if os.environ.get(name)]


def _exceptions() -> list[str]:
    """What is reached without a proxy."""
    return [entry.strip() for entry in urllib.request.getproxies().get("no", "").split(",")]


def _passed_by(host: str, port: int | None) -> bool:
    """Whether a host is reached without a proxy: no_proxy names it, a domain of it or a network."""
    if urllib.request.proxy_bypass(host):  # knows the system's settings too
        return True
    return any(_names(entry.lower().strip("[]"), host, port) for entry in _exceptions() if entry)


def _names(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of no_proxy means a host."""
    if "/" in entry:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    domain = entry.removeprefix("*").removeprefix(".")
    return not domain or domain in (host, f"{host}:{port}") or host.endswith(f".{domain}")
