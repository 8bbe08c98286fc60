"""book/_ext/companion_api.py: a docstring's plain text as reStructuredText."""

from chapters import UNNUMBERED, source_of
from companion_api import UNNUMBERED as NAMED
from companion_api import as_rst, paragraphs

PAGES: dict[int | str, str] = {
    2: "book/02_manual_loop",
    "Behind the firewall": "book/behind_the_firewall",
    "And how good is it?": "book/how_good",
}


def test_a_name_between_backticks_is_code_also_over_two_lines() -> None:
    assert as_rst("Give `a` and `b\n    c`.", PAGES) == "Give ``a`` and ``b c``."


def test_a_section_that_is_named_becomes_a_link_to_it() -> None:
    assert as_rst('Chapter 2, "The\n    timesteps".', PAGES) == (
        ':section:`Chapter 2, "The timesteps" <book/02_manual_loop#The timesteps>`.'
    )
    assert as_rst("Chapter 2 of the book", PAGES) == (
        ":doc:`Chapter 2 </book/02_manual_loop>` of the book"
    )


def test_a_section_of_a_chapter_without_a_number_becomes_a_link_too() -> None:
    assert as_rst('"Behind the\n    firewall", "The mirror".', PAGES) == (
        ':section:`"Behind the firewall", "The mirror" <book/behind_the_firewall#The mirror>`.'
    )
    assert as_rst('"And how good is it?", "KID".', PAGES) == (
        ':section:`"And how good is it?", "KID" <book/how_good#KID>`.'
    )


def test_what_looks_like_markup_is_none() -> None:
    assert as_rst("x_ and *args or |x|", PAGES) == r"x\_ and \*args or \|x\|"
    assert as_rst("`*args`", PAGES) == "``*args``"


def test_what_is_indented_is_code_unless_a_header_stands_above() -> None:
    text = "One.\n\n    x = 1\n\nArgs:\n    x: a\n\n    y: b\n\nTwo."
    assert [is_code for is_code, _ in paragraphs(text)] == [False, True, False, False, False]


def test_every_chapter_without_a_number_can_be_named_by_its_title() -> None:
    assert {page.removeprefix("book/") for page in NAMED.values()} == UNNUMBERED
    for title, page in NAMED.items():
        assert f"\n# {title}\n" in source_of(page).read_text(encoding="utf-8")
