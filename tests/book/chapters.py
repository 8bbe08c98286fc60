"""The chapters, as the tests of this folder see them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
REPOSITORY: str = CONFIG["repository"]["url"]

NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
TWINS = sorted((BOOK / "text").glob("*.md"))
# A chapter is numbered, or one of these. The first page is a notebook and no chapter: it has no
# card, no exercises and no ending, and its install cell does not show.
UNNUMBERED = {"behind_the_firewall", "how_good"}


def is_chapter(path: Path) -> bool:
    """Say whether a notebook or its text twin is a chapter's."""
    return path.stem in UNNUMBERED or re.match(r"\d\d_", path.stem) is not None


CHAPTERS = [path for path in NOTEBOOKS if is_chapter(path)]

# Decorate a test that is true of every notebook, and one that is true of every chapter.
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])


def toc_entries() -> list[str]:
    """Give the pages that _toc.yml names, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [page for one in toc["chapters"] for page in (one, *one.get("sections", []))]
    return [toc["root"], *(page["file"] for page in pages)]


def source_of(page: str) -> Path:
    """Give the text that people edit of a page that _toc.yml names."""
    twin = BOOK / "text" / f"{Path(page).name}.md"
    return twin if twin in TWINS else ROOT / f"{page}.md"


def read_notebook(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def read_twin(path: Path) -> NotebookNode:
    """Read the text twin of a notebook."""
    return jupytext.read(BOOK / "text" / f"{path.stem}.md", fmt="md:myst")


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]


def texts_of(output: NotebookNode) -> Iterator[tuple[str, str]]:
    """Give the kind and the text of all that a reader can read in an output."""
    if output.output_type == "stream":
        yield output.name, output.text
    elif output.output_type == "error":
        yield "error", "\n".join([output.ename, output.evalue, *output.traceback])
    else:
        for kind, data in output.data.items():
            if isinstance(data, str) and kind not in ("image/png", "image/jpeg"):
                # What is inside a picture is no text.
                yield kind, re.sub(r"base64,[A-Za-z0-9+/=\s]+", "base64,", data)


def tracked_files() -> list[Path]:
    """Give the files that git knows; outside a clone, all that are not built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    built = {".venv", "_build", ".git", "node_modules"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not built & set(p.parts)]
