"""What goes wrong on the way from the hub, as one sentence with the host and the remedy."""

from __future__ import annotations

import errno
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from companion.door import Untrusted, printable
from companion.door.advice import Advice
from companion.door.tables import read_table

from .endpoints import MODELSCOPE, Endpoint, host_of, mirror
from .environment import certificate_fault
from .proxies import proxy, proxy_fault, unset_proxy
from .reasons import proxy_reason, reason, status_reason
from .retry import asked_for

TABLE = Path(__file__).with_name("removed.toml")
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
IN_THE_WAY = (errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENOTEMPTY)
# What the library's own reading of an answer raises that is not the hub's.
ODD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
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
    """Ids that are gone from the hub, with what has taken their place.

    "Behind the firewall", "Ids that are gone".
    """
    return read_table(TABLE)


def remedy(endpoint: Endpoint, host: str, elsewhere: str | None = None) -> str:
    """What a reader does when a host of an endpoint cannot be reached.

    Args:
        endpoint: the endpoint.
        host: the host that fails; another than the endpoint's where large files are sent on to it.
        elsewhere: the host that a mirror sends its readers on to, if that is what went wrong.
    """
    address = _address(endpoint, host)
    if (via := proxy(address)) and not endpoint.official:
        return f"a mirror and a proxy exclude each other: {unset_proxy(address)}"
    if elsewhere and endpoint.protocol == MODELSCOPE:
        return "if it is ModelScope's own, set MODELSCOPE_ENDPOINT to it, or take another endpoint"
    if elsewhere:
        return "outside China use the official endpoint: unset HF_ENDPOINT"
    if host != endpoint.host:
        return "settings come but weights do not: take another endpoint or a proxy, or wait"
    if via:
        return f"does the proxy {via} work? If not, start it anew or {unset_proxy(address)}"
    if endpoint.official and (other := mirror()):
        return f"check the network; in China set HF_ENDPOINT={other.address} before Python starts"
    return "check the network, or take another endpoint"


def through_proxy(where: str, via: str, fault: str, address: str) -> Advice:
    """What to do about a proxy that fails.

    Args:
        where: what was to be reached.
        via: the proxy, without a password.
        fault: what it does, such as "refuses the connection".
        address: what was asked for.
    """
    gone = f"{unset_proxy(address)} before Python starts"
    if "password" in fault:
        step = "write the right ones into its address"
    elif fault.startswith(("refuses", "has no address", "does not answer")):
        step = "start the proxy program"
    else:
        step = "let the proxy program take another way"
    return Advice(f"{where} cannot be reached: the proxy {via} {fault}", f"{step}, or {gone}")


def explain(error: BaseException, endpoint: Endpoint, what: str) -> HubError:
    """The sentence for an exception of the hub's library.

    Args:
        error: what was raised while something was fetched.
        endpoint: the endpoint it was fetched from.
        what: id of the model or dataset.
    """
    if isinstance(error, HubError):
        return error
    if isinstance(error, Untrusted):
        return HubError(str(error))
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return HubError(
            f"{what} is not whole on this machine and HF_HUB_OFFLINE forbids the network: unset "
            "HF_HUB_OFFLINE before Python starts, or fetch it first."
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return NoRoom(
            f"The disk is full at {_file(error, 'the cache')}: make room (`hf cache rm`), or "
            "set HF_HOME to a larger disk; what came is kept, the same command goes on from there."
        )
    if isinstance(error, OSError) and error.errno in IN_THE_WAY:
        return HubError(
            f"{_file(error, 'Something in the cache')} is in the way: look at what it is, and move "
            "it, then run the same command again."
        )
    if getattr(error, "response", None) is None and (fault := certificate_fault()):
        return HubError(str(fault))
    if isinstance(error, OSError) and (error.filename or error.errno in NOT_WRITABLE):
        return HubError(
            f"{_file(error, 'The cache')} cannot be written: set HF_HOME to a folder of yours "
            f"before Python starts ({(error.strerror or type(error).__name__).lower()})."
        )
    url = _url(error)
    host = host_of(url) or endpoint.host
    response = getattr(error, "response", None)
    if response is not None:
        return _refused(response, endpoint, host_of(str(response.url)) or host, what)
    if type(error).__name__ == "FileMetadataError":
        return HubError(
            f"{endpoint.host} sends you on to another host, which does not tell the version of its "
            f"files; {remedy(endpoint, host, 'another host')}."
        )
    # The library hides some faults of the network behind one of its own.
    if error.__cause__ is not None and not hasattr(error, "request"):
        return explain(error.__cause__, endpoint, what)
    if isinstance(error, HFValidationError):
        return HubError(f"{printable(what)} is no id of the hub; check its name.")
    if fault := proxy_fault():
        return HubError(str(fault))
    if isinstance(error, ODD):
        return HubError(
            f"{_at(host, endpoint)} answers with something else than the hub does: does the "
            "network want you to log in first? If not, take another endpoint."
        )
    address = url or _address(endpoint, host)
    at = _at(host, endpoint)
    if (via := proxy(address)) and (why := proxy_reason(error, via)):
        return HubError(str(through_proxy(at, via, why, address)))
    return HubError(f"{at} {reason(error)}; {remedy(endpoint, host)}.")


def in_passing(fault: Exception | None, host: str) -> str:
    """What a host did that another try may better, for the log.

    Args:
        fault: what was raised, or None where no more bytes came.
        host: the last one that answered.
    """
    if fault is None:
        return f"{host} sent nothing"
    if isinstance(fault, HubError):
        return str(fault).rstrip(".")
    response = getattr(fault, "response", None)
    why = reason(fault) if response is None else status_reason(response.status_code)
    return f"{host_of(_url(fault)) or host} {why}"


def damaged(endpoint: Endpoint, host: str, path: str) -> HubError:
    """The sentence for a file that came twice with a wrong sum."""
    return HubError(
        f"{_at(host, endpoint)} sent {printable(path)} damaged, twice: its checksum is not the "
        "hub's, so it was thrown away; try again later, or take another endpoint."
    )


def incomplete(endpoint: Endpoint, host: str, path: str) -> HubError:
    """The sentence for a file of which a host sends something else, or no more."""
    return HubError(
        f"{_at(host, endpoint)} sends too little in place of {printable(path)}, again and again: "
        "does the network want you to log in first? If not, take another endpoint."
    )


class TooSlow(HubError):
    """A host sends, but so little that the end would not come."""


def too_slow(endpoint: Endpoint, host: str) -> TooSlow:
    """The sentence for a host that sends byte by byte."""
    return TooSlow(
        f"{_at(host, endpoint)} sends less than 1 kB a second: try again later, or take another "
        "endpoint; what came is kept."
    )


def moved(endpoint: Endpoint, what: str) -> HubError:
    """The sentence for a branch that stands for another commit than a moment ago."""
    return HubError(
        f"{endpoint.shown} has moved {what} to a newer version meanwhile: run the same command "
        "again."
    )


def sent_on(endpoint: Endpoint, elsewhere: str) -> HubError:
    """The sentence for an endpoint that redirects to where it may not."""
    return HubError(
        f"{endpoint.shown} sends you on to another host, {elsewhere}, which is not the one that "
        f"was asked; {remedy(endpoint, endpoint.host, elsewhere)}."
    )


def sent_nowhere(endpoint: Endpoint, host: str) -> HubError:
    """The sentence for a host that redirects to what is no address."""
    return HubError(
        f"{_at(host, endpoint)} sends you on to what is no address; try again later, or take "
        "another endpoint."
    )


def _refused(response: Any, endpoint: Endpoint, host: str, what: str) -> HubError:
    status, code = response.status_code, response.headers.get("X-Error-Code")
    at, path = _at(host, endpoint), str(response.request.url.path)
    page = "html" in response.headers.get("Content-Type", "")
    address = str(response.request.url)
    if status == 407 and (via := proxy(address)):
        return HubError(str(through_proxy(at, via, status_reason(407), address)))
    if status == 511 or (status in (401, 403) and page and not code):
        return HubError(
            f"{at} answers {status} with a page of somebody else's: log in to this network first, "
            "or ask who runs it to let you through."
        )
    if endpoint.protocol == MODELSCOPE and host == endpoint.host and status in (401, 403, 404):
        return NotAllowed(
            f"{at} answers {status}: it has no {what}, or not these files of it, or does not show "
            "them to you; take another endpoint."
        )
    if code == "RevisionNotFound":
        return NotAllowed(
            f"{at} has {what}, but not this version of it: check the revision, or take the version "
            f"that it has with {what}@main."
        )
    if code == "EntryNotFound":
        return NotAllowed(f"{at} has {what}, but not the file {printable(path)}.")
    # At the host of large files it is no matter of terms: the endpoint has let one in.
    turned_away = status in (401, 403) and host == endpoint.host
    if code == "GatedRepo" or (turned_away and code != "RepoNotFound"):
        token = "set HF_TOKEN (never in a notebook) before Python starts"
        if not endpoint.official:
            token += f", and say --send-token if {endpoint.host} may see it"
        return NotAllowed(
            f"{at} answers {status}: {what} is only for those who have accepted its terms at "
            f"https://huggingface.co/{what}; accept them, then {token}."
        )
    if code == "RepoNotFound" or (status == 404 and host == endpoint.host):
        if new := replacements().get(what):
            return NotAllowed(f"{what} was removed from the hub: use {new} in its place.")
        return NotAllowed(
            f"{at} has no {what}, or does not show it to you: check its name; if it is private, "
            "set HF_TOKEN before Python starts."
        )
    if status == 429:
        wait = asked_for(response)
        when = f"wait {wait:.0f} seconds" if wait and wait < 1e6 else "wait some minutes"
        return HubError(f"{at} answers 429, too many requests: {when}, then go on.")
    return HubError(f"{at} answers {status}; try again later, or take another endpoint.")


def _at(host: str, endpoint: Endpoint) -> str:
    shown = endpoint.shown
    return shown if host == endpoint.host else f"{host} (where {shown} sends large files)"


def _file(error: OSError, otherwise: str) -> str:
    return printable(str(error.filename)) if error.filename else otherwise


def _url(error: BaseException) -> str:
    """What was asked for, redirects followed; "" if the error does not tell."""
    try:
        return str(error.request.url)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # httpx raises the second when there is no request
        return ""


def _address(endpoint: Endpoint, host: str) -> str:
    """The address of an endpoint's host, as far as the choice of a proxy goes."""
    return f"{urlsplit(endpoint.address).scheme}://{host}"
