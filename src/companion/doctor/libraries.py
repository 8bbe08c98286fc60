"""Whether the libraries are there, fit the book, and can really be imported."""

import importlib.metadata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from companion.door.tables import read_table

from . import commands
from .finding import Finding, good, problem
from .probe import ask

# Written by tools/freeze.py from pyproject.toml and constraints.txt, which are not in the wheel.
REQUIREMENTS = Path(__file__).with_name("requirements.toml")

# What a notebook's first cells load; a name behind the colon is a part loaded only when asked for.
IMPORTS = {
    "numpy": "numpy",
    "pillow": "PIL.Image",
    "matplotlib": "matplotlib",
    "huggingface_hub": "huggingface_hub:snapshot_download",
    "safetensors": "safetensors",
}
HEAVY_IMPORTS = {
    "transformers": "transformers:CLIPTextModel",
    "diffusers": "diffusers:StableDiffusionPipeline",
    "datasets": "datasets:load_dataset",
    "accelerate": "accelerate:Accelerator",
}


@dataclass(frozen=True)
class Requirement:
    """A library that the book uses.

    Attributes:
        name: as pip calls it.
        range: the versions that the code is meant to work with.
        tested: the version that the book's outputs were made with.
    """

    name: str
    range: str
    tested: str


@cache
def requirements() -> dict[str, Requirement]:
    """The libraries of the book by name."""
    table = read_table(REQUIREMENTS)["packages"]
    return {name: Requirement(name, **entry) for name, entry in table.items()}


def installed(name: str) -> str | None:
    """The version that pip has noted, without the build ("+cpu"); None where there is none."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def check_versions() -> list[Finding]:
    """What is installed against what the book is written for."""
    needed = requirements().values()
    if missing := [r.name + r.range for r in needed if installed(r.name) is None]:
        names = ", ".join(r.name for r in needed if installed(r.name) is None)
        return [problem("Packages", f"not installed: {names}", commands.pip_install(missing))]
    unfit = [r for r in needed if not _fits(r)]
    if unfit:
        listed = ", ".join(f"{r.name} {installed(r.name)} (needs {r.range})" for r in unfit)
        remedy = commands.pip_install(r.name + r.range for r in unfit)
        return [problem("Packages", f"the book does not fit {listed}", remedy)]
    other = [r for r in needed if installed(r.name) != r.tested]
    listed = ", ".join(f"{r.name} {installed(r.name)} (tested: {r.tested})" for r in other)
    text = f"{len(needed)} libraries fit the book"
    return [good("Packages", f"{text}; {listed}" if other else f"{text}, in the tested versions")]


def _fits(requirement: Requirement) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # pip brings a copy
        from pip._vendor.packaging.specifiers import SpecifierSet  # type: ignore[assignment]
    version = installed(requirement.name) or ""
    return SpecifierSet(requirement.range).contains(version, prereleases=True)


def check_imports() -> list[Finding]:
    """That the small libraries can be imported, and are those that pip has noted."""
    return _check("Imports", IMPORTS)


def check_heavy_imports() -> list[Finding]:
    """That transformers, diffusers and their like can be imported."""
    return _check("Diffusers", HEAVY_IMPORTS)


def _check(check: str, imports: dict[str, str]) -> list[Finding]:
    wanted = {name: target for name, target in imports.items() if installed(name)}
    answer = ask("libraries", *wanted.values())
    failed: dict[tuple[str, str], list[str]] = {}  # names by failure: one fault breaks several
    findings = []
    for name, target in wanted.items():
        module = target.partition(":")[0]
        facts = answer.facts.get(module, {})
        if answer.facts.get("importing") == module:  # it took Python down with it, or hung
            failed.setdefault((answer.error, ""), []).append(name)
        elif "error" in facts:
            culprit = facts["culprit"] if facts["culprit"] not in (name, module) else ""
            failed.setdefault((facts["error"], culprit), []).append(name)
        elif facts:
            findings += _other_version(check, name, facts)
    findings += [_failure(check, names, *why) for why, names in failed.items()]
    return findings or [good(check, f"{', '.join(wanted) or 'nothing'} can be imported")]


def _failure(check: str, names: list[str], error: str, culprit: str) -> Finding:
    because = ""
    remedy = commands.pip_install(
        [name + requirements()[name].range for name in names], "--force-reinstall", "--no-deps"
    )
    if culprit == "torchvision" or culprit in requirements():
        because = f" because of {culprit}"
        remedy = f"mend {culprit} first: see its own line, and run the doctor again"
    return problem(check, f"{', '.join(names)} cannot be imported{because}: {error}", remedy)


def _other_version(check: str, name: str, facts: dict[str, str]) -> list[Finding]:
    """Another copy of the library lies in front of the installed one."""
    version, noted = facts["version"].partition("+")[0], installed(name)
    if not version or version == noted:
        return []
    return [
        problem(
            check,
            f"{name} {version} is imported, from {facts['file']}, though {noted} is installed",
            "rename or remove that file or folder; if it is pip's own: "
            + commands.pip_install([name + requirements()[name].range], "--force-reinstall"),
        )
    ]
