"""What goes wrong on the way from the hub, as one sentence with the host and the remedy."""

from __future__ import annotations

import errno
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from companion.door import Untrusted, printable

from .endpoints import Endpoint
from .environment import proxy
from .patience import asked_for

TABLE = Path(__file__).with_name("removed.toml")
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
IN_THE_WAY = (errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENOTEMPTY)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class HubError(OSError):
    """Something could not be fetched; the message is one sentence with the remedy."""

    def __init__(self, sentence: str) -> None:
        """Take the sentence; what a host says in it gets no control code to the terminal."""
        super().__init__(printable(sentence))


class NotAllowed(HubError):
    """There is no such thing, or not for this reader: to try again does not help."""


class NoRoom(HubError):
    """The disk has not enough room."""


@cache
def replacements() -> dict[str, str]:
    """Ids that are gone from the hub, with what has taken their place."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def remedy(place: Endpoint, host: str, elsewhere: str | None = None) -> str:
    """What a reader does when a host of an endpoint cannot be reached.

    Args:
        place: the endpoint.
        host: the host that fails; another than the endpoint's where large files are sent on to it.
        elsewhere: the host that a mirror sends its readers on to, if that is what went wrong.
    """
    if proxy() and not place.official:
        return "a mirror and a proxy exclude each other: unset http_proxy https_proxy all_proxy"
    if elsewhere:
        return "outside China use the official endpoint: unset HF_ENDPOINT"
    if host != place.host:
        return "settings come but weights do not: take another endpoint or a proxy, or wait"
    if place.official:
        return (
            "check the network; in China set HF_ENDPOINT=https://hf-mirror.com before Python starts"
        )
    return "check the network, or take another endpoint"


def explain(error: Exception, place: Endpoint, what: str) -> HubError:
    """The sentence for an exception of the hub's library.

    Args:
        error: what was raised while something was fetched.
        place: the endpoint it was fetched from.
        what: id of the model or dataset.
    """
    if isinstance(error, HubError):
        return error
    if isinstance(error, Untrusted):
        return HubError(str(error))
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return HubError(
            f"{what} is not whole on this machine and HF_HUB_OFFLINE forbids the network: unset "
            "HF_HUB_OFFLINE before Python starts, or fetch it first."
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return NoRoom(
            f"The disk is full at {error.filename or 'the cache'}: make room (`hf cache rm`), or "
            "set HF_HOME to a larger disk; what came is kept, the same command goes on from there."
        )
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
        return HubError(
            f"{error.filename or 'The cache'} cannot be written: set HF_HOME to a folder of yours "
            "before Python starts."
        )
    if isinstance(error, OSError) and error.errno in IN_THE_WAY:
        return HubError(
            f"{error.filename or 'Something in the cache'} is in the way: look at what it is, and "
            "move it, then run the same command again."
        )
    host = _host(error) or place.host
    response = getattr(error, "response", None)
    if response is not None:
        return _refused(response, place, response.url.netloc.decode(), what)
    if type(error).__name__ == "FileMetadataError":
        return HubError(
            f"{place.host} sends you on to another host, which does not tell the version of its "
            f"files; {remedy(place, host, 'another host')}."
        )
    # The library hides some faults of the network behind one of its own.
    if error.__cause__ is not None and not hasattr(error, "request"):
        return explain(error.__cause__, place, what)  # type: ignore[arg-type]
    return HubError(f"{_at(host, place)} {_fault(error)}; {remedy(place, host)}.")


def damaged(place: Endpoint, host: str, path: str) -> HubError:
    """The sentence for a file that came twice with a wrong sum."""
    return HubError(
        f"{_at(host, place)} sent {path} damaged, twice: its checksum is not the hub's, so it was "
        "thrown away; try again later, or take another endpoint."
    )


def incomplete(place: Endpoint, host: str, path: str) -> HubError:
    """The sentence for a file of which a host sends something else, or no more."""
    return HubError(
        f"{_at(host, place)} sends too little in place of {path}, again and again: does the "
        "network want you to log in first? If not, take another endpoint."
    )


class TooSlow(HubError):
    """A host sends, but so little that the end would not come."""


def too_slow(place: Endpoint, host: str) -> TooSlow:
    """The sentence for a host that sends byte by byte."""
    return TooSlow(
        f"{_at(host, place)} sends less than 1 kB a second: try again later, or take another "
        "endpoint; what came is kept."
    )


def moved(place: Endpoint, what: str) -> HubError:
    """The sentence for a branch that stands for another commit than a moment ago."""
    return HubError(
        f"{place.shown} has moved {what} to a newer version meanwhile: run the same command again."
    )


def sent_on(place: Endpoint, elsewhere: str) -> HubError:
    """The sentence for an endpoint that redirects to where it may not."""
    return HubError(
        f"{place.shown} sends you on to another host, {elsewhere}, which is not the one that was "
        f"asked; {remedy(place, place.host, elsewhere)}."
    )


def _refused(response: Any, place: Endpoint, host: str, what: str) -> HubError:
    status, code = response.status_code, response.headers.get("X-Error-Code")
    at = _at(host, place)
    if code == "RevisionNotFound":
        return NotAllowed(
            f"{at} has {what}, but not this version of it: check the revision, or take the version "
            f"that it has with {what}@main."
        )
    if code == "EntryNotFound":
        return NotAllowed(f"{at} has {what}, but not the file {response.request.url.path}.")
    if code == "GatedRepo" or (status in (401, 403) and code != "RepoNotFound"):
        token = "set HF_TOKEN (never in a notebook) before Python starts"
        if not place.official:
            token += f", and say --send-token if {place.host} may see it"
        return NotAllowed(
            f"{at} answers {status}: {what} is only for those who have accepted its terms at "
            f"https://huggingface.co/{what}; accept them, then {token}."
        )
    if code == "RepoNotFound" or (status == 404 and host == place.host):
        if new := replacements().get(what):
            return NotAllowed(f"{what} was removed from the hub: use {new} in its place.")
        return NotAllowed(
            f"{at} has no {what}, or does not show it to you: check its name; if it is private, "
            "set HF_TOKEN before Python starts."
        )
    if status == 429:
        wait = asked_for(response)
        when = f"wait {wait:.0f} seconds" if wait else "wait some minutes"
        return HubError(f"{at} answers 429, too many requests: {when}, then go on.")
    return HubError(f"{at} answers {status}; try again later, or take another endpoint.")


def _at(host: str, place: Endpoint) -> str:
    return host if host == place.host else f"{host} (where {place.host} sends large files)"


def _host(error: BaseException) -> str | None:
    """The host that a request was for, redirects followed."""
    try:
        url = error.request.url  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # httpx raises the second when there is no request
        return None
    return str(url.netloc.decode() if isinstance(url.netloc, bytes) else url.netloc)


def _fault(error: Exception) -> str:
    kind, text = type(error).__name__, str(error)
    if "Timeout" in kind:
        return "does not answer within the time limit"
    if "Name or service" in text or "name resolution" in text or "nodename" in text:
        return "has no address here: the name is unknown or blocked"
    if "refused" in text:
        return "refuses the connection"
    if "CERTIFICATE" in text or "SSL" in text:
        return "shows a certificate that is not its own: something stands between you and it"
    if kind == "ProxyError":
        return f"cannot be reached through the proxy {proxy()}"
    if kind in ("ReadError", "RemoteProtocolError", "WriteError", "ConnectError"):
        return "cut the connection"
    return f"cannot be used ({text or kind})"
