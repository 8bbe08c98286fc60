"""What a page says of itself where it is not open: in a search, in a message, in a tab."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chapters import CONFIG, ROOT, toc_entries
from PIL import Image
from test_page_weight import local
from test_pages import HTML, PAGES, built, name, page

__all__ = ["built"]
pytestmark = [pytest.mark.pages, pytest.mark.usefixtures("built")]
BASE: str = CONFIG["html"]["baseurl"]


def content(path: Path, **which: str) -> str:
    """What one <meta> of a page says; there is exactly one."""
    (tag,) = page(path).find_all("meta", attrs=which)
    return str(tag["content"])


def test_the_site_lies_where_the_package_says_its_documentation_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Documentation"] == BASE


def test_every_page_names_its_canonical_address() -> None:
    for path in PAGES:
        if path == HTML / "index.html":
            continue  # it leads to the first page, and names its address
        (link,) = page(path).find_all("link", rel="canonical")
        assert link["href"] == BASE + name(path)
        assert content(path, property="og:url") == link["href"]


def test_every_page_describes_itself_in_a_sentence_or_two() -> None:
    for path in PAGES:
        said = content(path, name="description")
        assert 40 < len(said) <= 200, name(path)
        assert "\\" not in said, name(path)
        assert content(path, property="og:description") == said


def test_no_two_chapters_describe_themselves_alike() -> None:
    chapters = [path for path in PAGES if path.parent.name == "book"]
    assert len({content(path, name="description") for path in chapters}) == len(chapters)


def test_every_page_has_a_card_with_its_title_and_a_picture() -> None:
    for path in PAGES:
        assert content(path, property="og:title"), name(path)
        address = content(path, property="og:image")
        assert address.startswith(BASE), name(path)
        with Image.open(HTML / address.removeprefix(BASE)) as card:
            assert card.size == (1200, 630), name(path)
            assert len(card.getcolors(1 << 20) or []) > 50, f"{name(path)}: nothing is drawn on it"


def test_every_page_has_an_icon_in_svg_and_png() -> None:
    for path in PAGES:
        icons = [local(path, str(link["href"])) for link in page(path).find_all("link", rel="icon")]
        assert {icon.suffix for icon in icons if icon and icon.is_file()} == {".svg", ".png"}, name(
            path
        )


def test_the_logo_has_a_light_and_a_dark_side() -> None:
    for path in PAGES:
        if not page(path).find(class_="navbar-brand"):
            continue
        sides = [
            next(side for side in ("only-light", "only-dark") if side in logo["class"])
            for logo in page(path).select(".navbar-brand img")
            if (file := local(path, str(logo["src"]))) and file.is_file()
        ]
        assert sides == ["only-light", "only-dark"], name(path)


def test_the_sites_first_address_says_what_the_first_page_says() -> None:
    index, first = HTML / "index.html", HTML / f"{toc_entries()[0]}.html"
    for which in ("og:title", "og:description", "og:image"):
        assert content(index, property=which) == content(first, property=which)
    assert urlsplit(content(index, property="og:image")).scheme == "https"
