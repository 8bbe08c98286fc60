"""A torchvision that does not fit its torch takes transformers and diffusers down with it."""

from . import commands
from .finding import Finding, good, problem
from .libraries import installed
from .probe import ask


def check_torchvision() -> list[Finding]:
    """Import it for real, where it is installed. The book does not use it."""
    version = installed("torchvision")
    if version is None:
        return [good("torchvision", "not installed, and not needed")]
    answer = ask("torchvision")
    if answer.error or not answer.facts.get("works"):
        # The name of the build matters here: torch 2.13.0+cpu, torchvision 0.28.0+cu126.
        torch = answer.facts.get("torch") or installed("torch") or "(none)"
        why = answer.error or "its operators give wrong results"
        return [
            problem(
                "torchvision",
                f"{version} does not work with torch {torch}: {why}",
                f"{commands.pip_uninstall('torchvision')}  (the book does not need it)",
            )
        ]
    return [good("torchvision", f"{version} works with torch {answer.facts['torch']}")]
