"""`pytest --nbval book/` fails when anything stored is wrong: tried on spoilt copies."""

import base64
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from chapters import BOOK, NOTEBOOKS, ROOT
from nbformat import NotebookNode
from PIL import Image

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tiny chapter as `make run` makes a real one."""
    book = room(tmp_path_factory.mktemp("executed"))
    (book / "text" / "01_tiny.md").write_text(TWIN)
    tool = [sys.executable, str(ROOT / "tools" / "run_book.py"), "--book", str(book)]
    subprocess.run(tool, check=True, capture_output=True, text=True, timeout=300)
    return book / "01_tiny.ipynb"


def nbval(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Type `pytest --nbval book/` in a folder."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "book/",
        "-p",
        "no:cacheprovider",
        *options,
    ]
    return subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=900
    )


def spoil(original: Path, folder: Path, change: Callable[[NotebookNode], None]) -> Path:
    """Put a changed copy of a notebook into a folder of its own."""
    notebook = nbformat.read(original, as_version=4)
    change(notebook)
    nbformat.write(notebook, room(folder) / original.name)
    return folder


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


def test_an_untouched_copy_passes(executed: Path, tmp_path: Path) -> None:
    result = nbval(spoil(executed, tmp_path, lambda _: None))
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


def test_two_processes_share_the_notebooks_and_not_the_cells_of_one(
    executed: Path, tmp_path: Path
) -> None:
    result = nbval(spoil(executed, tmp_path, lambda _: None), "-n", "2")
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_a_number, "Cell outputs differ"),
        (empty_the_outputs, "nothing to compare with"),
        (forget_the_execution, "nothing to compare with"),
        (swap_a_picture, "differ by"),
        (drop_a_picture, "stores 0 pictures"),
        (swap_a_picture_in_html, "differ by"),
        (change_the_html, "Cell outputs differ"),
    ],
)
def test_a_spoilt_copy_fails(
    executed: Path, tmp_path: Path, change: Callable[[NotebookNode], None], says: str
) -> None:
    result = nbval(spoil(executed, tmp_path, change))
    assert result.returncode != 0, result.stdout
    assert says in result.stdout


def test_a_spoilt_chapter_fails_in_the_spoilt_cells_alone(tmp_path: Path) -> None:
    def change(notebook: NotebookNode) -> None:
        change_a_number(notebook)
        swap_a_picture(notebook)

    result = nbval(spoil(NOTEBOOKS[0], tmp_path, change))
    failed = re.search(r"(\d+) failed, (\d+) passed", result.stdout)
    assert result.returncode == 1, result.stdout
    assert failed, result.stdout
    assert failed[1] in ("1", "2")  # one when number and picture stand under one cell
    assert int(failed[2]) > 2
    assert "Cell outputs differ" in result.stdout


def test_an_emptied_chapter_fails(tmp_path: Path) -> None:
    result = nbval(spoil(NOTEBOOKS[0], tmp_path, empty_the_outputs))
    assert result.returncode != 0
    assert "nothing to compare with" in result.stdout
