"""A small hub with repositories like the book's, into which a test puts faults; and fixtures that
fetch from it."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from companion.hub import Endpoint, endpoints, environment, fetch, retry
from companion.local_hub.server import Answer, LocalHub, Logged, Request

MODEL = "google/ddpm-cat-256"
COMMIT = "82ca0d5db4a5ec6ff0e9be8d86852490bc18a3d9"
DATASET = "huggan/flowers-102-categories"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SIZE = 1_000_000
TOKEN = "hf_" + "SECRET" * 5


@dataclass
class Fault:
    """What happens to the next answers of a host."""

    host: str
    times: int
    change: Callable[[Request, Answer], Answer] = lambda request, answer: answer
    send: Callable[[BaseHTTPRequestHandler, Answer, Logged], None] | None = None
    methods: tuple[str, ...] = ("GET",)


class FaultyHub(LocalHub):
    """A hub on which every header is remembered and faults can be put."""

    def __init__(self, folder: Path, commits: dict[str, str]) -> None:
        super().__init__(folder, commits)
        self.heard: list[Request] = []
        self.faults: list[Fault] = []
        self.over = threading.Event()
        self.sending: dict[int, Fault] = {}

    def answer(self, request: Request) -> Answer:
        self.heard.append(request)
        answer = super().answer(request)
        for fault in self.faults:
            # The library's own question about who runs it is no part of a download.
            counts = request.method in fault.methods and request.path != "/api/agent-harnesses"
            if fault.host == request.host and fault.times and counts:
                fault.times -= 1
                answer = fault.change(request, answer)
                self.sending[id(answer)] = fault
                break
        return answer

    def send(self, handler: BaseHTTPRequestHandler, answer: Answer, logged: Logged) -> None:
        fault = self.sending.pop(id(answer), None)
        if fault and fault.send:
            fault.send(handler, answer, logged)
        else:
            super().send(handler, answer, logged)

    def cut(self, after: int, times: int = 1) -> None:
        """Close the connection when so many bytes of a large file are sent."""

        def send(handler: BaseHTTPRequestHandler, answer: Answer, logged: Logged) -> None:
            _send_some(handler, answer, logged, after)
            handler.close_connection = True

        self.faults.append(Fault("files", times, send=send))

    def stall(self, after: int, times: int = 1) -> None:
        """Say nothing more when so many bytes of a large file are sent."""

        def send(handler: BaseHTTPRequestHandler, answer: Answer, logged: Logged) -> None:
            _send_some(handler, answer, logged, after)
            self.over.wait(60)
            handler.close_connection = True

        self.faults.append(Fault("files", times, send=send))

    def silence(self, times: int = 1) -> None:
        """Take questions to the API, and say nothing."""

        def change(request: Request, answer: Answer) -> Answer:
            self.over.wait(60)
            return answer

        self.faults.append(Fault("hub", times, change))

    def refuse(self, status: int, host: str = "files", times: int = 1, **headers: str) -> None:
        """Answer with a status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        def change(request: Request, answer: Answer) -> Answer:
            return Answer(status, dict(named), b"no")

        self.faults.append(Fault(host, times, change))

    def send_on(self, address: str) -> None:
        """Answer 308 to every question, with another hub's address."""

        def change(request: Request, answer: Answer) -> Answer:
            query = urlencode(request.query, doseq=True)
            return Answer(308, {"Location": f"{address}{request.path}?{query}"})

        self.faults.append(Fault("hub", 1000, change, methods=("GET", "HEAD")))

    def shorten(self, by: int, times: int = 1) -> None:
        """Send less than the file, and say so, as if that were all."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.stop -= by
            answer.headers.pop("Content-Range", None)
            return answer

        self.faults.append(Fault("files", times, change))

    def flip(self, times: int = 1) -> None:
        """Turn one byte of a large file."""

        def change(request: Request, answer: Answer) -> Answer:
            body = bytearray(b"".join(answer.chunks()))
            body[len(body) // 2] ^= 1
            return Answer(answer.status, answer.headers, bytes(body))

        self.faults.append(Fault("files", times, change))

    def log_in_first(self, times: int) -> None:
        """Answer with a page, as a hotel's network does."""

        def change(request: Request, answer: Answer) -> Answer:
            return Answer(200, {"Content-Type": "text/html"}, b"<html>Please log in.</html>")

        self.faults.append(Fault("files", times, change))

    def tell(self, change: Callable[[dict[str, Any]], object], times: int = 1000) -> None:
        """Change the listing that is told, or tell what `change` gives in its place."""

        def changed(request: Request, answer: Answer) -> Answer:
            if not request.path.startswith("/api/"):
                return answer
            told = json.loads(answer.body)
            other = change(told)
            return Answer(answer.status, {}, json.dumps(told if other is None else other).encode())

        self.faults.append(Fault("hub", times, changed))

    def add_headers(self, headers: dict[str, str], host: str = "hub", times: int = 1000) -> None:
        """Answer with other headers."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.headers |= headers
            return answer

        self.faults.append(Fault(host, times, change, methods=("GET", "HEAD")))

    def change(
        self, host: str, change: Callable[[Request, Answer], Answer], times: int = 1000
    ) -> None:
        """Answer with something else."""
        self.faults.append(Fault(host, times, change))

    def mangle(self, status: int, ranges: bool, without: str) -> None:
        """Answer for large files with a status, without a header, with ranges or always whole."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.headers.pop(without, None)
            start = answer.start if ranges else 0
            return Answer(status, answer.headers, file=answer.file, start=start, stop=answer.stop)

        self.change("files", change)

    def pour(
        self, first: bytes, more: bytes, host: str = "files", every: float = 0.0, times: int = 1
    ) -> None:
        """Send a body that does not say its length: a beginning, then the same again and again."""

        def change(request: Request, answer: Answer) -> Answer:
            return Answer(200, {"Transfer-Encoding": "chunked"})

        def send(handler: BaseHTTPRequestHandler, answer: Answer, logged: Logged) -> None:
            piece = first or more
            while piece and not self.over.wait(every):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                handler.wfile.flush()
                logged.sent += len(piece)
                piece = more
            handler.wfile.write(b"0\r\n\r\n")

        self.faults.append(Fault(host, times, change, send))

    def hang_up(self, host: str, times: int = 1) -> None:
        """Close the connection without an answer."""

        def change(request: Request, answer: Answer) -> Answer:
            raise ConnectionAbortedError

        self.faults.append(Fault(host, times, change))

    def stop_files(self) -> None:
        """From now on the host of large files is dead."""
        self._servers["files"].shutdown()
        self._servers["files"].server_close()

    def requests(self, host: str, method: str = "GET", ending: str = "") -> list[Logged]:
        """What a host was asked for."""
        return [
            line
            for line in self.log
            if (line.host, line.method) == (host, method) and ending in line.path
        ]

    def sent(self) -> int:
        """Bytes of large files that went out."""
        return sum(line.sent for line in self.requests("files"))


def _send_some(
    handler: BaseHTTPRequestHandler, answer: Answer, logged: Logged, number: int
) -> None:
    body = b"".join(answer.chunks())[:number]
    handler.wfile.write(body)
    handler.wfile.flush()
    logged.sent += len(body)


EndpointsAre = Callable[..., None]


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the hub serves: a model and a dataset."""
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as Picture

    root = tmp_path_factory.mktemp("repositories")
    model = root / MODEL
    (model / "scheduler").mkdir(parents=True)
    for name in ("model_index.json", "config.json", "scheduler_config.json", "README.md"):
        (model / name).write_text(f'{{"name": "{name}"}}', encoding="utf-8")
    (model / WEIGHTS).write_bytes(random.Random(1).randbytes(SIZE))
    (model / "diffusion_pytorch_model.bin").write_bytes(random.Random(2).randbytes(SIZE))

    folder = root / "datasets" / DATASET / "data"
    folder.mkdir(parents=True)
    pictures = [Picture.new("RGB", (8, 8), (40 * n, 0, 0)) for n in range(6)]
    features = Features({"image": Image(), "label": Value("int64")})
    data = Dataset.from_dict({"image": pictures, "label": list(range(6))}, features=features)
    data.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    (folder.parent / "README.md").write_text("---\nlicense: mit\n---\n# Flowers\n", "utf-8")
    return root


@pytest.fixture
def hub(repositories: Path) -> Iterator[FaultyHub]:
    with FaultyHub(repositories, {MODEL: COMMIT}) as running:
        yield running
        running.over.set()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this process, a token, no limit on the network, and short waits."""
    from huggingface_hub import close_session, constants

    close_session()
    home = tmp_path / "home"
    for name in ("COLAB_RELEASE_TAG", "HF_ENDPOINT", "HF_HUB_OFFLINE", "COMPANION_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in environment.PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(retry, "PAUSE", 0.01)
    return home / "hub"


@pytest.fixture
def weights(repositories: Path) -> bytes:
    """The content of the model's large file."""
    return (repositories / MODEL / WEIGHTS).read_bytes()


@pytest.fixture
def endpoints_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointsAre]:
    """Puts other addresses into endpoints.toml: the official one's, and those of mirrors."""

    def write(official: str, **mirrors: str) -> None:
        file = tmp_path / "endpoints.toml"
        table = f'[official]\naddress = "{official}"\nofficial = true\n'
        for name, address in mirrors.items():
            table += f'[{name}]\naddress = "{address}"\nofficial = false\n'
        file.write_text(table, encoding="utf-8")
        monkeypatch.setattr(sys.modules[Endpoint.__module__], "TABLE", file)
        endpoints.cache_clear()

    yield write
    endpoints.cache_clear()


class Shell:
    """Runs a program in an empty folder, on whose path is this environment, against the hub.

    Attributes:
        folder: where it runs.
        environment: its variables.
    """

    def __init__(self, hub: FaultyHub, tmp_path: Path) -> None:
        self.folder = tmp_path / "work"
        self.folder.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "home"),
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_TOKEN": TOKEN,
        }

    def __call__(self, *command: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        if shutil.which(command[0], path=self.environment["PATH"]) is None:
            pytest.skip(f"{command[0]} is not installed")
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def shell(hub: FaultyHub, tmp_path: Path) -> Shell:
    """Runs a program against the hub."""
    return Shell(hub, tmp_path)


@pytest.fixture
def get(hub: FaultyHub, cache: Path) -> Callable[[], bytes]:
    """Fetches chapter 2's model and answers with its weights."""

    def fetched() -> bytes:
        (folder,) = fetch("denoiser", "full", where=hub.address, progress=False).values()
        return (folder / WEIGHTS).read_bytes()

    return fetched
