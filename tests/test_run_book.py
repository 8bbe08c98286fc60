"""tools/run_book.py: one text gives one notebook, and faults are not stored in silence."""

import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

import run_book

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
HEAD = "---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"


def cell(code: str) -> str:
    return f"```{{code-cell}} ipython3\n{code}\n```\n\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "text").mkdir()
    return tmp_path


@pytest.fixture
def run(book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the tool's `main`: run("02"); its status, what it printed, what it complained about.
    `test_net_is_tight.py` types the command."""
    for name in ("COMPANION_PROFILE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")  # so that the end of the test puts them back

    def main(*names: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["run_book.py", "--book", str(book), *names])
        status = run_book.main()
        return status, *capsys.readouterr()

    return main


def write(book: Path, name: str, *codes: str) -> Path:
    text = HEAD + f"# {name}\n\n" + "".join(map(cell, codes))
    (book / "text" / f"{name}.md").write_text(text)
    return book / f"{name}.ipynb"


def test_two_runs_give_the_same_bytes_and_an_edit_changes_one_id(book: Path, run: Run) -> None:
    path = write(book, "01_a", "x = 1", "print(x)\nprint(x + 1)", "x")
    assert run()[0] == 0
    first = path.read_bytes()
    run()
    assert path.read_bytes() == first
    before = nbformat.reads(first.decode(), as_version=4)
    assert "version" not in before.metadata.language_info
    assert [c.get("execution_count") for c in before.cells] == [None, 1, 2, 3]
    assert [o.text for o in before.cells[2].outputs] == ["1\n2\n"]

    write(book, "01_a", "x = 1", "y = 5", "print(x)\nprint(x + 1)", "x")
    run()
    after = nbformat.read(path, as_version=4)
    ids = [c.id for c in after.cells]
    assert ids[:2] + ids[3:] == [c.id for c in before.cells]


def test_one_chapter_is_run_by_the_beginning_of_its_name_and_its_seconds_are_printed(
    book: Path, run: Run
) -> None:
    first, second = write(book, "01_a", "print(1)"), write(book, "02_b", "print(2)")
    _, printed, _ = run("02")
    assert not first.exists()
    assert second.exists()
    assert printed.startswith("02_b: ")
    assert printed.strip().endswith(" s")
    assert run("07")[0] == 1


def test_a_picture_is_stored_once_and_the_cell_runs_beside_the_notebook(
    book: Path, run: Run
) -> None:
    (book / "here.txt").write_text("beside")
    draw = "from PIL import Image\nImage.new('RGB', (8, 8), open('here.txt').read() and 'red')"
    path = write(book, "01_a", draw)
    assert run()[0] == 0
    (output,) = nbformat.read(path, as_version=4).cells[1].outputs
    assert "image/png" in output.data
    assert "image/jpeg" not in output.data


def test_stderr_is_a_fault(book: Path, run: Run) -> None:
    write(book, "01_a", "import sys\nprint('50%|###   |', file=sys.stderr)")
    status, _, complaints = run()
    assert status == 1
    assert "01_a: the cell 'import sys' writes to stderr" in complaints


def test_a_cell_that_fails_is_said_and_nothing_is_stored(book: Path, run: Run) -> None:
    path = write(book, "01_a", "1 / 0")
    status, _, complaints = run()
    assert status == 1
    assert "ZeroDivisionError" in complaints
    assert not path.exists()
