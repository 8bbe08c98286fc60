"""Which route to the hub works, and which part of a route does not: the host that answers for the
API, a small file, and the host that a large file is redirected to.

Standard library only, and a hard limit on every probe: the doctor calls this when half of the
stack is broken and the network is too."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from .endpoints import OFFLINE, Endpoint, endpoint, endpoints
from .environment import is_on, on_colab, proxy
from .errors import remedy

TIMEOUT = 8.0
REDIRECTS = 5


@dataclass(frozen=True)
class Sample:
    """What a probe asks for.

    Attributes:
        repository: id of a model.
        revision: its commit.
        small_file: a file that the host itself sends.
        large_file: a file that is sent on to the host of large files.
    """

    repository: str
    revision: str
    small_file: str
    large_file: str


SAMPLE = Sample(**tomllib.loads(Path(__file__).with_name("probe.toml").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Part:
    """What one part of a route answered.

    Attributes:
        name: "API", "small file" or "large file".
        url: what was asked for.
        host: the host that answered, or failed to: after redirects not that of the URL.
        ok: whether the answer is what a download needs.
        latency_ms: from the question to the first byte of the answer; None without an answer.
        sentence: what fails and the remedy, or what works.
    """

    name: str
    url: str
    host: str
    ok: bool
    latency_ms: float | None
    sentence: str


@dataclass(frozen=True)
class Route:
    """An endpoint and what each of its parts answered.

    Attributes:
        endpoint: what was probed.
        parts: the API, a small file, a large file.
    """

    endpoint: Endpoint
    parts: tuple[Part, ...]

    @property
    def ok(self) -> bool:
        """Whether every part works."""
        return all(part.ok for part in self.parts)

    @property
    def latency_ms(self) -> float | None:
        """Latency of the API's host in milliseconds; None when it did not answer."""
        return self.parts[0].latency_ms

    @property
    def sentence(self) -> str:
        """The first fault and its remedy, or that all works."""
        faults = [part.sentence for part in self.parts if not part.ok]
        return faults[0] if faults else f"{self.endpoint.host} works, large files too."


def probe(
    where: Endpoint | str | None = None, *, timeout: float = TIMEOUT, sample: Sample = SAMPLE
) -> Route:
    """Ask an endpoint for its API, a small file and the first byte of a large file, at once.

    Never raises for what the network does, and returns within `timeout` whatever it does: name
    lookups, which have no limit of their own, run in threads that are left behind.

    Args:
        where: the endpoint, its name or its address; HF_ENDPOINT or the official by default.
        timeout: limit in seconds.
        sample: the files to ask for.
    """
    return probe_all([where], timeout=timeout, sample=sample)[0]


def probe_all(
    wheres: Sequence[Endpoint | str | None], *, timeout: float = TIMEOUT, sample: Sample = SAMPLE
) -> list[Route]:
    """Probe several endpoints at the same time, within the one `timeout` in seconds."""
    started = time.monotonic()
    tasks = []
    for where in wheres:
        place = where if isinstance(where, Endpoint) else endpoint(where)
        tasks.append((place, [_Question(place, *row, timeout) for row in _urls(place, sample)]))
    return [
        Route(place, tuple(q.answer(started + timeout) for q in questions))
        for place, questions in tasks
    ]


def choose(
    where: str = "auto", *, timeout: float = TIMEOUT, sample: Sample = SAMPLE
) -> tuple[Endpoint, str]:
    """The endpoint to use, and one sentence saying why.

    `auto` tries what HF_ENDPOINT names, then the official endpoint, then the mirrors, and takes the
    first whose every part works. It takes no mirror on Colab or behind a proxy: a mirror that is
    reached from outside China answers with a redirect to the official host.

    Raises:
        ValueError: neither `auto`, a name nor an address.
        ConnectionError: `auto` found no route that works; the sentence names each host and fault.
    """
    if where == "auto" and is_on("HF_HUB_OFFLINE"):
        return OFFLINE, "HF_HUB_OFFLINE is set: only what is on this machine is used."
    if where != "auto":
        chosen = endpoint(where)
        return chosen, f"{chosen.address} was asked for."
    candidates = [place for place in _candidates() if place.official or not _only_official()]
    routes = probe_all(candidates, timeout=timeout, sample=sample)
    for route in routes:
        if route.ok:
            why = _only_official() or "It is the first that works, large files too."
            return route.endpoint, f"{route.endpoint.address} is taken. {why}"
    faults = " ".join(route.sentence for route in routes)
    raise ConnectionError(f"No route to the hub works. {faults}")


def _candidates() -> list[Endpoint]:
    named = [endpoint()] if os.environ.get("HF_ENDPOINT") else []
    return list(dict.fromkeys([*named, *endpoints().values()]))


def _only_official() -> str | None:
    """Why no mirror may be used here, if that is so."""
    if on_colab():
        return "On Colab no mirror is used: it would send you back to the official host."
    if proxy():
        return f"No mirror is used together with the proxy {proxy()}: choose one of the two."
    return None


def _urls(place: Endpoint, sample: Sample) -> list[tuple[str, str]]:
    api = f"{place.address}/api/models/{sample.repository}/revision/{sample.revision}"
    files = f"{place.address}/{sample.repository}/resolve/{sample.revision}/"
    return [
        ("API", api),
        ("small file", files + quote(sample.small_file)),
        ("large file", files + quote(sample.large_file)),
    ]


class _Question:
    """One part of a probe, asked in a thread of its own."""

    def __init__(self, place: Endpoint, name: str, url: str, timeout: float) -> None:
        self.place, self.name, self.url, self.timeout = place, name, url, timeout
        self.host = place.host
        self.elsewhere: str | None = None  # where a mirror sends its readers on to
        self.result: Part | None = None
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def answer(self, deadline: float) -> Part:
        self.thread.join(max(0.0, deadline - time.monotonic()))
        return self.result or self._part(False, None, f"did not answer in {self.timeout:g} s")

    def _ask(self) -> None:
        try:
            self.result = self._follow()
        except Exception as error:
            self.result = self._part(False, None, _fault(error, self.timeout))

    def _follow(self) -> Part:
        """Go where the redirects lead, with the first byte of the file as the aim."""
        url, latency = self.url, None
        for _ in range(REDIRECTS):
            self.host = urlsplit(url).netloc
            status, location, milliseconds = _first_byte(url, self.timeout)
            latency = milliseconds if latency is None or self.name == "large file" else latency
            if status not in (301, 302, 303, 307, 308) or not location:
                break
            target = urljoin(url, location)
            next_host = urlsplit(target).netloc
            away = next_host != self.host and not self.place.official
            if away and self.name != "large file":
                self.elsewhere = next_host
                return self._part(
                    False, latency, f"answers {status}: it sends you on to {next_host}"
                )
            url = target
        if status in (200, 206):
            return self._part(True, latency, "works")
        return self._part(False, latency, _status(status))

    def _part(self, ok: bool, latency: float | None, what: str) -> Part:
        where = f"{self.host} ({self.name} of {self.place.host})"
        sentence = f"{where} {what}" + ("." if ok else f"; {self._remedy(what)}.")
        return Part(self.name, self.url, self.host, ok, latency, sentence)

    def _remedy(self, what: str) -> str:
        if "404" in what:
            return "choose an endpoint that has it"
        if "429" in what:
            return "wait some minutes"
        return remedy(self.place, self.host, self.elsewhere)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object, **named: object) -> None:
        return None


def _first_byte(url: str, timeout: float) -> tuple[int, str | None, float]:
    """Status, Location and milliseconds of one request, through the proxy if one is set."""
    # A stock library's name: some hosts turn away what they do not know. No token, ever.
    request = urllib.request.Request(
        url, headers={"Range": "bytes=0-0", "User-Agent": "companion-probe; hf_hub"}
    )
    started = time.monotonic()
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as answer:
            answer.read(1)
            status, headers = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        status, headers = error.code, error.headers
        error.close()
    return status, headers.get("Location"), 1000 * (time.monotonic() - started)


def _status(status: int) -> str:
    if status == 404:
        return "answers 404: it has no copy of the file"
    if status in (401, 403):
        return f"answers {status}: it does not let you in"
    if status == 429:
        return "answers 429: too many requests"
    return f"answers {status}"


def _fault(error: BaseException, timeout: float) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return "has no address here: the name is unknown or blocked"
    if isinstance(reason, TimeoutError):
        return f"did not answer in {timeout:g} s"
    if isinstance(reason, ConnectionRefusedError):
        return "refuses the connection"
    if isinstance(reason, ssl.SSLError):
        return "shows a certificate that is not its own: something stands between you and it"
    if isinstance(reason, (ConnectionError, http.client.HTTPException)):
        return "cut the connection"
    return f"cannot be reached ({reason})"
