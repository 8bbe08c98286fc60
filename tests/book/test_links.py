"""Links inside the repository lead somewhere: those of the pages beside the book, on GitHub.

The built pages' own are followed in test_pages.py; other hosts are asked by `make linkcheck`.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chapters import REPOSITORY, ROOT, tracked_files

from linkcheck import docstring_links, markdown_links, outside_links

PAGES = [
    path
    for path in tracked_files()
    if path.suffix == ".md" and path.is_file() and "text" not in path.relative_to(ROOT).parts
]
BESIDE_THE_BOOK = [path for path in PAGES if "book" not in path.relative_to(ROOT).parts]


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "path", BESIDE_THE_BOOK, ids=[path.relative_to(ROOT).as_posix() for path in BESIDE_THE_BOOK]
)
def test_links_of_a_page_lead_to_files_and_headings(path: Path) -> None:
    broken = []
    for link in markdown_links(path.read_text(encoding="utf-8")):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = path.parent / unquote(parts.path) if parts.path else path
        if not target.exists() or (parts.fragment and parts.fragment not in anchors(target)):
            broken.append(link)
    assert not broken


def test_links_to_files_of_our_own_repository_lead_to_files() -> None:
    broken = []
    for link in outside_links():
        found = re.fullmatch(rf"{re.escape(REPOSITORY)}/(?:blob|tree)/\w+/([^#?]+)", link)
        if found and not (ROOT / unquote(found[1])).exists():
            broken.append(link)
    assert not broken


def test_readme_and_the_pages_of_the_community_are_among_them() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in BESIDE_THE_BOOK}
    assert names >= {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
    assert "CODE_OF_CONDUCT.md" in names


def test_links_are_told_from_code_and_from_hosts_that_nobody_has() -> None:
    text = "[a](b.md#c), https://pytorch.org and `https://code.org`\n\n```\nhttps://cell.org\n```\n"
    assert list(markdown_links(text)) == ["b.md#c", "https://pytorch.org"]
    source = '"""See https://arxiv.org/abs/2006.11239."""\nx = "https://code.org"\n'
    assert list(docstring_links(source)) == ["https://arxiv.org/abs/2006.11239"]


def test_addresses_of_other_hosts_are_noted_with_their_files(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "A.md").write_text("<https://pytorch.org> [b](http://127.0.0.1:80/) [c](A.md)")
    (tmp_path / "src" / "b.py").write_text('"""https://pytorch.org"""')
    assert outside_links(tmp_path) == {"https://pytorch.org": ["A.md", "src/b.py"]}
