"""The way to the hub: what the variables say, and which route works."""

import os
import re

from companion.hub import Endpoint, clashes, endpoint, endpoints, export_lines, probe_all
from companion.hub.environment import certificate_fault, on_colab, small_disk
from companion.hub.proxies import proxy, proxy_fault
from companion.sources import VARIABLE

from .finding import Finding, good, problem, warning

PROBE_SECONDS = 8.0
# Read by nothing any more: what they were set for does not happen.
GONE = {
    "TRANSFORMERS_CACHE": "HF_HOME",
    "HF_HUB_ENABLE_HF_TRANSFER": "HF_XET_HIGH_PERFORMANCE",
}


def offline() -> bool:
    """Whether the hub library was told to ask nobody."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def check_variables() -> list[Finding]:
    """Variables that contradict each other, come too late, or are read by nothing."""
    findings = []
    for sentence in clashes():
        if sentence == small_disk():
            continue  # the line on the cache says it
        text, _, remedy = sentence.rstrip(".").partition("; ")
        remedy = re.sub(r"^set (\w+=)", r"export \1", remedy)  # to copy into a shell
        findings.append(_needed_now("Variables", text, remedy or "see chapter 1"))
    for old, new in GONE.items():
        if old in os.environ:
            text = f"{old} is set, and no library reads it any more"
            findings.append(warning("Variables", text, f"unset {old}; today it is {new}"))
    if findings:
        return findings
    named = [n for n in ("HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE") if n in os.environ]
    return [good("Variables", f"{', '.join(named) or 'none'} set, no contradiction")]


def check_endpoint() -> list[Finding]:
    """Ask the endpoint for its API, a small and a large file; if it fails, name one that works."""
    if offline():
        return [good("Endpoint", "not asked: HF_HUB_OFFLINE is set, so nothing is fetched")]
    try:
        place = endpoint()
    except ValueError as error:
        return [problem("Endpoint", f"HF_ENDPOINT is wrong: {error}".partition("; ")[0], FIX)]
    if fault := proxy_fault() or certificate_fault():
        text, _, remedy = fault.rstrip(".").partition("; ")
        return [_needed_now("Endpoint", f"not asked: {text}", remedy)]
    others = [e for e in endpoints().values() if e != place and (e.official or _mirror_works(e))]
    route, *rest = probe_all([place, *others], timeout=PROBE_SECONDS)
    if route.ok:
        hosts = [f"{part.name} {part.latency_ms:.0f} ms from {part.host}" for part in route.parts]
        via = proxy(place.address)
        return [
            good("Endpoint", ", ".join([*hosts, *([f"through the proxy {via}"] if via else [])]))
        ]
    text, _, remedy = route.sentence.rstrip(".").partition("; ")
    for other in rest:
        if other.ok:
            lines = export_lines(other.endpoint).replace("\n", "; ")
            remedy = f"{other.endpoint.host} works; before Python starts: {lines}"
            break
    return [_needed_now("Endpoint", text, remedy)]


def _mirror_works(mirror: Endpoint) -> bool:
    """Whether a mirror may be named: abroad, as on Colab or behind a proxy, it sends one away."""
    return not (on_colab() or proxy(mirror.address))


FIX = "export HF_ENDPOINT=https://hf-mirror.com, or unset HF_ENDPOINT"


def _needed_now(check: str, text: str, remedy: str) -> Finding:
    """A problem where the chapters fetch, a warning where they run on what is in the package."""
    make = problem if os.environ.get(VARIABLE) == "full" else warning
    return make(check, text, remedy)
