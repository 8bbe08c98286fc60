"""The built HTML: complete, its links lead somewhere, and it needs no other host."""

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from chapters import CHAPTERS, CONFIG, NOTEBOOKS, REPOSITORY, ROOT, toc_entries

pytestmark = [pytest.mark.pages, pytest.mark.usefixtures("built")]

HTML = ROOT / "_build" / "html"
PAGES = sorted(p for p in HTML.rglob("*.html") if "_static" not in p.parts)
# What a browser fetches by itself when it opens a page.
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
LINKS_LOADED = {"stylesheet", "preload", "icon", "modulepreload", "prefetch", "preconnect"}
ELSEWHERE = re.compile(r"^(?:https?:)?//", re.IGNORECASE)
# Written in every page by sphinx-thebe, and loaded only by a button that this book does not have.
ON_A_CLICK = re.compile(r'const THEBE_JS_URL = "[^"]*"')


@pytest.fixture(scope="session")
def built() -> None:
    if not (HTML / "index.html").exists():
        if os.environ.get("MAKELEVEL"):
            pytest.fail("make built no _build/html/index.html")
        pytest.skip("no pages: run `make book` first")


@cache
def page(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(str(tag["id"]) for tag in page(path).find_all(id=True))


def name(path: Path) -> str:
    return path.relative_to(HTML).as_posix()


def chapters() -> list[Path]:
    return [HTML / "book" / f"{path.stem}.html" for path in CHAPTERS]


def test_every_page_of_the_toc_was_built() -> None:
    missing = [entry for entry in toc_entries() if not (HTML / f"{entry}.html").exists()]
    assert not missing
    assert "url=book/intro.html" in (HTML / "index.html").read_text()


def test_internal_links_lead_somewhere() -> None:
    broken = []
    for path in PAGES:
        links = [tag["href"] for tag in page(path).find_all(["a", "link"], href=True)]
        links += [tag["src"] for tag in page(path).find_all(src=True)]
        for link in links:
            parts = urlsplit(str(link))
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{name(path)}: {link}")
            elif parts.fragment and target.suffix == ".html":
                fragment = unquote(parts.fragment)
                if fragment not in anchors(target):
                    broken.append(f"{name(path)}: {link} (no such place on the page)")
    assert not broken, "\n".join(broken)


def test_pages_load_nothing_from_another_host() -> None:
    found = []
    for path in PAGES:
        soup = page(path)
        for tag, attribute in LOADS.items():
            found += [
                (path, t[attribute]) for t in soup.find_all(tag, attrs={attribute: ELSEWHERE})
            ]
        for link in soup.find_all("link", href=ELSEWHERE):
            if LINKS_LOADED & set(link.get("rel", [])):
                found.append((path, link["href"]))
        found += [(path, t["srcset"]) for t in soup.find_all(srcset=re.compile("https?://"))]
        for style in soup.find_all("style"):
            found += [(path, url) for url in outside_urls(style.get_text())]
        for tag in soup.find_all(style=True):
            found += [(path, url) for url in outside_urls(tag["style"])]
        for script in soup.find_all("script", src=False):
            text = ON_A_CLICK.sub("", script.get_text())
            if "json" not in script.get("type", "") and "thebe-config" not in script.get(
                "type", ""
            ):
                found += [(path, url) for url in re.findall(r"https?://[^\s\"'<>]+", text)]
    assert not found, "\n".join(f"{name(path)} loads {url}" for path, url in found)


def outside_urls(css: str) -> list[str]:
    """Give the addresses of other hosts that a style sheet fetches."""
    urls = re.findall(r"url\(\s*[\"']?([^\"')]+)", css)
    urls += re.findall(r"@import\s+[\"']([^\"']+)", css)
    return [url for url in urls if ELSEWHERE.match(url)]


def test_style_sheets_load_nothing_from_another_host() -> None:
    found = [
        f"{name(path)} loads {url}"
        for path in HTML.rglob("*.css")
        for url in outside_urls(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_formulas_are_drawn_by_the_copy_of_katex_in_the_book() -> None:
    with_math = [path for path in PAGES if page(path).find(class_="math")]
    for path in with_math:
        sources = [str(t["src"]) for t in page(path).find_all("script", src=True)]
        assert any("_static/katex/katex.min.js" in source for source in sources), name(path)
    assert (HTML / "_static" / "katex" / "katex.min.js").stat().st_size > 100_000
    assert with_math or not chapters(), "no page has a formula: does this test look rightly?"


def test_every_picture_says_what_is_on_it() -> None:
    bare = []
    for path in PAGES:
        for picture in page(path).find_all("img"):
            alt = picture.get("alt", "").strip()
            file_name = re.search(r"[0-9a-f]{16,}|\.(?:png|jpe?g|svg|webp)$", alt)
            if not alt or file_name:
                bare.append(f"{name(path)}: {picture.get('src', '')[:80]} has alt={alt!r}")
    assert not bare, "\n".join(bare)


def test_notebooks_open_on_colab() -> None:
    site = REPOSITORY.removeprefix("https://github.com/")
    branch = CONFIG["repository"]["branch"]
    base = f"https://colab.research.google.com/github/{site}/blob/{branch}"
    for path in NOTEBOOKS:
        hosted = re.compile(r"^https?://colab")
        html = page(HTML / "book" / f"{path.stem}.html")
        links = [str(t["href"]) for t in html.find_all("a", href=hosted) if site in t["href"]]
        assert links == [f"{base}/book/{path.name}"], path.name


def test_pages_link_the_repository() -> None:
    for path in (p for p in PAGES if p.parent.name == "book"):
        assert page(path).find("a", href=REPOSITORY), name(path)


def test_pages_carry_no_widget_and_no_frame_of_a_progress_bar() -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert "require.min.js" not in text, name(path)
        assert "jupyter.widget-view" not in text, name(path)
        assert not re.search(r"\d+%\|.{0,12}\|", text), name(path)
