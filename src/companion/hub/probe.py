"""Which route to the hub works, and which part of a route does not: the host that answers for the
API, a small file, and the host that a large file is redirected to.

Standard library only, and a hard limit on every probe: the doctor calls this when half of the
stack is broken and the network is too."""

from __future__ import annotations

import http.client
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from companion.door.advice import Advice
from companion.door.tables import read_table

from .endpoints import OFFLINE, Endpoint, bare_address, endpoints, find_endpoint, host_of, leads_on
from .environment import certificate_fault, is_on, on_colab
from .errors import remedy, through_proxy
from .proxies import SOCKS, proxy, proxy_fault, proxy_of
from .reasons import proxy_reason, reason, status_reason
from .socks import SocksHandler

logger = logging.getLogger(__name__)

TIMEOUT = 8.0
REDIRECTS = 5
API, SMALL, LARGE = "API", "small file", "large file"
PAGE = "answers with something else than the hub does"
NOWHERE = "sends you on to what is no address"


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


SAMPLE = Sample(**read_table(Path(__file__).with_name("probe.toml")))


@dataclass(frozen=True)
class Part:
    """What one part of a route answered.

    Attributes:
        name: "API", "small file" or "large file".
        url: what was asked for, without a password.
        host: the host that answered, or failed to: after redirects not that of the URL.
        ok: whether the answer is what a download needs.
        latency_ms: from the question to the first byte of the answer; None without an answer.
        advice: what fails and the remedy, or what works.
    """

    name: str
    url: str
    host: str
    ok: bool
    latency_ms: float | None
    advice: Advice


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
    def advice(self) -> Advice:
        """The first fault and its remedy, or that all works."""
        faults = [part.advice for part in self.parts if not part.ok]
        return faults[0] if faults else Advice(f"{self.endpoint.host} works, large files too")

    @property
    def sentence(self) -> str:
        """The advice as one sentence."""
        return str(self.advice)


def probe(
    where: Endpoint | str | None = None, *, timeout: float = TIMEOUT, sample: Sample = SAMPLE
) -> Route:
    """Ask an endpoint for its API, a small file and the first byte of a large file, at once.

    "Behind the firewall", "Which part is dead?".

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
        endpoint = where if isinstance(where, Endpoint) else find_endpoint(where)
        questions = [_Question(endpoint, *row, timeout) for row in _urls(endpoint, sample)]
        tasks.append((endpoint, questions))
    return [
        Route(endpoint, tuple(q.answer(started + timeout) for q in questions))
        for endpoint, questions in tasks
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
        chosen = find_endpoint(where)
        return chosen, f"{chosen.bare} was asked for."
    if fault := proxy_fault() or certificate_fault():
        raise ConnectionError(f"No route to the hub works. {fault}")
    candidates = [(endpoint, _against(endpoint)) for endpoint in _candidates()]
    routes = probe_all(
        [endpoint for endpoint, no in candidates if not no], timeout=timeout, sample=sample
    )
    reasons = " ".join(dict.fromkeys(no for _, no in candidates if no))
    for route in routes:
        if route.ok:
            why = reasons or "It is the first that works, large files too."
            return route.endpoint, f"{route.endpoint.bare} is taken. {why}"
    faults = " ".join([*(route.sentence for route in routes), *([reasons] if reasons else [])])
    raise ConnectionError(f"No route to the hub works. {faults}")


def _candidates() -> list[Endpoint]:
    named = [find_endpoint()] if os.environ.get("HF_ENDPOINT") else []
    return list(dict.fromkeys([*named, *endpoints().values()]))


def _against(endpoint: Endpoint) -> str | None:
    """Why an endpoint may not be used here, if that is so."""
    if endpoint.official:
        return None
    if on_colab():
        return "On Colab no mirror is used: it would send you back to the official host."
    if via := proxy(endpoint.address):
        return f"No mirror is used together with the proxy {via}: choose one of the two."
    return None


def _urls(endpoint: Endpoint, sample: Sample) -> list[tuple[str, str]]:
    api = f"{endpoint.address}/api/models/{sample.repository}/revision/{sample.revision}"
    files = f"{endpoint.address}/{sample.repository}/resolve/{sample.revision}/"
    return [
        (API, api),
        (SMALL, files + quote(sample.small_file)),
        (LARGE, files + quote(sample.large_file)),
    ]


class _Question:
    """One part of a probe, asked in a thread of its own."""

    def __init__(self, endpoint: Endpoint, name: str, url: str, timeout: float) -> None:
        self.endpoint, self.name, self.url, self.timeout = endpoint, name, url, timeout
        self.asked, self.host = url, endpoint.host  # of the request that is under way
        self.elsewhere: str | None = None  # where a mirror sends its readers on to
        self.result: Part | None = None
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def answer(self, deadline: float) -> Part:
        self.thread.join(max(0.0, deadline - time.monotonic()))
        return self.result or self._silent()

    def _ask(self) -> None:
        try:
            result = self._follow()
        except Exception as error:
            result = self._failed(error)
        self.result = result
        took = "" if result.latency_ms is None else f" ({result.latency_ms:.0f} ms)"
        logger.debug("%s%s", result.advice.text, took)

    def _follow(self) -> Part:
        """Go where the redirects lead, with the first byte of the file as the aim."""
        url, latency = self.url, None
        for _ in range(REDIRECTS):
            self.asked, self.host = url, host_of(url)
            answer = _first_byte(url, self.timeout)
            latency = answer.latency_ms if latency is None or self.name == LARGE else latency
            if answer.status not in (301, 302, 303, 307, 308) or answer.location is None:
                break
            if not leads_on(answer.location):
                return self._part(False, latency, NOWHERE)
            target = urljoin(url, answer.location)
            next_host = host_of(target)
            away = next_host != self.host and not self.endpoint.official
            if away and self.name != LARGE:
                self.elsewhere = next_host
                what = f"answers {answer.status}: it sends you on to {next_host}"
                return self._part(False, latency, what)
            url = target
        else:
            return self._part(False, latency, "sends you round in circles")
        if answer.status not in (200, 206):
            return self._part(False, latency, status_reason(answer.status))
        if answer.page or (self.name == API and answer.first != b"{"):
            return self._part(False, latency, PAGE)
        return self._part(True, latency, "works")

    def _failed(self, error: Exception) -> Part:
        via = proxy(self.asked)
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if via and (fault := proxy_reason(cause, via)):
            advice = through_proxy(self._where, via, fault, self.asked)
            return Part(self.name, bare_address(self.url), self.host, False, None, advice)
        if isinstance(cause, TimeoutError):
            return self._silent()
        if isinstance(cause, http.client.InvalidURL):  # ours never are
            return self._part(False, None, NOWHERE)
        return self._part(False, None, reason(cause))

    def _silent(self) -> Part:
        return self._part(False, None, f"did not answer in {self.timeout:g} s")

    def _part(self, ok: bool, latency: float | None, what: str) -> Part:
        advice = Advice(f"{self._where} {what}", "" if ok else self._remedy(what))
        return Part(self.name, bare_address(self.url), self.host, ok, latency, advice)

    @property
    def _where(self) -> str:
        return f"{self.host} ({self.name} of {self.endpoint.host})"

    def _remedy(self, what: str) -> str:
        if what.startswith("answers 404"):
            return "choose an endpoint that has it"
        if what.startswith("answers 429"):
            return "wait some minutes"
        if what == PAGE or what.startswith("answers 511"):
            return "does the network want you to log in first? If not, take another endpoint"
        return remedy(self.endpoint, self.host, self.elsewhere)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are answers like others; urllib would fall over one that is no address."""

    def http_error_302(self, *arguments: Any, **named: Any) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


@dataclass(frozen=True)
class _Answer:
    """What one request brought.

    Attributes:
        status: of HTTP.
        location: where it sends the client on to, or None.
        page: whether it is a page for people.
        first: the first byte, b"" where there is none.
        latency_ms: until it came.
    """

    status: int
    location: str | None
    page: bool
    first: bytes
    latency_ms: float


def _first_byte(url: str, timeout: float) -> _Answer:
    """Ask for the first byte of an address, through the proxy if one is set."""
    # A stock library's name: some hosts turn away what they do not know. No token, ever.
    headers = {"Range": "bytes=0-0", "User-Agent": "companion-probe; hf_hub"}
    parts = urlsplit(url)
    if user := parts.netloc.rpartition("@")[0]:
        name, _, password = user.partition(":")
        both = f"{unquote(name)}:{unquote(password)}".encode()
        headers["Authorization"] = f"Basic {b64encode(both).decode()}"
    # urllib knows neither a name and a password, nor a host in other letters than ASCII's.
    url = parts._replace(netloc=host_of(url)).geturl()
    request = urllib.request.Request(url, headers=headers)
    via, first = proxy_of(url), b""
    ways: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if via and via.partition("://")[0].lower() in SOCKS:
        ways += [urllib.request.ProxyHandler({}), SocksHandler(via)]
    else:
        ways.append(urllib.request.ProxyHandler({urlsplit(url).scheme: via} if via else {}))
    started = time.monotonic()
    try:
        with urllib.request.build_opener(*ways).open(request, timeout=timeout) as answer:
            first = answer.read(1)
            status, told = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        status, told = error.code, error.headers
        error.close()
    milliseconds = 1000 * (time.monotonic() - started)
    page = "html" in told.get("Content-Type", "")
    return _Answer(status, told.get("Location"), page, first, milliseconds)
