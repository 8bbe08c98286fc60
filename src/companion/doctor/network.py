"""The way to the hub: what the variables say, and which route works."""

import os
from pathlib import Path

from companion.door import is_folder
from companion.hub import Endpoint, clashes, endpoints, export_lines, find_endpoint, probe_all
from companion.hub.endpoints import UnknownEndpoint, mirror
from companion.hub.environment import certificate_fault, offline, on_colab, small_disk
from companion.hub.fetch import VARIABLE as WHERE
from companion.hub.proxies import proxy, proxy_fault
from companion.sources import VARIABLE

from .finding import Finding, good, problem, warning

PROBE_SECONDS = 8.0
# Read by nothing any more: what they were set for does not happen.
GONE = {
    "TRANSFORMERS_CACHE": "HF_HOME",
    "HF_HUB_ENABLE_HF_TRANSFER": "HF_XET_HIGH_PERFORMANCE",
}


def check_variables() -> list[Finding]:
    """Variables that contradict each other, come too late, or are read by nothing."""
    findings = []
    for advice in clashes():
        if advice != small_disk():  # the line on the cache says it
            findings.append(_needed_now("Variables", advice.text, advice.for_shell))
    findings += _where_to_nowhere()
    for old, new in GONE.items():
        if old in os.environ:
            text = f"{old} is set, and no library reads it any more"
            findings.append(warning("Variables", text, f"unset {old}; today it is {new}"))
    if findings:
        return findings
    named = [n for n in (WHERE, "HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE") if n in os.environ]
    return [good("Variables", f"{', '.join(named) or 'none'} set, no contradiction")]


def _where_to_nowhere() -> list[Finding]:
    """What is wrong with the variable by which the companion alone fetches from elsewhere."""
    where = os.environ.get(WHERE)
    if not where or where == "auto" or is_folder(Path(where)):
        return []
    try:
        find_endpoint(where)
    except UnknownEndpoint as error:
        text = f"{WHERE} leads nowhere: {error.advice.text}"
        return [_needed_now("Variables", text, error.advice.remedy)]
    return []


def check_endpoint() -> list[Finding]:
    """Ask the endpoint for its API, a small and a large file; if it fails, name one that works."""
    if offline():
        return [good("Endpoint", "not asked: HF_HUB_OFFLINE is set, so nothing is fetched")]
    try:
        endpoint = find_endpoint()
    except UnknownEndpoint as error:
        other = mirror()
        remedy = f"export HF_ENDPOINT={other.address}, or " if other else ""
        text = f"HF_ENDPOINT is wrong: {error.advice.text}"
        return [problem("Endpoint", text, f"{remedy}unset HF_ENDPOINT")]
    if fault := proxy_fault() or certificate_fault():
        return [_needed_now("Endpoint", f"not asked: {fault.text}", fault.remedy)]
    others = [e for e in endpoints().values() if e != endpoint and (e.official or _mirror_works(e))]
    route, *rest = probe_all([endpoint, *others], timeout=PROBE_SECONDS)
    if route.ok:
        hosts = [f"{part.name} {part.latency_ms:.0f} ms from {part.host}" for part in route.parts]
        via = proxy(endpoint.address)
        return [
            good("Endpoint", ", ".join([*hosts, *([f"through the proxy {via}"] if via else [])]))
        ]
    remedy = route.advice.remedy
    if works := next((other.endpoint for other in rest if other.ok), None):
        lines = export_lines(works).replace("\n", "; ")
        remedy = f"{works.host} works; before Python starts: {lines}"
    return [_needed_now("Endpoint", route.advice.text, remedy)]


def _mirror_works(endpoint: Endpoint) -> bool:
    """Whether a mirror may be named: abroad, as on Colab or behind a proxy, it sends one away."""
    return not (on_colab() or proxy(endpoint.address))


def _needed_now(check: str, text: str, remedy: str) -> Finding:
    """A problem where the chapters fetch, a warning where they run on what is in the package."""
    make = problem if os.environ.get(VARIABLE) == "full" else warning
    return make(check, text, remedy)
