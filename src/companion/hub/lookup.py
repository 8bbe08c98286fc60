"""Making a plan: which files a repository has at a commit, asked once and noted beside them."""

from __future__ import annotations

import itertools
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from companion.profile import ModelSource

from .endpoints import Endpoint
from .errors import HubError, NotAllowed, explain
from .patience import PASSING, pause
from .plan import Item, Plan, Remote
from .selection import select
from .tokens import Token

COMMIT = re.compile(r"[0-9a-f]{40}")
CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def make_plan(
    chosen: dict[str, ModelSource],
    place: Endpoint,
    *,
    token: Token = False,
    timeout: float = 30.0,
    cache: Path | None = None,
    refused: list[NotAllowed] | None = None,
) -> Plan:
    """Look up what is wanted: one question a repository, none where the listing is known.

    Args:
        chosen: what is wanted, by name.
        place: where from.
        token: to send along, or False.
        timeout: limit of each answer in seconds.
        cache: the folder to fetch to; the hub's library's own by default.
        refused: takes what the endpoint refuses, so that the plan is made without it.

    Raises:
        HubError: the endpoint does not answer, or refuses.
    """
    from huggingface_hub import constants

    cache = Path(cache or constants.HF_HUB_CACHE)
    items = []
    for source in chosen.values():
        if source.hub is None:
            continue
        try:
            items.append(_look_up(source, place, token, timeout, cache))
        except NotAllowed as error:
            if refused is None:
                raise
            refused.append(error)
    embedded = tuple(name for name, source in chosen.items() if source.zoo)
    return Plan(place, tuple(items), embedded, cache)


def _look_up(
    source: ModelSource,
    place: Endpoint,
    token: Token,
    timeout: float,
    cache: Path,
) -> Item:
    bare = Item(source, source.revision or "main", (), cache)
    if not COMMIT.fullmatch(bare.commit) and place.offline:
        bare = replace(bare, commit=_noted_commit(bare))
    remotes = _listing(bare) if COMMIT.fullmatch(bare.commit) else None
    if remotes is None and place.offline:
        remotes = _fetched_by_others(bare)
    if remotes is None:
        bare, remotes = _ask(bare, place, token, timeout)
    names = set(select([remote.path for remote in remotes], source.files))
    if not names:
        raise HubError(f"{source.hub} has none of the files {', '.join(source.files)}.")
    return replace(bare, files=tuple(r for r in remotes if r.path in names))


def _ask(item: Item, place: Endpoint, token: Token, timeout: float) -> tuple[Item, list[Remote]]:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=place.address, token=token)
    ask = partial(
        api.repo_info,
        str(item.source.hub),
        repo_type=item.source.repo_type,
        revision=item.commit,
        timeout=timeout,
        files_metadata=True,
    )
    try:
        info = _patiently(ask)
    except Exception as error:
        raise explain(error, place, str(item.source.hub)) from error
    remotes = [
        Remote(s.rfilename, s.size, s.lfs.sha256 if s.lfs else s.blob_id)
        for s in info.siblings or ()
    ]
    # These become names in the cache: a host that says something else there gets nowhere.
    told = [info.sha, *(remote.etag for remote in remotes)]
    if not all(CHECKSUM.fullmatch(str(name)) for name in told) or any(
        not isinstance(remote.size, int) for remote in remotes
    ):
        raise HubError(
            f"{place.host} tells no sizes and checksums of {item.source.hub}; take another "
            "endpoint."
        )
    item = replace(item, commit=info.sha)
    try:
        _write_note(item, remotes)
    except OSError as error:
        raise explain(error, place, str(item.source.hub)) from error
    return item, remotes


def _patiently(ask: Callable[[], Any]) -> Any:
    """The answer to a question, asked again while the host is busy."""
    from huggingface_hub.errors import HfHubHTTPError

    for failures in itertools.count(1):
        try:
            return ask()
        except HfHubHTTPError as error:
            wait = pause(failures, error.response)
            if error.response.status_code not in PASSING or wait is None:
                raise
            time.sleep(wait)


def _write_note(item: Item, remotes: list[Remote]) -> None:
    note = _note(item)
    note.parent.mkdir(parents=True, exist_ok=True)
    unfinished = note.with_suffix(f".{uuid.uuid4().hex[:8]}")
    unfinished.write_text(json.dumps([asdict(remote) for remote in remotes]), encoding="utf-8")
    unfinished.replace(note)


def _listing(item: Item) -> list[Remote] | None:
    """The repository's listing as noted by an earlier plan: a commit never changes."""
    try:
        entries = json.loads(_note(item).read_text(encoding="utf-8"))
        return [Remote(**entry) for entry in entries]
    except (OSError, ValueError, TypeError):
        return None


def _fetched_by_others(item: Item) -> list[Remote]:
    """What the library itself has put into the cache, if it is all that is wanted."""
    found = [path for path in item.snapshot.rglob("*") if path.is_file()]
    remotes = [
        Remote(path.relative_to(item.snapshot).as_posix(), path.stat().st_size, path.resolve().name)
        for path in found
    ]
    names = [remote.path for remote in remotes]
    if not names or not all(select(names, [pattern]) for pattern in item.source.files):
        raise HubError(
            f"{item.source.hub} is not whole on this machine: fetch it with a network first."
        )
    return remotes


def _note(item: Item) -> Path:
    return item.storage / "companion" / f"{item.commit}.json"


def _noted_commit(item: Item) -> str:
    """The commit that a branch stood for when it was last fetched."""
    reference = item.storage / "refs" / item.commit
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else item.commit
