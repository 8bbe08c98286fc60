"""References, glossary and index: complete, without doubles, and linked from the chapters."""

import re

import pytest
from bs4 import BeautifulSoup
from chapters import BOOK, REPOSITORY, ROOT, TWINS, toc_entries
from citations import address_of, preview, same_address
from pybtex.database import parse_file
from terms import pattern_of, terms_of
from test_docstrings import links_in, titles
from test_pages import HTML, built, page  # noqa: F401

PAPERS = parse_file(str(BOOK / "references.bib"), bib_format="bibtex").entries
GLOSSARY = (BOOK / "glossary.md").read_text(encoding="utf-8")
TERMS = terms_of(GLOSSARY)
PAGES = [*TWINS, *sorted(set(BOOK.glob("*.md")) - {BOOK / "glossary.md", BOOK / "references.md"})]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
# Where papers lie; other addresses are pages.
PAPER = re.compile(r"https?://(?:arxiv\.org|doi\.org|openreview\.net)/[^\s)>\"]+")


def cited() -> dict[str, str]:
    """The address of each paper that a page links, with one page that does."""
    return {same_address(url): page for page, text in TEXTS.items() for url in PAPER.findall(text)}


def test_each_paper_that_a_page_links_is_in_the_references() -> None:
    known = {same_address(address_of(entry)) for entry in PAPERS.values()}
    assert not {url: page for url, page in cited().items() if url not in known}


def test_each_paper_of_the_references_is_linked_by_a_page() -> None:
    links = cited()
    assert not [key for key, e in PAPERS.items() if same_address(address_of(e)) not in links]


def test_each_paper_stands_once() -> None:
    addresses = [address_of(entry) for entry in PAPERS.values()]
    assert len(addresses) > 15
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize(
    "url",
    [
        "http://arxiv.org/abs/2006.11239",
        "https://arxiv.org/abs/2006.11239v2",
        "https://arxiv.org/pdf/2006.11239",
    ],
)
def test_versions_of_a_paper_are_one_paper(url: str) -> None:
    assert same_address(url) == address_of(PAPERS["ho2020"])


def test_a_preview_says_who_what_and_when() -> None:
    assert preview(PAPERS["ho2020"]) == (
        "Ho et al.: Denoising Diffusion Probabilistic Models (2020)"
    )
    assert preview(PAPERS["ho2022"]).startswith("Ho and Salimans: ")


def test_terms_are_in_alphabetical_order_and_stand_once() -> None:
    terms = list(dict.fromkeys(term for term, _ in TERMS.values()))
    assert len(terms) > 40
    assert [t.lower() for t in terms] == sorted(t.lower() for t in terms)
    forms = re.findall(r"^(?=[^\s`#])(.+)$", GLOSSARY.split("```{glossary}")[1], re.MULTILINE)
    assert len(forms) == len({form.lower() for form in forms})


def test_each_term_names_the_section_that_derives_it() -> None:
    wrong = {}
    for term, meaning in TERMS.values():
        sections = list(links_in(meaning))
        if not sections or any(title not in titles(chapter) for chapter, title in sections):
            wrong[term] = meaning
    assert not wrong


def test_each_term_is_in_use() -> None:
    text = "\n".join(TEXTS.values())
    forms: dict[str, list[str]] = {}
    for form, (term, _) in TERMS.items():
        forms.setdefault(term, []).append(form)
    assert not [term for term, all_of in forms.items() if not pattern_of(iter(all_of)).search(text)]


def test_terms_are_found_as_whole_words_in_any_number_and_the_longest_first() -> None:
    pattern = pattern_of(iter(["guidance", "guidance scale", "UNet", "EMA"]))
    text = "Guidance scales, guidance; a UNet, UNets, an unet, EMA but not Emanuel or EMA-like."
    assert [m[0] for m in pattern.finditer(text)] == [
        "Guidance scales", "guidance", "UNet", "UNets", "EMA",
    ]  # fmt: skip


@pytest.fixture
def chapter(built: None) -> BeautifulSoup:  # noqa: F811 (the fixture, not its import)
    return page(HTML / "book" / "02_manual_loop.html")


@pytest.mark.pages
def test_a_term_leads_to_the_glossary_once_and_says_what_it_means(chapter: BeautifulSoup) -> None:
    links = chapter.select("article a.term")
    assert len(links) > 10
    assert all(str(link["href"]).startswith("glossary.html#term-") for link in links)
    assert len({link["href"] for link in links}) == len(links)
    assert all(len(str(link["title"])) > 20 for link in links)


@pytest.mark.pages
@pytest.mark.usefixtures("built")
def test_each_section_that_the_notation_names_is_a_link() -> None:
    notation = BeautifulSoup((HTML / "book" / "notation.html").read_text(), "html.parser")
    named = notation.select("table.names td:last-child")
    assert len(named) > 40
    assert not [cell.text for cell in named if not cell.select_one("a[href*='0'][href*='#']")]


@pytest.mark.pages
def test_a_paper_leads_to_the_references_and_says_which_it_is(chapter: BeautifulSoup) -> None:
    links = chapter.select("article a.paper")
    assert links
    assert all(str(link["href"]).startswith("references.html#") for link in links)
    assert all(re.search(r"\(\d{4}\)$", str(link["title"])) for link in links)
    assert not chapter.select("article a[href*='arxiv.org']")


@pytest.mark.pages
@pytest.mark.usefixtures("built")
def test_each_entry_of_the_references_names_who_cites_it() -> None:
    entries = page(HTML / "book" / "references.html").select("div.citation")
    assert len(entries) == len(PAPERS)
    assert all(entry.select("p.cited-in a") for entry in entries)


@pytest.mark.pages
@pytest.mark.usefixtures("built")
def test_the_index_lists_each_term_with_the_pages_that_use_it() -> None:
    index = (HTML / "genindex.html").read_text(encoding="utf-8")
    missing = [term for term, _ in TERMS.values() if f"#term-{anchor(term)}" not in index]
    assert not missing
    assert "book/02_manual_loop.html#term-" in index


def anchor(term: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", term).strip("-")


@pytest.mark.pages
@pytest.mark.usefixtures("built")
def test_every_page_can_be_edited_and_an_issue_can_be_opened() -> None:
    for entry in toc_entries():
        if not (ROOT / f"{entry}.ipynb").exists() and not entry.startswith("book/"):
            continue
        text = (HTML / f"{entry}.html").read_text(encoding="utf-8")
        source = f"{entry}.md"
        if (ROOT / f"{entry}.ipynb").exists():
            source = entry.replace("book/", "book/text/") + ".md"
        assert f"{REPOSITORY}/edit/main/{source}" in text
        assert (ROOT / source).exists()
        assert f"{REPOSITORY}/issues/new" in text


@pytest.mark.pages
@pytest.mark.usefixtures("built")
def test_every_notebook_can_be_downloaded() -> None:
    for notebook in sorted(BOOK.glob("*.ipynb")):
        text = (HTML / "book" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert f'href="../_sources/book/{notebook.name}"' in text
        assert (HTML / "_sources" / "book" / notebook.name).exists()
