"""A function that a chapter derives links back to its section: `Chapter 2, "The timesteps".`"""

import ast
import re
from collections.abc import Iterator

from chapters import ROOT, TWINS

LINK = re.compile(r'Chapter (\d+), "([^"]+)"')
DERIVE = {2, 3, 4, 5, 6}


def links() -> Iterator[tuple[str, int, str]]:
    """Each link of a docstring: the function it stands in, the chapter, and the section's title."""
    for path in sorted((ROOT / "src" / "companion").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for chapter, title in LINK.findall(ast.get_docstring(node) or ""):
                    yield f"{path.stem}.{node.name}", int(chapter), " ".join(title.split())


def text_of(chapter: int) -> str:
    """A chapter's text."""
    (twin,) = (twin for twin in TWINS if twin.stem.startswith(f"{chapter:02}_"))
    return twin.read_text(encoding="utf-8")


def titles(chapter: int) -> set[str]:
    """The titles of a chapter's sections; an exercise's without the dots for how hard it is."""
    return set(re.findall(r"^##+ (.+?)[ •]*$", text_of(chapter), re.MULTILINE))


def test_links_of_docstrings_lead_to_sections_that_exist() -> None:
    missing = [link for link in links() if link[2] not in titles(link[1])]
    assert not missing


def test_each_chapter_is_linked_by_a_function_of_the_package() -> None:
    assert {chapter for _, chapter, _ in links()} >= DERIVE
