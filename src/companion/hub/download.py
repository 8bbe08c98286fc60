"""Fetching the files of a plan: resumed where an earlier run stopped, checked, then named.

huggingface_hub 2 drops what a broken download has fetched so far (huggingface_hub#4228: its partial
file has a name of its own in every process) and compares sizes only. Here the partial file keeps
its name, and a file gets its final name when its checksum is the hub's. Large files come over plain
HTTP from every endpoint: Xet's own servers are no mirror's, and do not go on where they stopped.

The layout is the library's: the content in `blobs` under its checksum, in `snapshots/COMMIT` a link
to it under its name. Nothing is written or removed through a link that is there already."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from companion.door import append_to, inside, is_file
from companion.door.places import clear

from . import notes
from .asking import asked, refusal, request_error
from .endpoints import MODELSCOPE, Endpoint
from .errors import DISK_FULL, TooSlow, damaged, explain, in_passing, incomplete, moved, too_slow
from .listing import Remote, as_commit
from .modelscope import file_url
from .plan import Item, Plan
from .retry import PASSING, SILENCES, SLOWEST, Pace, pause
from .stock import checksum_matches
from .tokens import Token

logger = logging.getLogger(__name__)

GOODBYE = 1.0  # seconds that a thread gets to end
Progress = Callable[[int], object]


class Stopped(Exception):
    """Another file has failed, or the reader has pressed Ctrl-C."""


def download(
    plan: Plan,
    *,
    token: Token = False,
    timeout: float = 30.0,
    progress: Progress = lambda new: None,
) -> None:
    """Fetch what of a plan is missing.

    What has come is kept, whatever happens; the next run goes on from there.

    Args:
        plan: what to fetch; its room has been checked.
        token: to send to the plan's endpoint, or False.
        timeout: limit in seconds of a silence of the host.
        progress: called with the bytes that have come since the last call; with a negative number
            when bytes turn out to be worthless.

    Raises:
        HubError: something could not be fetched; the sentence names the host and the remedy.
    """
    # A mirror turns away those who ask for too much at once.
    workers = 4 if plan.endpoint.official else 2
    stop = Event()
    files = [
        _File(item, file, plan.endpoint, token, timeout, progress, stop)
        for item in plan.items
        for file in item.missing
    ]
    waiting: SimpleQueue[_File] = SimpleQueue()
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    for file in files:
        waiting.put(file)
    # Left behind if they do not end when they are told to: none may wait for a silent host.
    threads = [
        Thread(target=_work, args=(waiting, done, stop), daemon=True) for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in files:
            if fault := done.get():
                raise fault
    finally:
        stop.set()
        for file in files:
            file.hang_up()
        for thread in threads:
            thread.join(GOODBYE)


def _work(
    waiting: SimpleQueue[_File], done: SimpleQueue[BaseException | None], stop: Event
) -> None:
    while not stop.is_set():
        try:
            waiting.get_nowait().fetch()
            done.put(None)
        except Empty:
            return
        except BaseException as error:
            done.put(error)


def request(
    item: Item, file: Remote, endpoint: Endpoint, token: Token, timeout: float, start: int = 0
) -> AbstractContextManager[Any]:
    """Ask for a file from a byte on; redirects are followed, the token stays with the endpoint."""
    from huggingface_hub import hf_hub_url

    if endpoint.protocol == MODELSCOPE:
        repo_id, revision = str(item.source.hub), str(item.source.revision)
        url = file_url(endpoint, repo_id, revision, file.path)
        return asked(url, endpoint, token, timeout, start=start)
    url = hf_hub_url(
        str(item.source.hub),
        file.path,
        repo_type=item.source.repo_type,
        revision=item.commit,
        endpoint=endpoint.address,
    )
    return asked(url, endpoint, token, timeout, start=start)


class _File:
    """One file on its way."""

    def __init__(
        self,
        item: Item,
        file: Remote,
        endpoint: Endpoint,
        token: Token,
        timeout: float,
        progress: Progress,
        stop: Event,
    ) -> None:
        self.item, self.file, self.endpoint, self.token = item, file, endpoint, token
        self.timeout, self.progress, self.stop = timeout, progress, stop
        self.host = endpoint.host  # the one that sent the last bytes
        self.answer: Any = None

    def fetch(self) -> None:
        """Fetch the content, then give it its names in the cache."""
        from huggingface_hub.utils import WeakFileLock

        cache, storage = self.item.cache, self.item.storage
        try:
            lock = inside(cache, ".locks", storage.name, f"{self.file.etag}.lock")
            lock.parent.mkdir(parents=True, exist_ok=True)
            clear(lock)
            blob = self.item.blob(self.file)
            with WeakFileLock(lock):
                if not self.item.checked.is_right(blob, self.file):
                    self._set_aside(blob)
                    self._content(blob)
                self._link(blob)
        except Stopped:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                error.filename = str(cache)
            raise explain(error, self.endpoint, str(self.item.source.hub)) from error

    def hang_up(self) -> None:
        """Close the connection: a thread that waits for a silent host goes on, and ends."""
        stream = self.answer.extensions.get("network_stream") if self.answer else None
        connection = stream.get_extra_info("socket") if stream else None
        if connection:
            with suppress(OSError):  # closed already
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _set_aside(self, path: Path) -> None:
        """Make room for the right file: a small one may be a reader's edit, and is kept."""
        if path.is_symlink() or not is_file(path) or len(self.file.etag) == 64:
            path.unlink(missing_ok=True)  # of a link, the link
            return
        kept = inside(self.item.storage, "companion", "changed", self.file.etag)
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.replace(kept)

    def _content(self, blob: Path) -> None:
        part = self.item.part(self.file)
        part.parent.mkdir(parents=True, exist_ok=True)
        clear(part)
        for _ in range(2):
            began, here = time.monotonic(), _length(part) if is_file(part) else 0
            if here:
                logger.debug("%s goes on at byte %s", self.file.path, f"{here:,}")
            self._transfer(part)
            if checksum_matches(part, self.file.etag):
                part.replace(blob)
                logger.debug(
                    "%s: %s bytes from %s in %.2f s, the checksum is right",
                    self.file.path,
                    f"{self.file.size - here:,}",
                    self.host,
                    time.monotonic() - began,
                )
                self.item.checked.is_right(blob, self.file)
                return
            logger.debug("%s came damaged from %s", self.file.path, self.host)
            self._drop(part)
        notes.drop_listing(self.item.storage, self.item.commit)
        raise damaged(self.endpoint, self.host, self.file.path)

    def _transfer(self, part: Path) -> None:
        """Add to the partial file until it has its size."""
        append_to(part).close()
        if _length(part) > self.file.size:
            self._drop(part)
        pace = Pace(self.timeout)
        most = _length(part)
        failures = silences = since_silence = 0
        while (start := _length(part)) < self.file.size:
            if self.stop.is_set():
                raise Stopped
            fault = self._stream(part, start, pace)
            new = max(0, _length(part) - most)
            most += new
            since_silence += new
            failures = 0 if new else failures + 1
            if isinstance(fault, TooSlow) or "Timeout" in type(fault).__name__:
                silences = silences + 1 if since_silence < SLOWEST * self.timeout else 1
                since_silence = 0
                pace.restart()
            elif pace.too_slow(0):
                raise too_slow(self.endpoint, self.host)
            if fault or failures:
                wait = pause(failures, getattr(fault, "response", None))
                if wait is None or silences >= SILENCES:
                    raise fault or incomplete(self.endpoint, self.host, self.file.path)
                logger.debug("%s; asked again in %.1f s", in_passing(fault, self.host), wait)
                self.stop.wait(wait)
                pace.leave_out(wait)

    def _stream(self, part: Path, start: int, pace: Pace) -> Exception | None:
        """One request; answers what went wrong in passing."""
        try:
            with request(
                self.item, self.file, self.endpoint, self.token, self.timeout, start
            ) as response:
                self.answer = response
                self.host = response.url.netloc.decode()
                if response.status_code == 416:
                    self._drop(part)
                    return None
                if response.status_code >= 300:
                    return self._refusal(response)
                encoded = response.headers.get("Content-Encoding", "identity") != "identity"
                first = _first(response, start, self.file.size)
                if first not in (0, start):
                    return incomplete(self.endpoint, self.host, self.file.path)
                if start and (encoded or not first):  # the host sends it all again
                    if not encoded and _told(response) not in ("", str(self.file.size)):
                        return incomplete(self.endpoint, self.host, self.file.path)
                    self._drop(part)
                    if first:
                        return None
                    start = 0
                chunks = response.iter_bytes() if encoded else response.iter_raw()
                self._write(part, chunks, self.file.size - start, pace)
            return None
        except request_error() as error:
            return error
        except TooSlow as error:
            return error
        finally:
            self.answer = None

    def _write(self, part: Path, chunks: Iterator[bytes], room: int, pace: Pace) -> None:
        """Add what comes to the partial file, and not a byte more than it lacks."""
        with append_to(part) as stream:
            for chunk in chunks:
                chunk = chunk[:room]
                room -= len(chunk)
                self.progress(len(chunk))
                slow = pace.too_slow(len(chunk))
                while chunk:
                    chunk = chunk[stream.write(chunk) :]
                if self.stop.is_set():
                    raise Stopped
                if not room:
                    return
                if slow:
                    raise too_slow(self.endpoint, self.host)

    def _refusal(self, response: Any) -> Exception:
        error = refusal(response)
        # The way to a large file is signed and ages: another question gets a fresh one.
        aged = response.status_code == 403 and self.host != self.endpoint.host
        if response.status_code in PASSING or aged:
            return error
        unknown = response.headers.get("X-Error-Code") == "RevisionNotFound"
        if unknown and as_commit(self.item.source.revision) is None:
            raise moved(self.endpoint, str(self.item.source.hub))
        raise error

    def _drop(self, part: Path) -> None:
        self.progress(-_length(part))
        part.unlink(missing_ok=True)
        append_to(part).close()

    def _link(self, blob: Path) -> None:
        """Put the content under its name, as the hub's library does."""
        *folders, name = self.file.path.split("/")
        final = inside(self.item.storage, "snapshots", self.item.commit, *folders, name)
        final.parent.mkdir(parents=True, exist_ok=True)
        if self.item.checked.is_right(final, self.file):
            return
        self._set_aside(final)
        try:
            final.symlink_to(os.path.relpath(blob, final.parent))
        except FileExistsError:  # another process was faster
            return
        except OSError:  # Windows without the right to make links
            shutil.copyfile(blob, final)


def _length(part: Path) -> int:
    return part.lstat().st_size


def _told(response: Any) -> str:
    """The length that an answer tells, or ""."""
    chunked = "Transfer-Encoding" in response.headers
    return "" if chunked else response.headers.get("Content-Length", "")


def _first(response: Any, start: int, size: int) -> int:
    """The byte of the file with which an answer begins; -1 if that cannot be told."""
    if response.status_code != 206:
        return 0
    if found := re.match(r"bytes (\d{1,16})-", response.headers.get("Content-Range", "")):
        return int(found[1])
    length = _told(response)  # of a host that says too little
    return start if length == str(size - start) or not start else 0 if length == str(size) else -1
