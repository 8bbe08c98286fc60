"""The book's status page: what each chapter took when its outputs were made, and on what.

`make run` measures. The figures are kept in book/status.json, a line for each chapter, and
book/status.md is written from them. The notebooks themselves hold no times.
"""

import datetime
import json
import os
import platform
import re
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Whose versions a chapter's outputs depend on.
LIBRARIES = ("torch", "diffusers", "transformers", "datasets", "numpy", "pillow", "matplotlib")
PAGE = """\
# Status

When the outputs of this book were made, how long each chapter took, and on what. `make run` writes
this page from what it measures; time that the machine spent on other work counts in.

{chapters}

The chapters ran in the `small` profile, from the first cell to the last in a fresh kernel, offline:

{machines}

Every cell is compared with these outputs again by `pytest --nbval book/`.
"""


def processor() -> str:
    """What the processor is called."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # only Linux has it
        cpuinfo = ""
    named = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a chapter runs on; nothing that tells one machine of a kind from another."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
    }


def measured(title: str, cells: int, seconds: float) -> dict[str, Any]:
    """What is kept of one run of a chapter."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    taken = {"title": title, "cells": cells, "seconds": round(seconds, 1), "date": today}
    return {**taken, "machine": machine()}


def page(status: dict[str, Any]) -> str:
    """The text of the page."""
    rows = ["| chapter | cells | time | date |", "|---|---:|---:|---|"]
    titles_on: dict[str, list[str]] = defaultdict(list)
    for name, run in status.items():
        number = name.partition("_")[0]
        title = f"{int(number)}. {run['title']}" if number.isdigit() else run["title"]
        seconds = f"{run['seconds']:.0f} s"
        rows.append(f"| [{title}]({name}) | {run['cells']} | {seconds} | {run['date']} |")
        titles_on[json.dumps(run["machine"])].append(title)
    machines = []
    for on, titles in titles_on.items():
        said = json.loads(on)
        which = "all chapters" if len(titles_on) == 1 else "; ".join(titles)
        versions = ", ".join(f"{name} {number}" for name, number in said["versions"].items())
        machines.append(
            f"- {which}: {said['processor']}, {said['cores']} cores, {said['system']}; {versions}"
        )
    return PAGE.format(chapters="\n".join(rows), machines="\n".join(machines))


def record(book: Path, runs: dict[str, dict[str, Any]]) -> None:
    """Take over what was measured now; chapters that did not run keep what they had."""
    kept = book / "status.json"
    status = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    there = {twin.stem for twin in (book / "text").glob("*.md")}
    status = {name: run for name, run in sorted({**status, **runs}.items()) if name in there}
    kept.write_text(json.dumps(status, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (book / "status.md").write_text(page(status), encoding="utf-8")
