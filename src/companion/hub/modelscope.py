"""ModelScope as a route for models: what is there, how it is asked, and what it answers.

It was never tried against the real host. Its files lie in a cache of their own, in the hub's
layout and under ModelScope's own id: nothing there passes for what the hub has. ModelScope tells no
commit; in its place stands a sum over the names and checksums of all files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from companion.door import Checksum, Commit, Untrusted
from companion.door.tables import read_table
from companion.door.values import Unusable
from companion.sources import ModelSource

from .endpoints import MODELSCOPE_TABLE, Endpoint
from .environment import home
from .errors import NotAllowed
from .listing import Listing, Remote, ask_at
from .tokens import Token

BRANCH = "master"
# A list of so many files may lack the rest: ModelScope cuts it there, and does not say so.
MOST = 3000


@dataclass
class _File:
    Path: str
    Type: str
    Size: int | None = None
    Sha256: str | None = None


@dataclass
class _Files:
    Files: list[_File]


@dataclass
class _Answer:
    Data: _Files


def modelscope_cache() -> Path:
    """The folder of what comes from ModelScope."""
    return home() / "modelscope"


def stand_in(source: ModelSource) -> tuple[ModelSource, str]:
    """What is fetched from ModelScope for a source, and what there is to say about it.

    Raises:
        NotAllowed: nothing that the book knows of.
    """
    if source.repo_type != "model":
        raise NotAllowed(
            f"{source.hub} is a dataset, and only models are fetched from ModelScope: take another "
            "endpoint."
        )
    if known := _known().get(str(source.hub)):
        return (
            replace(source, hub=known["id"], revision=BRANCH),
            f"In place of {source.hub}: {known['about']}.",
        )
    if source.chapters:
        raise NotAllowed(f"{source.hub} was not found on ModelScope: take another endpoint.")
    # An id as the reader gave it; the hub's first branch is called otherwise there.
    revision = BRANCH if source.revision in (None, "main") else source.revision
    return replace(source, revision=revision), ""


def ask_modelscope(
    repo_id: str, revision: str, endpoint: Endpoint, token: Token, timeout: float
) -> Listing:
    """Ask for the files of a model.

    Raises:
        HubError: ModelScope does not answer, refuses, or tells something else.
    """
    query = urlencode({"Revision": revision, "Recursive": "true"})
    url = f"{endpoint.address}/api/v1/models/{quote(repo_id)}/repo/files?{query}"
    return ask_at(url, parse_listing, repo_id, endpoint, token, timeout)


def file_url(endpoint: Endpoint, repo_id: str, revision: str, path: str) -> str:
    """Where a file is."""
    query = urlencode({"Revision": revision, "FilePath": path})
    return f"{endpoint.address}/api/v1/models/{quote(repo_id)}/repo?{query}"


def parse_listing(body: bytes) -> Listing:
    """A listing from the answer of `/api/v1/models/ID/repo/files`.

    Raises:
        Untrusted: it is no such answer, may be cut off, or names a file outside.
    """
    from companion.door.documents import parse_json

    told = parse_json(_Answer, body, "The list of files").Data.Files
    if len(told) >= MOST:
        raise Untrusted(f"It names {len(told):,} files, where ModelScope leaves out the rest.")
    files, unusable = [], []
    for file in told:
        if file.Type == "tree":
            continue
        try:
            files.append(Remote(file.Path, file.Size, _sha256(file)))  # type: ignore[arg-type]
        except Unusable as error:
            unusable.append(str(error))
    lines = sorted(f"{file.etag} {file.path}\n" for file in files)
    commit = Commit(hashlib.sha1("".join(lines).encode()).hexdigest())
    return Listing(commit, tuple(files), tuple(unusable))


def _sha256(file: _File) -> Checksum:
    digits = Checksum(file.Sha256)
    if len(digits) != 64:
        raise Untrusted(f"It tells no SHA-256 of {file.Path[:60]!r}.")
    return digits


@cache
def _known() -> dict[str, dict[str, Any]]:
    return dict(read_table(MODELSCOPE_TABLE)["in place of"])
