"""Models that have left the hub, and whether anything here still asks for them."""

from companion.door import is_folder
from companion.hub import environment, replacements
from companion.local_hub.cache_layout import storage_name
from companion.sources import sources

from .finding import Finding, good, problem, warning


def check_removed() -> list[Finding]:
    """Look for them in the profiles and in the cache."""
    asked = {source.hub for name in ("small", "full") for source in sources(name).values()}
    cache = environment.cache()
    findings = []
    for gone, instead in replacements().items():
        if gone in asked:
            text = f"profiles.toml asks for {gone}, which has left the hub"
            findings.append(problem("Models", text, f"write {instead} there"))
        if is_folder(cache / storage_name("model", gone)):
            text = f"{gone} is in the cache alone: it has left the hub"
            findings.append(warning("Models", text, f"load {instead} in its place"))
    if findings:
        return findings
    return [good("Models", "none that has left the hub, neither in the profiles nor in the cache")]
