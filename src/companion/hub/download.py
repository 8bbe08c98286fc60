"""Fetching the files of a plan: resumed where an earlier run stopped, checked, then named.

huggingface_hub 2 drops what a broken download has fetched so far (huggingface_hub#4228: its partial
file has a name of its own in every process) and compares sizes only. Here the partial file keeps
its name, and a file gets its final name when its checksum is the hub's. Large files come over plain
HTTP from every endpoint: Xet's own servers are no mirror's, and do not go on where they stopped."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from .endpoints import Endpoint
from .errors import DISK_FULL, HubError, damaged, explain, incomplete
from .patience import PASSING, pause
from .plan import Item, Plan, Remote
from .tokens import Token

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
    for one in files:
        waiting.put(one)
    for _ in range(workers):
        # Left behind when the reader presses Ctrl-C: none may wait for a silent host to answer.
        Thread(target=_work, args=(waiting, done, stop), daemon=True).start()
    try:
        for _ in files:
            if fault := done.get():
                raise fault
    finally:
        stop.set()


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
    item: Item, file: Remote, place: Endpoint, token: Token, timeout: float, start: int = 0
) -> AbstractContextManager[Any]:
    """Ask for a file from a byte on; redirects are followed, the token stays with the endpoint."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(
        str(item.source.hub),
        file.path,
        repo_type=item.source.repo_type,
        revision=item.commit,
        endpoint=place.address,
    )
    headers = build_hf_headers(token=token, library_name="companion")
    headers["Accept-Encoding"] = "identity"
    if start:
        headers["Range"] = f"bytes={start}-"
    return get_session().stream("GET", url, headers=headers, timeout=timeout)


def right(path: Path, file: Remote) -> bool:
    """Whether a file on the disk has the checksum that the hub tells."""
    large = len(file.etag) == 64
    with path.open("rb") as stream:
        if large:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.etag
        content = stream.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.etag


class _File:
    """One file on its way."""

    def __init__(
        self,
        item: Item,
        file: Remote,
        place: Endpoint,
        token: Token,
        timeout: float,
        progress: Progress,
        stop: Event,
    ) -> None:
        self.item, self.file, self.place, self.token = item, file, place, token
        self.timeout, self.progress, self.stop = timeout, progress, stop
        self.host = place.host  # the one that sent the last bytes

    def fetch(self) -> None:
        """Fetch the content, then give it its names in the cache."""
        from huggingface_hub.utils import WeakFileLock

        lock = self.item.cache / ".locks" / self.item.storage.name / f"{self.file.etag}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        blob = self.item.blob(self.file)
        try:
            with WeakFileLock(lock):
                self._remove_broken(blob)
                if not blob.is_file():
                    self._content(blob)
            self._link()
        except Stopped:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                error.filename = str(self.item.cache)
            raise explain(error, self.place, str(self.item.source.hub)) from error

    def _remove_broken(self, blob: Path) -> None:
        """Remove what bears the file's name but has not its size: somebody else left it there."""
        for path in (self.item.snapshot / self.file.path, blob):
            if path.is_file() and path.stat().st_size != self.file.size:
                path.unlink()

    def _content(self, blob: Path) -> None:
        part = self.item.part(self.file)
        part.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            self._transfer(part)
            if right(part, self.file):
                part.replace(blob)
                return
            self._drop(part)
        raise damaged(self.place, self.host, self.file.path)

    def _transfer(self, part: Path) -> None:
        """Add to the partial file until it has its size."""
        part.touch()
        if part.stat().st_size > self.file.size:
            self._drop(part)
            part.touch()
        failures = 0
        while (start := part.stat().st_size) < self.file.size:
            if self.stop.is_set():
                raise Stopped
            fault = self._stream(part, start)
            failures = 0 if part.stat().st_size > start else failures + 1
            if fault or failures:
                wait = pause(failures, getattr(fault, "response", None))
                if wait is None:
                    raise fault or incomplete(self.place, self.host, self.file.path)
                self.stop.wait(wait)

    def _stream(self, part: Path, start: int) -> Exception | None:
        """One request; answers what went wrong in passing."""
        try:
            with request(
                self.item, self.file, self.place, self.token, self.timeout, start
            ) as response:
                self.host = response.url.netloc.decode()
                if response.status_code == 416:
                    self._drop(part)
                    part.touch()
                    return None
                if response.status_code >= 400:
                    return self._refusal(response)
                if start and response.status_code != 206:  # the host sends it all again
                    self._drop(part)
                with part.open("ab", buffering=0) as stream:
                    for chunk in response.iter_raw():
                        stream.write(chunk)
                        self.progress(len(chunk))
                        if self.stop.is_set():
                            raise Stopped
            return None
        except _transport_error() as error:
            return error

    def _refusal(self, response: Any) -> Exception:
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import hf_raise_for_status

        response.read()
        try:
            hf_raise_for_status(response)
        except HfHubHTTPError as error:
            # The way to a large file is signed and ages: another question gets a fresh one.
            aged = response.status_code == 403 and self.host != self.place.host
            if response.status_code not in PASSING and not aged:
                raise
            return error
        return HubError(f"{self.host} answers {response.status_code}.")

    def _drop(self, part: Path) -> None:
        self.progress(-part.stat().st_size)
        part.unlink()

    def _link(self) -> None:
        """Let the library put the content under its name: it finds the blob and fetches nothing."""
        from huggingface_hub import hf_hub_download

        path = Path(
            hf_hub_download(
                str(self.item.source.hub),
                self.file.path,
                repo_type=self.item.source.repo_type,
                revision=self.item.source.revision or "main",
                cache_dir=self.item.cache,
                endpoint=self.place.address,
                etag_timeout=self.timeout,
                token=self.token,
            )
        )
        if path.is_symlink() and path.resolve().name != self.file.etag:
            raise HubError(
                f"{self.place.host} has moved {self.item.source.hub} to a newer version meanwhile: "
                "run the same command again."
            )


def _transport_error() -> type[Exception]:
    """What a cut, a stall or a dead host raises, in the HTTP library that huggingface_hub uses."""
    from huggingface_hub import get_session

    library = sys.modules[type(get_session()).__module__.partition(".")[0]]
    error: type[Exception] = library.TransportError
    return error
