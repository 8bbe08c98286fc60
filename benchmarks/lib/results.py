"""What was measured, in a file for each device: tables and sentences are written from these files.

A part is one table: its cases, and the figures of each. A part that was cut off keeps what it has,
and goes on with the cases that are missing.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

RESULTS = Path(__file__).parents[1] / "results"
LIBRARIES = (
    "accelerate",
    "daam",
    "diffusers",
    "numpy",
    "onnxruntime",
    "openvino",
    "torch",
    "transformers",
)
Size = Literal["full", "small"]


class Times(BaseModel):
    """Seconds of some rounds.

    Attributes:
        median: of the rounds.
        low: the shortest.
        high: the longest.
        rounds: how many there were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    median: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    low: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    high: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    rounds: Annotated[int, Field(ge=1)] | None = None  # None: it was not written down

    @model_validator(mode="after")
    def _in_order(self) -> Times:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"the median {self.median} is not between {self.low} and {self.high}")
        return self


Finite = Annotated[float, Field(allow_inf_nan=False)]
# A name ends in its unit, as in memory_mib. None: there is none, as where a loss is never reached.
Figure = Times | Finite | str | list[str] | None


class Part(BaseModel):
    """One table.

    Attributes:
        command: what was run.
        measured_on: the day.
        machine: processor or GPU, and what else of the machine matters.
        versions: of Python and the libraries.
        precision: what it computed in, where the cases do not say.
        size: "full", or "small" for a trial of the code that says nothing of speed.
        settings: what else the figures depend on.
        transcribed: copied from a table of that day that a run had printed, not written by a run.
        complete: no case is missing.
        cases: figures by name, by case.
    """

    model_config = ConfigDict(extra="forbid")

    command: str
    measured_on: date
    machine: str
    versions: dict[str, str]
    precision: str
    size: Size = "full"
    settings: dict[str, str | int | float | bool] = {}
    transcribed: bool = False
    complete: bool = False
    cases: dict[str, dict[str, Figure]] = {}


class Results(BaseModel):
    """All that was measured on one device."""

    model_config = ConfigDict(extra="forbid")

    device: str
    kind: Literal["cpu", "gpu"]
    parts: dict[str, Part] = {}


def device_name(on_gpu: bool) -> str:
    """What a GPU calls itself; of a CPU its model and the number of cores that may be used."""
    if on_gpu:
        import torch

        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def file_of(device: str, folder: Path = RESULTS) -> Path:
    """Where the results of a device lie."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


def versions() -> dict[str, str]:
    """Of Python, and of the libraries that are here."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read(path: Path) -> Results:
    """Read a file of results.

    Raises:
        ValueError: it is no such file; the sentence says where it is wrong.
    """
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole of it"
        raise ValueError(f"{path.name} holds no results: {place}: {first['msg']}") from error


def write(results: Results, path: Path) -> None:
    """Write a file of results whole, or leave the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    text = results.model_dump_json(indent=1) + "\n"
    # The figures of a case on one line, to be read and compared by people too.
    text = re.sub(r"\{[^{}]*\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


class Recorder:
    """Writes a part down, case by case, so that whoever stops it loses one case at most.

    Args:
        name: of the part.
        on_gpu: where it is measured.
        precision: what it computes in.
        settings: what else the figures depend on.
        size: "full" or "small".
        folder: of the results; None for nowhere.

    What an earlier run left of the part is taken up if all but the day is the same; else it begins
    anew.
    """

    def __init__(
        self,
        name: str,
        *,
        on_gpu: bool,
        precision: str,
        settings: Mapping[str, str | int | float | bool] | None = None,
        size: Size = "full",
        folder: Path | None = RESULTS,
    ) -> None:
        device = device_name(on_gpu)
        # A trial of the code has a file of its own: it says nothing of the device.
        self._path = file_of(device if size == "full" else f"{device} {size}", folder or RESULTS)
        self._write = folder is not None
        self._kind: Literal["cpu", "gpu"] = "gpu" if on_gpu else "cpu"
        self._device, self._name = device, name
        part = Part(
            command=command(),
            measured_on=date.today(),
            machine=device,
            versions=versions(),
            precision=precision,
            size=size,
            settings=dict(settings or {}),
        )
        before = self._all().parts.get(name)
        same = ("versions", "precision", "size", "settings", "transcribed")
        if before and all(getattr(before, field) == getattr(part, field) for field in same):
            part.cases = before.cases
        self.part = part

    def __contains__(self, case: str) -> bool:
        """Whether the case is done; one that failed is not."""
        return case in self.part.cases and "failed" not in self.part.cases[case]

    def note(self, case: str, **figures: Figure) -> None:
        """Write the figures of a case down."""
        self.part.cases[case] = figures
        self._store()

    def finish(self) -> None:
        """Nothing is missing any more, unless something failed."""
        self.part.complete = all(case in self for case in self.part.cases)
        self._store()

    def _all(self) -> Results:
        if self._write and self._path.is_file():
            return read(self._path)
        return Results(device=self._device, kind=self._kind)

    def _store(self) -> None:
        if self._write:
            results = self._all()
            results.parts[self._name] = self.part
            write(results, self._path)


def command() -> str:
    """What was typed, as far as it does not name a place on this machine."""
    script, *arguments = sys.argv
    kept = [argument for argument in arguments if not Path(argument).is_absolute()]
    folder = Path(script).resolve().parent.name
    name = f"{folder}/{Path(script).name}" if folder in ("benchmarks", "tools") else "python"
    return " ".join(["python", name, *kept] if name != "python" else ["python"])
