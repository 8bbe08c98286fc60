"""Models that have left the hub, and whether anything here still asks for them."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from companion.profile import sources

from .finding import Finding, good, problem, warning
from .storage import hub_cache

TABLE = Path(__file__).with_name("removed.toml")


@dataclass(frozen=True)
class Removed:
    """A model that is gone from the hub.

    Attributes:
        id: what tutorials call it.
        instead: the id of what replaces it.
        why: what became of it.
        source: where that is said.
    """

    id: str
    instead: str
    why: str
    source: str


@cache
def removed_models() -> dict[str, Removed]:
    """The removed models by id."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Removed(name, **entry) for name, entry in table.items()}


def check_removed() -> list[Finding]:
    """Look for them in the profiles and in the cache."""
    asked = {source.hub for name in ("small", "full") for source in sources(name).values()}
    findings = [
        problem("Models", f"profiles.toml asks for {m.id}: {m.why}", f"write {m.instead} there")
        for m in removed_models().values()
        if m.id in asked
    ]
    cache = hub_cache()
    kept = [
        m
        for m in removed_models().values()
        if (cache / f"models--{m.id.replace('/', '--')}").is_dir()
    ]
    findings += [
        warning("Models", f"{m.id} is left in the cache alone: {m.why}", f"load {m.instead}")
        for m in kept
    ]
    if findings:
        return findings
    return [good("Models", "none that has left the hub, neither in the profiles nor in the cache")]
