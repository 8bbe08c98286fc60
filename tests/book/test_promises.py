"""Each promise of SECURITY.md and of the reliability page names the tests that keep it."""

import re
from pathlib import Path

import pytest
from chapters import BOOK, ROOT

PAGES = [ROOT / "SECURITY.md", BOOK / "reliability.md"]
TEST = re.compile(r"`((?:\w+/)*test_\w+)::(test_\w+)`")
each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


def rows(page: Path) -> list[str]:
    """Give the rows of the tables whose second column is headed "kept by"."""
    found, inside = [], False
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            inside = False
        elif "| kept by |" in line:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            found.append(line)
    return found


@each_page
def test_every_promise_names_a_test(page: Path) -> None:
    promises = rows(page)
    assert promises
    assert not [row for row in promises if not TEST.search(row)]


@each_page
def test_the_tests_that_keep_the_promises_exist(page: Path) -> None:
    named = [found for row in rows(page) for found in TEST.findall(row)]
    missing = []
    for file, name in named:
        path = ROOT / "tests" / f"{file}.py"
        if not path.is_file() or not re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert not missing
