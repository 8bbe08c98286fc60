"""The files of a repository at a commit, as an endpoint tells them: checked here, once."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from companion.door import Checksum, Commit, RepositoryPath, Size, Untrusted
from companion.door.values import Unusable

from .asking import asked, read, refusal, request_error
from .endpoints import Endpoint
from .errors import HubError, explain, in_passing
from .retry import PASSING, pause
from .tokens import Token

logger = logging.getLogger(__name__)

# Bytes of the answer: a listing of 100,000 files has 25 MB.
LIMIT = 100_000_000
# The hub tells a tree in pages of so many.
PAGE = 1000
# What of an answer that was cut off tells that the host is there, and another try may help.
CUT = ("ReadError", "RemoteProtocolError", "WriteError", "CloseError")


@dataclass(frozen=True)
class Remote:
    """A file of a repository on the hub.

    Attributes:
        path: its name in the repository.
        size: in bytes.
        etag: SHA-256 of a large file, SHA-1 of the Git object of a small one; the cache's name of
            its content.

    Raises:
        Untrusted: one of them is not what it has to be.
    """

    path: RepositoryPath
    size: Size
    etag: Checksum

    def __post_init__(self) -> None:
        """Check them, whoever says them."""
        object.__setattr__(self, "path", RepositoryPath(self.path))
        object.__setattr__(self, "size", Size(self.size))
        object.__setattr__(self, "etag", Checksum(self.etag))


@dataclass(frozen=True)
class Listing:
    """The files of a repository at a commit.

    Attributes:
        commit: the commit.
        files: what it holds.
        unusable: a sentence for each file whose name this file system does not take.
    """

    commit: Commit
    files: tuple[Remote, ...]
    unusable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the files can lie side by side.

        Raises:
            Untrusted: two of one name, a file that is a folder too, one content of two sizes.
        """
        seen: dict[str, Remote] = {}
        sizes: dict[Checksum, int] = {}
        for file in self.files:
            if seen.setdefault(file.path, file) != file:
                raise Untrusted(f"It tells two files called {str(file.path)!r}.")
            if sizes.setdefault(file.etag, file.size) != file.size:
                raise Untrusted(
                    f"It tells two sizes for one content, {sizes[file.etag]} and {file.size} bytes "
                    f"({str(file.path)!r})."
                )
        folders = {
            path.rsplit("/", depth)[0] for path in seen for depth in range(1, path.count("/") + 1)
        }
        if both := folders & seen.keys():
            raise Untrusted(f"It tells of {min(both)!r} that it is a file and a folder.")
        object.__setattr__(self, "files", tuple(seen.values()))


@dataclass
class _Large:
    sha256: str


@dataclass
class _Sibling:
    rfilename: str
    size: int | None = None
    blobId: str | None = None
    lfs: _Large | None = None


@dataclass
class _Answer:
    sha: str
    siblings: list[_Sibling]


@dataclass
class _LargeEntry:
    oid: str


@dataclass
class _Entry:
    type: str
    path: str
    size: int
    oid: str
    lfs: _LargeEntry | None = None


class NamesOnly(Untrusted):
    """A host does not pass on that sizes and checksums were asked for, as olah 0.5 does not; the
    tree has them.

    Attributes:
        commit: whose files are named.
    """

    def __init__(self, commit: Commit) -> None:
        super().__init__("It tells names of files, but no size and no checksum.")
        self.commit = commit


def ask(
    repo_type: str, repo_id: str, revision: str, endpoint: Endpoint, token: Token, timeout: float
) -> Listing:
    """Ask an endpoint for the files of a repository, again while it is busy.

    Raises:
        HubError: it does not answer, refuses, or tells something else.
    """
    url = (
        f"{endpoint.address}/api/{repo_type}s/{quote(repo_id)}/revision/{quote(revision, safe='')}"
        "?blobs=true"
    )
    parse = partial(parse_listing, revision=revision)
    try:
        return ask_at(url, parse, repo_id, endpoint, token, timeout)
    except NamesOnly as names:
        api = f"{endpoint.address}/api/{repo_type}s/{quote(repo_id)}"
        url = f"{api}/tree/{names.commit}?recursive=true"
        parse = partial(parse_tree, commit=names.commit)
        return ask_at(url, parse, repo_id, endpoint, token, timeout)


def ask_at(
    url: str,
    parse: Callable[[bytes], Listing],
    repo_id: str,
    endpoint: Endpoint,
    token: Token,
    timeout: float,
) -> Listing:
    """The same, by the address of the question and what makes a listing of the answer.

    Raises:
        HubError: as `ask`.
        NamesOnly: as `parse`.
    """
    try:
        body = _patiently(url, endpoint, token, timeout)
    except Exception as error:
        raise explain(error, endpoint, repo_id) from error
    try:
        return parse(body)
    except NamesOnly:
        raise
    except Untrusted as error:
        raise HubError(
            f"{endpoint.shown} tells no sizes and checksums of {repo_id} that can be right: "
            f"{str(error).rstrip('.')}; does the network want you to log in first? If not, take "
            "another endpoint."
        ) from error


def parse_listing(body: bytes, revision: str) -> Listing:
    """A listing from the answer of `/api/models/ID/revision/REVISION?blobs=true`.

    Raises:
        NamesOnly: it tells the names of the files and nothing else of any.
        Untrusted: it is no such answer, is for another commit, or names a file outside.
    """
    from companion.door.documents import parse_json

    answer = parse_json(_Answer, body, "The list of files", limit=LIMIT)
    commit = Commit(answer.sha)
    if commit != (as_commit(revision) or commit):
        raise Untrusted(f"It answers for commit {commit} in place of {revision}.")
    told = [(file.size, file.blobId, file.lfs) for file in answer.siblings]
    if told and not any(part is not None for parts in told for part in parts):
        raise NamesOnly(commit)
    files, unusable = [], []
    for sibling in answer.siblings:
        etag = sibling.lfs.sha256 if sibling.lfs else sibling.blobId
        try:
            files.append(Remote(sibling.rfilename, sibling.size, etag))  # type: ignore[arg-type]
        except Unusable as error:
            unusable.append(str(error))
    return Listing(commit, tuple(files), tuple(unusable))


def parse_tree(body: bytes, commit: Commit) -> Listing:
    """A listing from the answer of `/api/models/ID/tree/COMMIT?recursive=true`.

    Raises:
        Untrusted: it is no such answer, may be one page of several, or names a file outside.
    """
    from companion.door.documents import parse_json

    entries = parse_json(list[_Entry], body, "The list of files", limit=LIMIT)
    if len(entries) >= PAGE:
        raise Untrusted(f"It names {len(entries):,} files, and there may be more.")
    files, unusable = [], []
    for entry in entries:
        if entry.type == "directory":
            continue
        etag = entry.lfs.oid if entry.lfs else entry.oid
        try:
            files.append(Remote(entry.path, entry.size, etag))  # type: ignore[arg-type]
        except Unusable as error:
            unusable.append(str(error))
    return Listing(commit, tuple(files), tuple(unusable))


def as_commit(revision: str | None) -> Commit | None:
    """The commit, if a revision is one and no branch or tag."""
    try:
        return Commit(revision)
    except Untrusted:
        return None


def _patiently(url: str, endpoint: Endpoint, token: Token, timeout: float) -> bytes:
    """The body of the answer; asked again while the host is busy, or when it was cut off."""
    for failures in itertools.count(1):
        fault: Any
        try:
            with asked(url, endpoint, token, timeout, stay=True) as answer:
                if answer.status_code < 300:
                    return read(answer, endpoint, LIMIT, timeout)
                fault = refusal(answer)
                again = answer.status_code in PASSING
        except request_error() as error:
            fault, again = error, type(error).__name__ in CUT
        wait = pause(failures, getattr(fault, "response", None))
        if not again or wait is None:
            raise fault
        logger.debug("%s; asked again in %.1f s", in_passing(fault, endpoint.host), wait)
        time.sleep(wait)
    raise AssertionError
