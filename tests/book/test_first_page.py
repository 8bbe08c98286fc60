"""The first page leads to every chapter."""

import re

from chapters import BOOK, ROOT, TWINS, is_chapter, toc_entries

FIRST = toc_entries()[0]
TEXT = (BOOK / "text" / "intro.md").read_text(encoding="utf-8")
CARD = re.compile(r":::\{grid-item-card\} (\d)\. [^\n]+\n(.+?)\n\n(.+?)\n:::", re.DOTALL)


def test_each_numbered_chapter_has_its_card_in_order() -> None:
    names = [twin.stem for twin in TWINS if is_chapter(twin) and twin.stem[0].isdigit()]
    links = [re.findall(r"^:link: (.+)$", options, re.MULTILINE) for _, options, _ in cards()]
    assert links == [[name] for name in names]
    assert [number for number, *_ in cards()] == [str(int(name[:2])) for name in names]


def test_each_card_has_a_picture_and_says_what_is_on_it() -> None:
    for _, options, line in cards():
        (picture,) = re.findall(r"^:img-top: (.+)$", options, re.MULTILINE)
        (alt,) = re.findall(r"^:img-alt: (.+)$", options, re.MULTILINE)
        assert (ROOT / FIRST).parent.joinpath(picture).is_file()
        assert len(alt) > 10
        assert len(line) > 10


def cards() -> list[tuple[str, str, str]]:
    """The number, the options and the line of each card."""
    return CARD.findall(TEXT)
