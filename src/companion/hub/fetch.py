"""`fetch`: a plan, room for it, then the files."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from companion.door import is_folder
from companion.local_hub import LocalHub
from companion.local_hub.no_proxy import no_proxy
from companion.sources import ModelSource, wanted

from . import notes
from .download import download
from .endpoints import MODELSCOPE, OFFLINE, Endpoint, endpoints, find_endpoint
from .errors import HubError
from .lookup import make_plan
from .plan import Plan
from .probe import choose
from .tokens import token_for

logger = logging.getLogger(__name__)

TIMEOUT = 30.0
VARIABLE = "COMPANION_ENDPOINT"


def fetch(
    what: int | str,
    profile: str | None = None,
    *,
    where: str | None = None,
    send_token: bool = False,
    progress: bool = True,
    verify: bool = False,
) -> dict[str, Path]:
    """Fetch what a chapter loads, or one repository, into the cache of the hub's library.

    "Behind the firewall", "Which one?".

    Only the files that are needed, at the book's commit; what is there already is not fetched
    again, what was broken off goes on, and every file's checksum is compared: once, and again when
    the file has changed on the disk.

    Args:
        what: a chapter's number, `all`, a name in the profile, or an id: see
            `companion.sources.wanted`.
        profile: of COMPANION_PROFILE, by default.
        where: an endpoint's name or address, `auto`, `offline`, a folder of repositories, or
            `modelscope`, which was never tried with the real one. By default what
            COMPANION_ENDPOINT says, then HF_ENDPOINT, then the official one.
        send_token: whether a host that is not the official one may see the reader's token.
        progress: whether a bar on stderr shows how far it is.
        verify: whether to ask for the list of files anew, and to compare all checksums again.

    Returns:
        The folder of each, for `from_pretrained` or `load_dataset`, by name.

    Raises:
        HubError: something could not be fetched; the sentence names the host and the remedy.
        ValueError: there is no such chapter, name, profile or endpoint.
    """
    chosen = wanted(what, profile)
    with opened(where) as endpoint:
        token = token_for(endpoint, send_token)
        plan = make_plan(chosen, endpoint, token=token, timeout=time_limit(), verify=verify)
        carry_out(plan, send_token=send_token, progress=progress)
    hub = (name for name, source in chosen.items() if source.hub)
    return {name: item.snapshot for name, item in zip(hub, plan.items, strict=True)}


def carry_out(plan: Plan, *, send_token: bool = False, progress: bool = True) -> None:
    """Fetch what a plan says, after its room has been checked.

    Raises:
        HubError: something could not be fetched; the sentence names the host and the remedy.
    """
    from tqdm import tqdm

    plan.check_room()
    if plan.endpoint.offline:
        if damaged := [name for item in plan.items for name in item.changed]:
            raise HubError(
                f"{damaged[0]} is damaged, or was changed: choose an endpoint to fetch it again."
            )
        if any(item.missing for item in plan.items):
            raise HubError("Not everything is on this machine: choose an endpoint to fetch it.")
        return
    bar = tqdm(
        total=plan.size,
        initial=plan.size - plan.to_fetch,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        disable=not progress or not plan.to_fetch,
    )
    with bar:
        download(
            plan,
            token=token_for(plan.endpoint, send_token),
            timeout=time_limit(),
            progress=bar.update,
        )
    for item in plan.items:
        notes.write_branch(item.storage, item.source.revision or "main", item.commit)


def fetch_source(source: ModelSource) -> Path:
    """The folder of one model or dataset of a profile, fetched if it is not there.

    Raises:
        HubError: it is not here and could not be fetched.
    """
    chosen = {str(source.hub): source}
    protocol = OFFLINE.protocol
    with ExitStack() as stack:
        try:
            endpoint = stack.enter_context(opened(None))
            protocol = endpoint.protocol
            plan = make_plan(chosen, endpoint, token=token_for(endpoint), timeout=time_limit())
        except (ConnectionError, HubError) as error:
            try:  # the network is down, but what is wanted may be here
                plan = make_plan(chosen, replace(OFFLINE, protocol=protocol))
                carry_out(plan)
            except HubError:
                raise (error if isinstance(error, HubError) else HubError(str(error))) from None
        else:
            carry_out(plan)
    return plan.items[0].snapshot


@contextmanager
def opened(where: str | None) -> Iterator[Endpoint]:
    """The endpoint of a name, an address, `auto`, `offline` or a folder, while it is in use; by
    default what COMPANION_ENDPOINT says, then HF_ENDPOINT, then the official one."""
    from huggingface_hub import close_session

    where = where or os.environ.get(VARIABLE)
    names = ("auto", OFFLINE.name, MODELSCOPE, *endpoints())  # whatever folder is called so
    if where and where not in names and is_folder(Path(where)):
        with no_proxy("*"), LocalHub(where) as hub:
            close_session()  # the next one passes the proxy by
            try:
                yield Endpoint(f"the folder {where}", hub.address)
            except HubError as error:
                if hub.fault is None:
                    raise
                raise _unreadable(hub.fault) from error
            finally:
                close_session()
        return
    if _offline() and (where == MODELSCOPE or not where):
        yield replace(OFFLINE, protocol=MODELSCOPE) if where else OFFLINE
    elif where:
        endpoint, why = choose(where)
        logger.debug("%s", why)
        yield endpoint
    else:
        yield find_endpoint()


def _unreadable(fault: OSError) -> HubError:
    why = (fault.strerror or type(fault).__name__).lower()
    return HubError(
        f"{fault.filename} cannot be read ({why}): let yourself read it, or take another endpoint."
    )


def time_limit() -> float:
    """Seconds of silence after which a host is given up: HF_HUB_DOWNLOAD_TIMEOUT, or 30."""
    value = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
    return float(value) if re.fullmatch("[1-9][0-9]{0,4}", value) else TIMEOUT


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
