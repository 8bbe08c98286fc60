"""`pytest --nbval book/` fails when anything stored is wrong: tried on spoilt copies."""

import base64
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
from chapters import BOOK, CHAPTERS, ROOT
from nbformat import NotebookNode
from PIL import Image

pytestmark = pytest.mark.slow

Change = Callable[[NotebookNode], None]

TWIN = """\
---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A tiny chapter

```{code-cell} ipython3
import base64
import io

import numpy as np
from IPython.display import HTML, display
from PIL import Image

ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype("uint8")
```

```{code-cell} ipython3
print("loss", 0.125)
```

```{code-cell} ipython3
Image.fromarray(ramp)
```

```{code-cell} ipython3
buffer = io.BytesIO()
Image.fromarray(ramp.T).save(buffer, "PNG")
encoded = base64.b64encode(buffer.getvalue()).decode()
display(HTML(f'<p>step 7 <img alt="a ramp" src="data:image/png;base64,{encoded}"></p>'))
```
"""


def room(folder: Path) -> Path:
    """Lay out what `pytest --nbval book/` needs: the settings, and the folder's conftest."""
    book = folder / "book"
    (book / "text").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(BOOK / "conftest.py", book)
    return book


def nbval(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Type `pytest --nbval book/` in a folder."""
    command = [sys.executable, "-m", "pytest", "--nbval", "book/", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *options], cwd=folder, check=False, capture_output=True, text=True, timeout=900
    )


def noise(kind: str, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind.removeprefix("image/"))
    return buffer.getvalue()


def change_a_number(notebook: NotebookNode) -> None:
    """Replace the first digit that a cell printed by another one."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and re.search(r"\d", output.text):
                output.text = re.sub(
                    r"\d", lambda digit: str((int(digit.group()) + 1) % 10), output.text, count=1
                )
                return
    raise AssertionError("no cell prints a number")


def empty_the_outputs(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []


def forget_the_execution(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def swap_a_picture(notebook: NotebookNode) -> None:
    """Put noise of the same size in the place of the first picture."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in ("image/png", "image/jpeg"):
                if kind in output.get("data", {}):
                    size = Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).size
                    output.data[kind] = base64.b64encode(noise(kind, size)).decode()
                    return
    raise AssertionError("no cell shows a picture")


def drop_a_picture(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                del output.data["image/png"]
                return


def swap_a_picture_in_html(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            if "base64," in html:
                encoded = base64.b64encode(noise("image/png", (64, 64))).decode()
                output.data["text/html"] = re.sub(r"base64,[^\"]+", f"base64,{encoded}", html)
                return


def change_the_html(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = output.data["text/html"].replace("step 7", "step 8")


def beginning(notebook: NotebookNode) -> NotebookNode:
    """A chapter up to the second cell of code behind its first picture."""
    codes = [number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    first = next(
        place
        for place, number in enumerate(codes)
        if any("image/png" in output.get("data", {}) for output in notebook.cells[number].outputs)
    )
    notebook.cells = notebook.cells[: codes[first + 2] + 1]
    return notebook


def spoil_a_number_and_a_picture(notebook: NotebookNode) -> None:
    change_a_number(notebook)
    swap_a_picture(notebook)


def untouched(notebook: NotebookNode) -> None:
    """The copy to compare with."""


FAULTS = {
    change_a_number: "Cell outputs differ",
    empty_the_outputs: "nothing to compare with",
    forget_the_execution: "nothing to compare with",
    swap_a_picture: "differ by",
    drop_a_picture: "stores 0 pictures",
    swap_a_picture_in_html: "differ by",
    change_the_html: "Cell outputs differ",
}
CHAPTER_FAULTS = (spoil_a_number_and_a_picture, empty_the_outputs)


@dataclass
class Cells:
    """What became of a notebook's cells.

    Attributes:
        passed: how many agreed with what is stored.
        said: of each that did not, or of the notebook that was refused, the report.
    """

    passed: int = 0
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chapter, made as `make run` makes a real one."""
    book = room(tmp_path_factory.mktemp("tiny"))
    (book / "text" / "01_tiny.md").write_text(TWIN, encoding="utf-8")
    tool = [sys.executable, str(ROOT / "tools" / "run_book.py"), "--book", str(book)]
    subprocess.run(tool, check=True, capture_output=True, text=True, timeout=300)
    return book / "01_tiny.ipynb"


@pytest.fixture(scope="module")
def cells(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cells]:
    """What one run says of all copies, whole and spoilt: each name's cells."""
    folder = tmp_path_factory.mktemp("spoilt")
    book = room(folder)
    changes: list[tuple[str, Path, Change]] = [
        *(("tiny", tiny, change) for change in (untouched, *FAULTS)),
        *(("chapter", CHAPTERS[1], change) for change in CHAPTER_FAULTS),
    ]
    for kind, original, change in changes:
        notebook = nbformat.read(original, as_version=4)
        if kind == "chapter":
            notebook = beginning(notebook)
        change(notebook)
        nbformat.write(notebook, book / f"{kind}-{change.__name__}.ipynb")
    result = nbval(folder, "--continue-on-collection-errors", "--junitxml=report.xml")
    assert result.returncode == 1, result.stdout
    found: dict[str, Cells] = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        (name,) = re.findall(
            r"((?:tiny|chapter)-\w+)", case.get("classname", "") + case.get("name", "")
        )
        of = found.setdefault(name, Cells())
        faults = [*case.iter("failure"), *case.iter("error")]
        of.said += [fault.text or "" for fault in faults]
        of.passed += not faults
    return found


def test_an_untouched_copy_passes(cells: dict[str, Cells]) -> None:
    assert cells["tiny-untouched"] == Cells(passed=4)


def test_two_processes_share_the_notebooks_and_not_the_cells_of_one(
    tiny: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny, room(tmp_path))
    result = nbval(tmp_path, "-n", "2")
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


@pytest.mark.parametrize(("change", "says"), FAULTS.items())
def test_a_spoilt_copy_fails(cells: dict[str, Cells], change: Change, says: str) -> None:
    (said,) = cells[f"tiny-{change.__name__}"].said
    assert says in said


def test_a_spoilt_chapter_fails_in_the_spoilt_cells_alone(cells: dict[str, Cells]) -> None:
    found = cells["chapter-spoil_a_number_and_a_picture"]
    # One when number and picture stand under one cell.
    assert len(found.said) in (1, 2)
    assert found.passed > 2
    assert "Cell outputs differ" in found.said[0]


def test_an_emptied_chapter_fails(cells: dict[str, Cells]) -> None:
    found = cells["chapter-empty_the_outputs"]
    assert found.passed == 0
    assert "nothing to compare with" in found.said[0]
