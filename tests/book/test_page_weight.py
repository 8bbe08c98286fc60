"""The built pages are light: a phone on a slow line has them soon."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from test_pages import HTML, PAGES, built, name, page

pytestmark = [pytest.mark.pages, pytest.mark.usefixtures("built")]

__all__ = ["built"]
MOST = 2_500_000
# Before a browser paints it has the style sheets of a page's head. At 1.6 Mbit/s 200 kB come in a
# second, and half of that second goes by in asking: so much can be there before two are over.
MOST_BEFORE_PAINT = 200_000
FONT = re.compile(r"url\(([^)]+\.woff2)\)")  # each has other formats behind it, for old browsers


def local(path: Path, address: str) -> Path | None:
    """The file that an address on a page is, where it is one of the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    return (path.parent / unquote(parts.path)).resolve()


def loaded(path: Path) -> set[Path]:
    """All files that a browser fetches for a page, the page too."""
    soup = page(path)
    addresses = [str(tag["src"]) for tag in soup.find_all(["script", "img"], src=True)]
    addresses += [
        str(link["href"]) for link in soup.find_all("link", rel=["stylesheet", "icon", "preload"])
    ]
    if soup.find("script", src=re.compile("katex")):
        addresses.append(f"{soup.html['data-content_root']}_static/katex/katex.min.css")
    files = {path} | {file for address in addresses if (file := local(path, address))}
    for style in [file for file in files if file.suffix == ".css"]:
        files |= {
            file
            for address in FONT.findall(style.read_text(encoding="utf-8"))
            if (file := local(style, address))
        }
    return files


def test_a_page_with_all_that_it_loads_is_small() -> None:
    """Fonts too, of which a browser fetches only those with signs on the page."""
    heavy = [
        f"{name(path)}: {weight / 1e6:.2f} MB"
        for path in PAGES
        if (weight := sum(file.stat().st_size for file in loaded(path))) > MOST
    ]
    assert not heavy, "\n".join(heavy)


def test_little_stands_between_a_reader_and_the_first_paint() -> None:
    slow = []
    for path in PAGES:
        head = page(path).head
        if not head:
            continue  # the first address only leads to the first page
        blocking = [str(s["src"]) for s in head.find_all("script", src=True) if not waits(s)]
        links = head.find_all("link", rel="stylesheet")
        styles = [local(path, str(link["href"])) for link in links]
        size = sum(file.stat().st_size for file in styles if file)
        if blocking or size > MOST_BEFORE_PAINT:
            slow.append(f"{name(path)}: {size / 1e3:.0f} kB of styles, scripts {blocking}")
    assert not slow, "\n".join(slow)


def waits(script: BeautifulSoup) -> bool:
    return script.has_attr("defer") or script.has_attr("async")


def test_only_pages_with_a_formula_load_what_draws_formulas() -> None:
    for path in PAGES:
        draws = page(path).find_all("script", src=re.compile(r"katex|formulas\.js"))
        assert len(draws) == (2 if page(path).find(class_="math") else 0), name(path)


def test_only_the_page_of_the_search_loads_what_searches() -> None:
    for path in PAGES:
        searches = page(path).find_all("script", src=re.compile("searchtools|searchindex"))
        assert bool(searches) == (path.name == "search.html"), name(path)


def test_what_a_program_says_in_the_texts_colour_has_no_mark() -> None:
    style = (HTML / "_static" / "pygments.css").read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        colours = dict(
            re.findall(
                rf'^html\[data-theme="{theme}"\] \.highlight ?(?:\.(\w+) )?{{.*color: (#\w+)',
                style,
                re.MULTILINE,
            )
        )
        assert {colours[kind] for kind in ("n", "nn", "p", "w")} == {colours[""]}, theme
    marked = page(HTML / "book" / "07_flow.html").select("pre span.n, pre span.p, pre span.w")
    assert not [span for span in marked if not span.find()]


def test_every_icon_of_a_page_has_its_rule_and_its_sign() -> None:
    """The style sheet carries a font of these icons, and the theme's script is not asked for."""
    css = (HTML / "_static" / "book.css").read_text(encoding="utf-8")
    faces = re.findall(r"@font-face\s*{[^}]*}", css)
    assert len(faces) == 3
    assert all("data:font/woff;base64," in face for face in faces)
    assert "fontawesome.js" not in {
        Path(str(script["src"])).name.partition("?")[0]
        for path in PAGES
        for script in page(path).find_all("script", src=True)
    }
    icons = {
        word
        for path in PAGES
        for tag in page(path).find_all(class_=re.compile(r"^fa-|^fa[srb]$"))
        for word in tag["class"]
        if word.startswith("fa-") and word not in {"fa-solid", "fa-regular", "fa-brands", "fa-lg"}
    }
    assert len(icons) > 5
    without = {icon for icon in icons if not re.search(rf"\.{icon}\b[^}}]*::before{{content:", css)}
    assert not without


def test_pictures_are_fetched_when_they_come_near_and_keep_their_room() -> None:
    eager = [
        f"{name(path)}: {picture['src'][:60]}"
        for path in PAGES
        for picture in page(path).find_all("img", src=re.compile("_images/"))
        if picture.get("loading") != "lazy" or not {"width", "style"} & set(picture.attrs)
    ]
    assert not eager, "\n".join(eager)


def test_every_picture_of_the_text_opens_larger() -> None:
    pictures = [
        (path, picture)
        for path in PAGES
        for picture in page(path).select('article img[src*="_images/"]')
        if not picture.find_parent(class_=re.compile("^companion-|^sd-card$"))
    ]
    assert pictures
    closed = [
        f"{name(path)}: {picture['src']}"
        for path, picture in pictures
        if not (link := picture.find_parent("a")) or not local(path, link["href"])
    ]
    assert not closed, "\n".join(closed)


def test_what_a_slider_shows_stays_in_its_place() -> None:
    sliders = [slider for path in PAGES for slider in page(path).select('[class^="companion-"]')]
    assert any(slider.find("img") for slider in sliders)
    assert not any(slider.select("a.larger") for slider in sliders)


def test_a_picture_that_is_reduced_keeps_its_shape() -> None:
    """It has its width and height in the page; the style sheet must let go of the height."""
    css = (HTML / "_static" / "book.css").read_text(encoding="utf-8")
    assert re.search(r"\.bd-content img\[loading\]\{height: auto;?", css)
