"""Making a plan: which files a repository has at a commit, asked once and noted beside them, and
what of them is here."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from companion.door import (
    Checksum,
    Commit,
    RepositoryId,
    RepositoryPath,
    Size,
    Untrusted,
    inside,
    is_file,
)
from companion.door.places import open_plain
from companion.sources import ModelSource

from . import notes
from .endpoints import MODELSCOPE, Endpoint
from .environment import home_fault, is_unknown
from .errors import HubError, NotAllowed
from .listing import Listing, Remote, as_commit, ask
from .modelscope import ask_modelscope, modelscope_cache, stand_in
from .plan import Item, Plan, storage_of
from .selection import select
from .stock import Checked, digest
from .tokens import Token

logger = logging.getLogger(__name__)


def make_plan(
    chosen: dict[str, ModelSource],
    endpoint: Endpoint,
    *,
    token: Token = False,
    timeout: float = 30.0,
    cache: Path | None = None,
    refused: list[NotAllowed] | None = None,
    verify: bool = False,
) -> Plan:
    """Look up what is wanted: one question a repository, none where the listing is known.

    Args:
        chosen: what is wanted, by name.
        endpoint: where from.
        token: to send along, or False.
        timeout: limit of each answer in seconds.
        cache: the folder to fetch to; the hub's library's own by default.
        refused: takes what the endpoint refuses, so that the plan is made without it.
        verify: whether to ask anew, and to compare every checksum of what is here.

    Raises:
        HubError: the endpoint does not answer, refuses, or tells what cannot be.
    """
    from huggingface_hub import constants

    from_modelscope = endpoint.protocol == MODELSCOPE
    cache = Path(cache or (modelscope_cache() if from_modelscope else constants.HF_HUB_CACHE))
    if is_unknown(cache) and (fault := home_fault()):
        raise HubError(str(fault))
    items = []
    for source in chosen.values():
        if source.hub is None:
            continue
        try:
            wanted, said = stand_in(source) if from_modelscope else (source, "")
            item = _look_up(wanted, endpoint, token, timeout, cache, verify)
            items.append(replace(item, remarks=(said, *item.remarks) if said else item.remarks))
        except NotAllowed as error:
            if refused is None:
                raise
            refused.append(error)
        except Untrusted as error:
            raise HubError(str(error)) from error
    embedded = tuple(name for name, source in chosen.items() if source.zoo)
    return Plan(endpoint, tuple(items), embedded, cache)


def _look_up(
    source: ModelSource, endpoint: Endpoint, token: Token, timeout: float, cache: Path, verify: bool
) -> Item:
    repo_id = RepositoryId(source.hub)
    revision = RepositoryPath(source.revision or "main")
    storage = storage_of(source, cache)
    commit = as_commit(revision) or (notes.branch(storage, revision) if endpoint.offline else None)
    note = notes.listing(storage, commit) if commit else None
    if endpoint.offline:
        found = note.listing if note else _fetched_by_others(source, storage, commit)
        return _item(source, found, cache, verify)
    if note and note.serves(endpoint) and not verify:
        logger.debug("The files of %s are known from an earlier run", repo_id)
        return _item(source, note.listing, cache, verify)
    try:
        if endpoint.protocol == MODELSCOPE:
            found = ask_modelscope(repo_id, revision, endpoint, token, timeout)
        else:
            found = ask(source.repo_type, repo_id, revision, endpoint, token, timeout)
    except NotAllowed:
        raise
    except HubError:
        # The host is down; but what another told of this commit may be here, all of it.
        item = _item(source, note.listing, cache, verify) if note else None
        if item is None or item.missing:
            raise
        logger.debug("%s does not answer, but all of %s is here", endpoint.shown, repo_id)
        return item
    notes.write_listing(storage, found, endpoint)
    return _item(source, found, cache, verify)


def _item(source: ModelSource, found: Listing, cache: Path, verify: bool) -> Item:
    """What is needed of a listing, and what of that is here."""
    names = [file.path for file in found.files]
    needed = set(select(names, source.files))
    if not needed:
        wanted = ", ".join(source.files)
        raise HubError(f"{source.hub} has none of the files {wanted or 'that a model has'}.")
    lacking = [pattern for pattern in source.files if not select(names, [pattern])]
    files = tuple(file for file in found.files if file.path in needed)
    checked = Checked(storage_of(source, cache), afresh=verify)
    item = Item(source, found.commit, files, cache, checked)
    whole = frozenset(file.path for file in files if checked.is_right(item.final(file), file))
    missing = [file for file in files if file.path not in whole]
    return replace(
        item,
        whole=whole,
        begun={file.etag: _begun(item, file) for file in missing},
        changed=tuple(file.path for file in missing if is_file(item.final(file))),
        left_out=() if source.files else tuple(name for name in names if name not in needed),
        remarks=(
            *(f"Not there: {pattern}." for pattern in lacking),
            *(f"Left out: {sentence}" for sentence in found.unusable),
        ),
    )


def _begun(item: Item, file: Remote) -> int:
    """Bytes of a content that are here, though not under the file's name."""
    if item.checked.is_right(item.blob(file), file):
        return file.size
    part = item.part(file)
    return min(part.lstat().st_size, file.size) if is_file(part) else 0


def _fetched_by_others(source: ModelSource, storage: Path, commit: Commit | None) -> Listing:
    """What the library itself has put into the cache, if it is all that is wanted."""
    snapshot = inside(storage, "snapshots", commit or "none")
    files = []
    for folder, _, names in os.walk(snapshot):
        for path in (Path(folder, name) for name in names):
            try:
                files.append(_as_remote(path, path.relative_to(snapshot).as_posix()))
            except (Untrusted, OSError):
                continue  # nothing that the hub's library has put there
    paths = [file.path for file in files]
    if not commit or not paths or not all(select(paths, [p]) for p in source.files):
        raise HubError(f"{source.hub} is not whole on this machine: fetch it with a network first.")
    return Listing(commit, tuple(files))


def _as_remote(path: Path, name: str) -> Remote:
    """A file that is here, by the checksum that its content is called, or else its own."""
    with open_plain(path) as stream:
        size = Size(os.fstat(stream.fileno()).st_size)
    try:
        etag = Checksum(path.resolve().name)
    except Untrusted:
        etag = digest(path)
    return Remote(RepositoryPath(name), size, etag)
