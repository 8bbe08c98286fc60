"""The reference: every public name of every room, and links between it and the chapters."""

import importlib
import inspect
import pkgutil
import re
import sys
from functools import cache

import pytest
from bs4 import BeautifulSoup
from chapters import BOOK, toc_entries
from companion_api import UNNUMBERED
from test_docstrings import DERIVE, links
from test_pages import HTML, built, chapters, page  # noqa: F401

import companion

# The command is described by its own --help, and `python -m companion` is the command.
NO_FACE = {"cli", "__main__"}
# Documented where they are at home; `companion.profile` the function hides the module of its name.
ELSEWHERE = {"hub.LocalHub": "local_hub.LocalHub"}
ROOMS = sorted({room.name for room in pkgutil.iter_modules(companion.__path__)} - NO_FACE)


def face(room: str) -> list[str]:
    """The public names of a room: what it lists, or else the functions and classes it defines."""
    importlib.import_module(f"companion.{room}")
    module = sys.modules[f"companion.{room}"]
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if name[0] != "_"
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    )


@cache
def entries() -> frozenset[str]:
    """What has an entry on the built pages of the reference."""
    pages = (HTML / "book" / "api").glob("*.html")
    return frozenset(
        str(entry["id"])
        for path in pages
        for entry in BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").select("dt[id]")
    )


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_has_a_page(room: str) -> None:
    title = "index" if room == "profile" else room
    assert f"book/api/{title}" in toc_entries()
    assert f"automodule:: companion{'' if room == 'profile' else f'.{room}'}\n" in (
        BOOK / "api" / f"{title}.md"
    ).read_text(encoding="utf-8")


@pytest.mark.pages
@pytest.mark.parametrize("room", ROOMS)
def test_each_public_name_has_an_entry(room: str, built: None) -> None:  # noqa: F811
    names = [ELSEWHERE.get(f"{room}.{name}", f"{room}.{name}") for name in face(room)]
    moved = {"profile.Profile": "Profile", "profile.profile": "profile"}
    missing = {f"companion.{moved.get(name, name)}" for name in names} - entries()
    assert not missing


@pytest.mark.pages
def test_each_chapter_links_the_reference(built: None) -> None:  # noqa: F811
    for path in chapters():
        assert page(path).select('a[href^="api/"] code'), path.stem


@pytest.mark.pages
def test_the_reference_links_the_section_that_derives_a_function(built: None) -> None:  # noqa: F811
    of_page = {UNNUMBERED[c] if isinstance(c, str) else f"book/{c:02}_": c for c in DERIVE}
    linked = {
        f"book/{name}"
        for path in (HTML / "book" / "api").glob("*.html")
        for link in page(path).select('a[href*="#"]')
        for name in re.findall(r"^\.\./(\w+)\.html#.", str(link["href"]))
    }
    found = {c for start, c in of_page.items() if any(name.startswith(start) for name in linked)}
    assert found == DERIVE
    assert len(list(links())) > 30


def test_pages_of_the_reference_are_listed() -> None:
    pages = {f"book/api/{path.stem}" for path in (BOOK / "api").glob("*.md")}
    assert pages <= set(toc_entries())
