"""A function that a chapter derives links back to its section: `Chapter 2, "The timesteps".`

A section of the chapter without a number is `"Behind the firewall", "Tokens".`"""

import ast
import re
from collections.abc import Iterator

from chapters import ROOT, TWINS, source_of
from companion_api import SECTION, UNNUMBERED, named_section

DERIVE = {2, 3, 4, 5, 6, *UNNUMBERED}


def links_in(text: str) -> Iterator[tuple[int | str, str]]:
    """Each link of a text: the chapter, by number or title, and the section's title."""
    return map(named_section, SECTION.finditer(text))


def links() -> Iterator[tuple[str, int | str, str]]:
    """Each link of a docstring: the function it stands in, the chapter, and the section's title."""
    for path in sorted((ROOT / "src" / "companion").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for chapter, title in links_in(ast.get_docstring(node) or ""):
                    yield f"{path.stem}.{node.name}", chapter, title


def text_of(chapter: int | str) -> str:
    """A chapter's text, by number or title."""
    if isinstance(chapter, str):
        return source_of(UNNUMBERED[chapter]).read_text(encoding="utf-8")
    (twin,) = (twin for twin in TWINS if twin.stem.startswith(f"{chapter:02}_"))
    return twin.read_text(encoding="utf-8")


def titles(chapter: int | str) -> set[str]:
    """The titles of a chapter's sections; an exercise's without the dots for how hard it is."""
    return set(re.findall(r"^##+ (.+?)[ •]*$", text_of(chapter), re.MULTILINE))


def test_links_of_docstrings_lead_to_sections_that_exist() -> None:
    missing = [link for link in links() if link[2] not in titles(link[1])]
    assert not missing


def test_each_chapter_is_linked_by_a_function_of_the_package() -> None:
    assert {chapter for _, chapter, _ in links()} >= DERIVE
