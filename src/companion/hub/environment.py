"""The variables that decide how the hub is reached, where they clash, and the shell's lines that
set them right.

huggingface_hub reads them once, when it is imported: setting them later does nothing."""

from __future__ import annotations

import contextlib
import os
import shlex
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from companion.door import is_file, is_folder, nearest, printable, says_yes
from companion.door.advice import Advice

from .endpoints import Endpoint, UnknownEndpoint, bare_address, endpoints, find_endpoint
from .proxies import proxy, proxy_fault, unset_proxy

AUTODL_DATA_DISK = Path("/root/autodl-tmp")
AUTODL_PROXY = Path("/etc/network_turbo")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")

# What a mirror needs besides its address. Xet's own servers are not the mirror's; ten seconds, the
# library's limit, are too few; and a token is for the official host only.
MIRROR = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_ETAG_TIMEOUT": "60",
    "HF_HUB_DOWNLOAD_TIMEOUT": "60",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}


def on_colab() -> bool:
    """Whether this is Google Colab."""
    return "COLAB_RELEASE_TAG" in os.environ


def on_autodl() -> bool:
    """Whether this is a rented AutoDL machine: its data disk is there."""
    return is_folder(AUTODL_DATA_DISK)


def use_autodl_proxy(script: Path = AUTODL_PROXY) -> list[str]:
    """Take AutoDL's proxy for GitHub and huggingface.co into this process, before anything is
    fetched; `!source` in a notebook reaches a shell of its own only. AutoDL promises nothing.
    "Behind the firewall", "Two disks and a proxy".

    Returns:
        The names of the variables that were set; removing them from os.environ undoes it.

    Raises:
        FileNotFoundError: this machine has no such script.
        ValueError: HF_ENDPOINT names a mirror, which a proxy would lead out of China.
    """
    if not is_file(script):
        raise FileNotFoundError(f"There is no {script} here: it belongs to AutoDL's machines.")
    if not find_endpoint().official:
        raise ValueError(
            f"HF_ENDPOINT={find_endpoint().bare} is a mirror: choose it or the proxy, and for the "
            "proxy unset HF_ENDPOINT before Python starts."
        )
    bash = ["bash", "-c", 'source "$0" > /dev/null 2>&1; env -0', str(script)]
    answer = subprocess.run(bash, capture_output=True, encoding="locale", check=True).stdout
    values = dict(line.partition("=")[::2] for line in answer.split("\0") if line)
    found = {name: value for name, value in values.items() if name.lower() in PROXIES}
    os.environ.update(found)
    return sorted(found)


def home() -> Path:
    """The folder HF_HOME that holds what the hub's libraries fetch, found as they find it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    path = os.environ.get("HF_HOME", str(Path(cache, "huggingface")))
    return expanded(path)


def cache() -> Path:
    """The folder of models and datasets, found as the hub's library finds it."""
    named = os.environ.get("HF_HUB_CACHE", os.environ.get("HUGGINGFACE_HUB_CACHE"))
    return home() / "hub" if named is None else expanded(named)


def expanded(text: str) -> Path:
    """A path with its ~ and its variables put in; a ~ that nobody knows stays, as the library's."""
    path = Path(text)
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    return Path(os.path.expandvars(path))


def small_disk() -> Advice | None:
    """What is wrong if downloads go to AutoDL's small system disk, or None."""
    if not on_autodl() or _same_disk(home(), AUTODL_DATA_DISK):
        return None
    return Advice(
        f"HF_HOME is {printable(str(home()))}, on the small system disk",
        f"set HF_HOME={AUTODL_DATA_DISK}/huggingface, on the data disk, before Python starts",
    )


def too_late() -> list[Advice]:
    """What to do about each variable that was set after huggingface_hub had read it.

    Empty while huggingface_hub is not imported: then everything is still in time.
    "Behind the firewall", "The variables, and when they are read".
    """
    constants = library_constants()
    if constants is None:
        return []
    now: dict[str, Any] = {
        "HF_ENDPOINT": find_endpoint().address,
        "HF_HOME": home(),
        "HF_HUB_OFFLINE": offline(),
        "HF_HUB_DISABLE_XET": is_on("HF_HUB_DISABLE_XET"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"),
        "HF_HUB_ETAG_TIMEOUT": _seconds("HF_HUB_ETAG_TIMEOUT", constants.DEFAULT_ETAG_TIMEOUT),
        "HF_HUB_DOWNLOAD_TIMEOUT": _seconds(
            "HF_HUB_DOWNLOAD_TIMEOUT", constants.DEFAULT_DOWNLOAD_TIMEOUT
        ),
    }
    read = {name: getattr(constants, name.replace("HF_ENDPOINT", "ENDPOINT")) for name in now}
    read["HF_HOME"] = Path(read["HF_HOME"])  # with a slash at its end it is the same folder
    return [
        Advice(
            f"{name} was changed to {_shown(now[name])} after huggingface_hub had read "
            f"{_shown(read[name])}: it comes too late",
            "restart Python (the notebook's kernel) and set it before the first import",
        )
        for name in now
        if now[name] != read[name]
    ]


def library_constants() -> Any:
    """The module with what huggingface_hub has read, or None while it is not imported."""
    return sys.modules.get("huggingface_hub.constants")


def clashes() -> list[Advice]:
    """What to do about each setting that cannot work, or works against another."""
    faults = (number_fault(), certificate_fault(), proxy_fault(), home_fault())
    found = [fault for fault in faults if fault]
    address = os.environ.get("HF_ENDPOINT", "")
    try:
        endpoint = find_endpoint()
    except UnknownEndpoint as error:
        wrong = Advice(f"HF_ENDPOINT is wrong: {error.advice.text}", error.advice.remedy)
        return [wrong, *found]
    if address in endpoints():
        text = f"HF_ENDPOINT={address} is a name that only companion knows"
        found.append(Advice(text, f"set HF_ENDPOINT={endpoint.address}"))
    if address.endswith("/"):
        bare = endpoint.bare == endpoint.address
        remedy = f"set HF_ENDPOINT={endpoint.bare}" if bare else "take it away"
        text = f"HF_ENDPOINT={endpoint.bare}/ ends in a slash, which the datasets library keeps"
        found.append(Advice(text, remedy))
    via = proxy(endpoint.address)
    mirror = f"HF_ENDPOINT={endpoint.bare} is a mirror"
    if not endpoint.official and on_colab():
        text = f"{mirror} and this is Colab: it would send you back to the official host"
        found.append(Advice(text, "unset HF_ENDPOINT"))
    elif not endpoint.official and via:
        text = f"{mirror} and requests go through the proxy {via}: choose one"
        remedy = f"either unset HF_ENDPOINT, or {unset_proxy(endpoint.address)}"
        found.append(Advice(text, remedy))
    if not endpoint.official and not is_on("HF_HUB_DISABLE_XET"):
        text = f"{mirror}, but large files would come from Xet's servers"
        found.append(Advice(text, "set HF_HUB_DISABLE_XET=1"))
    if advice := small_disk():
        found.append(advice)
    return [*found, *too_late()]


def number_fault() -> Advice | None:
    """What to do about a variable that ends the import of huggingface_hub, or None."""
    for name in SECONDS:
        if _whole(os.environ.get(name, "0")) is None:
            return Advice(
                f"{name} is no whole number of seconds, without which huggingface_hub cannot be "
                "imported",
                f"set {name}=60 before Python starts",
            )
    return None


def certificate_fault() -> Advice | None:
    """What to do if SSL_CERT_FILE stops every request, or None."""
    file = os.environ.get("SSL_CERT_FILE")
    try:
        ssl.create_default_context(cafile=file or None)
    except OSError:  # gone, closed, or no certificates
        return Advice(
            f"SSL_CERT_FILE is {printable(str(file))}, from which no certificates can be read, so "
            "that no host can be asked",
            "unset SSL_CERT_FILE before Python starts",
        )
    return None


def home_fault() -> Advice | None:
    """What to do if downloads go to a strange place, or None."""
    for folder, name in ((home(), "HF_HOME"), (cache(), "HF_HUB_CACHE")):
        shown = printable(str(folder))
        if is_unknown(folder):
            text = f"No home folder is known for {shown}"
        elif not folder.is_absolute():
            where = "" if folder == Path() else f"{shown} in "
            text = f"Downloads go to {where}the working folder, whichever that is"
        else:
            continue
        return Advice(text, f"set {name} to a folder of yours before Python starts")
    return None


def is_unknown(folder: Path) -> bool:
    """Whether a path begins with somebody's home folder that nobody knows."""
    return str(folder).startswith("~")


def variables(endpoint: Endpoint) -> dict[str, str | None]:
    """What to set for an endpoint before Python starts; None is a variable to unset."""
    if endpoint.offline:
        return {"HF_HUB_OFFLINE": "1"}
    mirror = not endpoint.official
    values: dict[str, str | None] = {"HF_ENDPOINT": endpoint.address if mirror else None}
    values |= {name: value if mirror else None for name, value in MIRROR.items()}
    if mirror and proxy(endpoint.address):
        values |= {name: None for proxy in PROXIES for name in (proxy, proxy.upper())}
    if small_disk():
        values["HF_HOME"] = f"{AUTODL_DATA_DISK}/huggingface"
    return values


def export_lines(endpoint: Endpoint) -> str:
    """The shell's lines for `variables`: `export NAME=VALUE`, and `unset` for what must go.

    A name and a password in the endpoint's address are left out, and a line says so.
    "Behind the firewall", "The variables, and when they are read".
    """
    values = variables(endpoint)
    lines = []
    if endpoint.bare != endpoint.address:
        lines.append("# HF_ENDPOINT has a name or a password, which are not shown: put them in.")
        values["HF_ENDPOINT"] = endpoint.bare
    lines += [
        f"export {name}={shlex.quote(value)}" for name, value in values.items() if value is not None
    ]
    gone = [name for name, value in values.items() if value is None and name in os.environ]
    return "\n".join([*lines, *([f"unset {' '.join(gone)}"] if gone else [])])


def is_on(name: str) -> bool:
    """Whether a variable says yes, read as the hub's library reads it."""
    return says_yes(os.environ.get(name, ""))


def offline() -> bool:
    """Whether the hub's library is told to ask nobody."""
    return is_on("HF_HUB_OFFLINE") or is_on("TRANSFORMERS_OFFLINE")


def _seconds(name: str, default: int) -> int:
    return _whole(os.environ.get(name, "")) or default


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _shown(value: object) -> str:
    return bare_address(str(value))


def _same_disk(folder: Path, other: Path) -> bool:
    """Whether a folder, or the nearest of its parents that exists, is on another's disk."""
    return _disk(folder) == _disk(other)


def _disk(folder: Path) -> int | None:
    try:
        return nearest(folder).stat().st_dev
    except OSError:  # nothing of it is there, or to be looked at
        return None
