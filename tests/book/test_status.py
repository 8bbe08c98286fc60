"""The status page: every chapter with what was measured when its outputs were made."""

import datetime
import json
from pathlib import Path

from chapters import BOOK, NOTEBOOKS, code_cells, toc_entries

from book_status import page, record

STATUS = json.loads((BOOK / "status.json").read_text(encoding="utf-8"))
RUN = {
    "title": "One",
    "cells": 3,
    "seconds": 12.3,
    "date": "2026-11-28",
    "machine": {"processor": "P", "cores": 2, "system": "Linux", "versions": {"torch": "2.13"}},
}


def test_every_chapter_is_on_it_with_its_cells() -> None:
    assert "book/status" in toc_entries()
    assert {name: run["cells"] for name, run in STATUS.items()} == {
        path.stem: len(code_cells(path)) for path in NOTEBOOKS
    }, "run `make run`"


def test_it_is_written_from_what_was_measured() -> None:
    assert (BOOK / "status.md").read_text(encoding="utf-8") == page(STATUS), "run `make run`"
    for run in STATUS.values():
        assert run["seconds"] > 0
        assert datetime.date.fromisoformat(run["date"])


def test_it_names_the_kind_of_machine_and_not_the_machine() -> None:
    for run in STATUS.values():
        assert set(run["machine"]) == {"processor", "cores", "system", "versions"}
        assert {"Python", "torch", "diffusers"} <= set(run["machine"]["versions"])


def test_chapters_that_did_not_run_keep_what_they_had(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    for name in ("01_one", "02_two"):
        (tmp_path / "text" / f"{name}.md").touch()
    record(tmp_path, {"01_one": RUN, "02_two": RUN})
    record(tmp_path, {"02_two": {**RUN, "seconds": 45.6}})
    kept = json.loads((tmp_path / "status.json").read_text())
    assert {name: run["seconds"] for name, run in kept.items()} == {"01_one": 12.3, "02_two": 45.6}
    (tmp_path / "text" / "01_one.md").unlink()
    record(tmp_path, {})
    assert list(json.loads((tmp_path / "status.json").read_text())) == ["02_two"]


def test_chapters_that_ran_elsewhere_are_told_apart() -> None:
    other = {**RUN, "title": "Two", "machine": {**RUN["machine"], "processor": "Q"}}
    text = page({"01_one": RUN, "02_two": other})
    assert "| [1. One](01_one) | 3 | 12 s | 2026-11-28 |" in text
    assert "- 1. One: P, 2 cores, Linux; torch 2.13" in text
    assert "- 2. Two: Q, 2 cores, Linux; torch 2.13" in text
