"""A hub on this machine: serves folders with the hub's protocol, large files from a second host.

Standard library only. The book shows downloads with it offline, the tests put faults into it, and
`companion fetch --endpoint FOLDER` fetches through it from a disk that somebody brought along.

    with LocalHub(folder) as hub:
        snapshot_download("google/ddpm-cat-256", endpoint=hub.address)

It answers what readers' programs ask for: information, trees, files with ranges. To teach it more
(uploads, say), derive from LocalHub and add to `routes`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from companion.door import says_yes

from .no_proxy import no_proxy
from .repository import Repository, Stored, find, pointer

CHUNK = 1 << 16
THIS_MACHINE = "127.0.0.1,localhost"
# OWNER/NAME; no name begins with a dot, so that none leads out of the folder.
ID = r"([\w-][\w.-]*/[\w-][\w.-]*)"


@dataclass(frozen=True)
class Request:
    """What a client asks for.

    Attributes:
        host: "hub", or "files" for the host of large files.
        method: GET, HEAD, POST.
        path: of the URL, unquoted.
        query: of the URL, each name with its values.
        headers: by name in small letters.
        body: what was sent along.
    """

    host: str
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Answer:
    """What is sent back: a status, headers, and bytes or a stretch of a file.

    Attributes:
        status: of HTTP.
        headers: besides Content-Length.
        body: the bytes, if it is not a file.
        file: the file, if it is one.
        start: first byte of the file that is sent.
        stop: the byte after the last one.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: Path | None = None
    start: int = 0
    stop: int = 0

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return self.stop - self.start if self.file else len(self.body)

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        if self.file is None:
            yield self.body
            return
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            left = self.length
            while left and (chunk := stream.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk


@dataclass
class Logged:
    """A line of the log: what was asked, and what went back.

    Attributes:
        host: "hub" or "files".
        method: GET, HEAD, POST.
        path: of the URL with its query.
        range: the Range header, or "".
        authorized: whether a token came with it.
        status: of the answer; 0 while there is none.
        sent: bytes of the body that went back.
        location: where the answer sends the client on to, or "".
    """

    host: str
    method: str
    path: str
    range: str
    authorized: bool
    status: int = 0
    sent: int = 0
    location: str = ""

    def __str__(self) -> str:
        """The line without ports, which differ from run to run."""
        asked = f"{self.host:5} {self.method:4} {self.path.partition('?')[0]}"
        asked += f" [{self.range}]" if self.range else ""
        on = f", on to {urlsplit(self.location).hostname}" if self.location else ""
        return f"{asked}: {self.status}{on}" + (f", {self.sent:,} bytes" if self.sent else "")


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(
        status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()
    )


def refusal(status: int, code: str, message: str) -> Answer:
    """An answer that says no, with the headers from which the hub's library tells why."""
    headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
    return as_json({"error": message}, status, **headers)


class LocalHub:
    """A hub that serves a folder of repositories, on two ports of this machine.

    "Behind the firewall", "The mirror".

    Attributes:
        folder: holds OWNER/NAME for models and datasets/OWNER/NAME for datasets, or is a cache of
            the hub's library.
        log: every request, in the order of arrival.
        fault: the first file or folder that could not be read, or None.
    """

    # Method, pattern of the path, name of the function that answers; the first that fits.
    routes: ClassVar[list[tuple[str, str, str]]] = [
        ("GET", rf"/api/(model|dataset)s/{ID}(?:/revision/([^/]+))?", "info"),
        ("GET", rf"/api/(model|dataset)s/{ID}/tree/([^/]+)(?:/(.*))?", "tree"),
        ("POST", rf"/api/(model|dataset)s/{ID}/paths-info/([^/]+)", "paths_info"),
        ("GET", rf"/api/(model|dataset)s/{ID}/refs", "refs"),
        ("GET", rf"/(?:(dataset)s/)?{ID}/resolve/([^/]+)/(.+)", "resolve"),
    ]

    def __init__(self, folder: Path | str, commits: Mapping[str, str] | None = None) -> None:
        """Take a folder, and the commit of each repository whose commit has to be a certain one."""
        self.folder = Path(folder)
        self.commits = dict(commits or {})
        self.log: list[Logged] = []
        self.fault: OSError | None = None
        self._known: dict[tuple[str, str], Repository] = {}
        self._lock = threading.Lock()
        self._running = ExitStack()
        self._servers = {
            host: _Server(("127.0.0.1", 0), _handler(self, host)) for host in ("hub", "files")
        }

    @property
    def address(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._servers['hub'].server_port}"

    @property
    def files_address(self) -> str:
        """Where large files are fetched from."""
        return f"http://localhost:{self._servers['files'].server_port}"

    def start(self) -> LocalHub:
        """Begin to serve, in threads of this process; no proxy is asked for it meanwhile."""
        with ExitStack() as running:
            running.enter_context(no_proxy(THIS_MACHINE))
            for server in self._servers.values():
                running.callback(server.server_close)
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
                running.callback(server.shutdown)
            self._running = running.pop_all()
        return self

    def stop(self) -> None:
        """Serve no more."""
        self._running.close()

    def __enter__(self) -> LocalHub:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def answer(self, request: Request) -> Answer:
        """Answer a request; a derived class may change what comes out."""
        if request.host == "files":
            return self.large_file(request)
        method = "GET" if request.method == "HEAD" else request.method
        for verb, pattern, name in self.routes:
            if verb == method and (match := re.fullmatch(pattern, request.path)):
                function: Callable[..., Answer] = getattr(self, name)
                return function(request, *match.groups())
        return refusal(404, "", f"There is nothing at {request.path}.")

    def repository(
        self, repo_type: str | None, repo_id: str, revision: str | None
    ) -> Repository | Answer:
        """The repository at a revision, or the answer that refuses it."""
        found = self._known.get((repo_type or "model", repo_id))
        if found is None or revision != found.commit:  # a commit stays what it is
            found = find(self.folder, repo_type or "model", repo_id, self.commits)
        if found is None:
            return refusal(404, "RepoNotFound", "Repository not found")
        self._known[found.repo_type, repo_id] = found
        if revision not in (None, "main", found.commit):
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def info(self, request: Request, repo_type: str, repo_id: str, revision: str | None) -> Answer:
        """What `model_info` and `dataset_info` ask for."""
        found = self.repository(repo_type, repo_id, revision)
        if isinstance(found, Answer):
            return found
        blobs = says_yes(request.query.get("blobs", [""])[0])
        siblings = [
            {"rfilename": stored.path, **(_blob(stored) if blobs else {})}
            for stored in found.files().values()
        ]
        return as_json(
            {
                "_id": found.commit[:24],
                "id": repo_id,
                "modelId": repo_id,
                "author": repo_id.split("/")[0],
                "sha": found.commit,
                "lastModified": "2024-01-01T00:00:00.000Z",
                "createdAt": "2024-01-01T00:00:00.000Z",
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": siblings,
            }
        )

    def tree(
        self, request: Request, repo_type: str, repo_id: str, revision: str, below: str | None
    ) -> Answer:
        """What `list_repo_tree` asks for."""
        found = self.repository(repo_type, repo_id, revision)
        if isinstance(found, Answer):
            return found
        below = f"{below.rstrip('/')}/" if below else ""
        entries: dict[str, dict[str, Any]] = {}
        for path, stored in found.files().items():
            if not path.startswith(below):
                continue
            steps = path[len(below) :].split("/")
            deep = says_yes(request.query.get("recursive", [""])[0])
            for depth in range(1, len(steps) if deep else min(2, len(steps))):
                name = below + "/".join(steps[:depth])
                entries[name] = {"type": "directory", "oid": found.commit, "size": 0, "path": name}
            if deep or len(steps) == 1:
                entries[path] = _entry(stored)
        if below and not entries:
            return refusal(404, "EntryNotFound", f"{below} does not exist")
        return as_json(list(entries.values()))

    def paths_info(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Answer:
        """What `get_paths_info` asks for."""
        found = self.repository(repo_type, repo_id, revision)
        if isinstance(found, Answer):
            return found
        if "json" in request.headers.get("content-type", ""):
            paths = json.loads(request.body)["paths"]
        else:
            paths = parse_qs(request.body.decode()).get("paths", [])
        files = found.files()
        entries = [_entry(files[path]) for path in paths if path in files]
        entries += [
            {"type": "directory", "oid": found.commit, "size": 0, "path": path}
            for path in paths
            if any(name.startswith(f"{path}/") for name in files)
        ]
        return as_json(entries)

    def refs(self, request: Request, repo_type: str, repo_id: str) -> Answer:
        """What `list_repo_refs` asks for."""
        found = self.repository(repo_type, repo_id, None)
        if isinstance(found, Answer):
            return found
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.commit}
        return as_json({"branches": [main], "tags": [], "converts": [], "pullRequests": []})

    def resolve(
        self, request: Request, repo_type: str | None, repo_id: str, revision: str, path: str
    ) -> Answer:
        """A file: a small one itself, a large one as the way to the host that has it."""
        found = self.repository(repo_type, repo_id, revision)
        if isinstance(found, Answer):
            return found
        headers = {"X-Repo-Commit": found.commit, "Accept-Ranges": "bytes"}
        stored = found.file(path)
        if stored is None:
            answer = refusal(404, "EntryNotFound", "Entry not found")
            return Answer(answer.status, answer.headers | headers, answer.body)
        if stored.sha256 is None:
            return _stretch(stored, request, headers)
        way = f"{self.files_address}/{stored.sha256}/{quote(stored.file.name)}"
        headers |= {
            "Location": f"{way}?{urlencode({'of': f'{found.repo_type}s/{repo_id}', 'at': path})}",
            "ETag": f'"{stored.oid}"',
            "X-Linked-Etag": f'"{stored.sha256}"',
            "X-Linked-Size": str(stored.size),
        }
        return Answer(302, headers)

    def large_file(self, request: Request) -> Answer:
        """The content of a large file, by its SHA-256."""
        repo_type, _, repo_id = request.query.get("of", [""])[0].partition("/")
        found = self._known.get((repo_type.rstrip("s"), repo_id))
        stored = found.file(request.query.get("at", [""])[0]) if found else None
        asked = request.path.split("/")[1]
        if stored and stored.sha256 == asked and request.method in ("GET", "HEAD"):
            return _stretch(stored, request, {"Accept-Ranges": "bytes"})
        return Answer(403, {}, b"There is no such file here.")

    def send(self, handler: BaseHTTPRequestHandler, answer: Answer, logged: Logged) -> None:
        """Send the body; a derived class may spoil it."""
        for chunk in answer.chunks():
            handler.wfile.write(chunk)
            logged.sent += len(chunk)

    def record(self, request: Request, whole_path: str) -> Logged:
        """Put a request into the log."""
        authorized = "authorization" in request.headers
        line = Logged(
            request.host, request.method, whole_path, request.headers.get("range", ""), authorized
        )
        with self._lock:
            self.log.append(line)
        return line


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not worth a traceback."""


def _handler(hub: LocalHub, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body in one piece, and no waiting for the client's acknowledgement.
        wbufsize = CHUNK
        disable_nagle_algorithm = True

        def do(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                host,
                self.command,
                unquote(parts.path),
                parse_qs(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            logged = hub.record(request, self.path)
            try:
                answer = hub.answer(request)
            except ConnectionError:
                raise
            except OSError as error:
                hub.fault = hub.fault or error
                answer = refusal(403, "", "This cannot be read.")
            logged.status, logged.location = answer.status, answer.headers.get("Location", "")
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(answer.length), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                hub.send(self, answer, logged)
            self.wfile.flush()

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            """The log is `hub.log`; nothing is printed."""

    return Handler


def _stretch(stored: Stored, request: Request, headers: dict[str, str]) -> Answer:
    """The whole file, or the bytes that a Range header names (RFC 9110, section 14)."""
    headers = headers | {"ETag": f'"{stored.etag}"', "Content-Type": "application/octet-stream"}
    start, stop, status = 0, stored.size, 200
    if match := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
        start = int(match[1])
        stop = min(int(match[2]) + 1, stored.size) if match[2] else stored.size
        if start >= stored.size:
            return Answer(416, headers | {"Content-Range": f"bytes */{stored.size}"})
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    return Answer(status, headers, file=stored.file, start=start, stop=stop)


def _blob(stored: Stored) -> dict[str, Any]:
    about: dict[str, Any] = {"size": stored.size, "blobId": stored.oid}
    return about | ({"lfs": _large(stored, "sha256")} if stored.sha256 else {})


def _entry(stored: Stored) -> dict[str, Any]:
    about = {"type": "file", "oid": stored.oid, "size": stored.size, "path": stored.path}
    return about | ({"lfs": _large(stored, "oid")} if stored.sha256 else {})


def _large(stored: Stored, name: str) -> dict[str, Any]:
    size = len(pointer(str(stored.sha256), stored.size))
    return {name: stored.sha256, "size": stored.size, "pointerSize": size}
