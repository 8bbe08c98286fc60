"""What is true of every notebook, its twin, order, outputs and pictures, and of every chapter."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup
from chapters import (
    BOOK,
    NOTEBOOKS,
    REPOSITORY,
    ROOT,
    TWINS,
    code_cells,
    every_chapter,
    every_notebook,
    is_chapter,
    read_notebook,
    read_twin,
    texts_of,
    toc_entries,
)

import companion

# What must not stand in an output, and why.
FORBIDDEN = {
    # An absolute path of two parts or more; what stands behind a host or in a tag is none.
    "a path of somebody's machine": re.compile(
        r"(?<![\w.:/<])/(?:[\w.-]+/)+[\w.-]+|(?<![\w.:/])/(?:home|root|tmp|Users)\b|\b[A-Z]:\\\w"
        r"|site-packages|dist-packages|\.venv/"
    ),
    "a token": re.compile(r"\bhf_[A-Za-z0-9]{8,}|\bgh[pousr]_[A-Za-z0-9]{16,}|Bearer [A-Za-z0-9]"),
    "a warning": re.compile(r"\b[A-Z]\w*Warning\b|\bWARNING\b|\bdeprecated\b"),
    "a traceback": re.compile(r"Traceback \(most recent call last\)"),
    "a progress bar": re.compile(r"\d+%\|.*\||\bit/s\b|\bs/it\b|\r(?!\n)|[█▏▎▍▌▋▊▉]"),
    "a memory address": re.compile(r"\b(?:at|object) 0x[0-9a-f]{6,}"),
    "colour codes of a terminal": re.compile(r"\x1b\["),
    "a widget": re.compile(r"jupyter-widgets|application/vnd\.jupyter\.widget"),
}
# Tags and comments that take a cell out of the comparison.
HOLES = ("nbval-skip", "nbval-ignore-output", "skip-execution")
HOLE_COMMENTS = re.compile(r"#\s*(?:NBVAL_SKIP|NBVAL_IGNORE_OUTPUT|PYTEST_VALIDATE_IGNORE_OUTPUT)")


def may_raise(cell: dict) -> bool:
    """Some cells show an error on purpose, and say so."""
    return "raises-exception" in cell.metadata.get("tags", [])


def test_pages_of_the_toc_exist_and_no_notebook_is_left_out() -> None:
    entries = toc_entries()
    missing = [
        e for e in entries if not any((ROOT / f"{e}{s}").exists() for s in (".ipynb", ".md"))
    ]
    assert not missing, f"_toc.yml names pages that are not there: {missing}"
    left_out = [p.stem for p in NOTEBOOKS if f"book/{p.stem}" not in entries]
    assert not left_out, f"_toc.yml does not name {left_out}"


def test_every_text_twin_has_its_notebook_and_the_other_way_round() -> None:
    assert [t.stem for t in TWINS] == [n.stem for n in NOTEBOOKS], "run `make run`"


@every_notebook
def test_notebook_and_text_twin_are_the_same(path: Path) -> None:
    notebook, twin = read_notebook(path), read_twin(path)
    ours = [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]
    theirs = [(cell.cell_type, cell.source, dict(cell.metadata)) for cell in twin.cells]
    for number, (cell, other) in enumerate(zip(ours, theirs, strict=False)):
        assert cell == other, f"cell {number} of {path.name} is not that of its twin: `make run`"
    assert len(ours) == len(theirs)
    assert notebook.metadata.kernelspec.name == twin.metadata.kernelspec.name == "python3"


@every_notebook
def test_cells_were_executed_in_order(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)


@every_notebook
def test_notebook_carries_nothing_of_the_machine(path: Path) -> None:
    notebook = read_notebook(path)
    assert "version" not in notebook.metadata.language_info
    assert not [cell.id for cell in notebook.cells if "execution" in cell.metadata]
    assert "widgets" not in notebook.metadata


@every_notebook
def test_outputs_are_clean(path: Path) -> None:
    for number, cell in enumerate(code_cells(path)):
        for output in cell.outputs:
            where = f"{path.name}, code cell {number}"
            assert output.output_type != "error" or may_raise(cell), f"{where} failed"
            for kind, text in texts_of(output):
                assert kind != "stderr", f"{where} writes to stderr: {text[:200]}"
                if kind == "error":
                    continue  # the page of a cell that raises on purpose shows its frames
                for what, pattern in FORBIDDEN.items():
                    found = pattern.search(text)
                    assert not found, f"{where} shows {what}: {found.group()!r} in {kind}"


@every_notebook
def test_no_cell_escapes_the_comparison(path: Path) -> None:
    for number, cell in enumerate(code_cells(path)):
        tags = cell.metadata.get("tags", [])
        assert not set(HOLES) & set(tags), f"{path.name}, code cell {number}: {tags}"
        assert not HOLE_COMMENTS.search(cell.source), f"{path.name}, code cell {number}"


@every_notebook
def test_pictures_have_caption_and_alternative_text(path: Path) -> None:
    for number, cell in enumerate(code_cells(path)):
        where = f"{path.name}, code cell {number}"
        pictures = [o for o in cell.outputs if {"image/png", "image/jpeg"} & set(o.get("data", {}))]
        if pictures:
            settings = cell.metadata.get("mystnb", {})
            alt = settings.get("image", {}).get("alt", "")
            caption = settings.get("figure", {}).get("caption", "")
            assert len(pictures) == 1, (
                f"{where} shows {len(pictures)} pictures, one text cannot fit"
            )
            assert len(alt) >= 10, f"{where} has no mystnb.image.alt that says what is to be seen"
            assert len(caption) >= 10, f"{where} has no mystnb.figure.caption"
        for output in cell.outputs:
            html = BeautifulSoup(output.get("data", {}).get("text/html", ""), "html.parser")
            bare = [i for i in html.find_all("img") if not i.get("alt", "").strip()]
            assert not bare, f"{where} shows an <img> without alternative text"


@every_notebook
def test_pictures_in_the_text_have_alternative_text(path: Path) -> None:
    for number, cell in enumerate(read_notebook(path).cells):
        if cell.cell_type == "markdown":
            bare = re.findall(r"!\[\s*\]\([^)]*\)", cell.source)
            assert not bare, f"{path.name}, cell {number}: {bare}"


@every_notebook
def test_no_word_waits_to_be_filled_in(path: Path) -> None:
    for number, cell in enumerate(read_notebook(path).cells):
        found = re.search(r"\b(?:TODO|TBD|FIXME|XXX|TIME_[A-Z]+)\b", cell.source)
        assert not found, f"{path.name}, cell {number}: {found.group()}"


@every_notebook
def test_first_comes_the_install_cell(path: Path) -> None:
    install = code_cells(path)[0]
    assert install.source.strip() == install_cell(), "the install cell is not CONTRIBUTING.md's"
    tags = {"hide-cell", "remove-output"} if is_chapter(path) else {"remove-cell"}
    assert tags <= set(install.metadata.get("tags", []))
    assert not install.outputs, "the install cell prints nothing here"


@every_chapter
def test_then_come_the_imports_and_the_profile(path: Path) -> None:
    imports = code_cells(path)[1]
    assert re.search(r"^(from|import) ", imports.source, flags=re.MULTILINE)
    assert re.search(r"^p = (?:companion\.)?profile\(\)", imports.source, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("02_manual_loop", True), ("behind_the_firewall", True), ("intro", False), ("zoo", False)],
)
def test_which_notebooks_are_chapters(name: str, is_one: bool) -> None:
    assert is_chapter(BOOK / f"{name}.ipynb") is is_chapter(BOOK / "text" / f"{name}.md") is is_one


def install_cell() -> str:
    """Read the cell that CONTRIBUTING.md tells authors to copy."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(r"<!-- install cell -->\n```python\n(.*?)```", text, flags=re.DOTALL)
    assert found, "CONTRIBUTING.md has no install cell after '<!-- install cell -->'"
    return found[1].strip()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the install cell asks of pip, on Colab, where nothing of ours is installed yet."""
    started: list[list[str]] = []

    def note(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        started.append(arguments)
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter([]))
    monkeypatch.setattr(subprocess, "run", note)
    return started


def installed(monkeypatch: pytest.MonkeyPatch, *versions: str) -> None:
    found = [SimpleNamespace(version=version) for version in versions]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter(found))


def test_install_cell_does_nothing_on_another_machine(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    monkeypatch.setattr("os.path.isdir", lambda _: False)
    exec(install_cell(), {})
    assert not asked
    assert capfd.readouterr() == ("", "")


def test_install_cell_takes_this_release_from_the_index_on_colab(asked: list[list[str]]) -> None:
    exec(install_cell(), {})
    ((*pip, wanted),) = asked
    assert pip == [sys.executable, "-m", "pip", "install", "--quiet"]
    assert wanted == f"diffusers-notes=={companion.__version__}"


def test_install_cell_knows_autodl_by_its_disk(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/root/autodl-tmp")
    exec(install_cell(), {})
    assert len(asked) == 1


def test_install_cell_leaves_this_release_and_replaces_another(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, companion.__version__)
    exec(install_cell(), {})
    assert not asked
    installed(monkeypatch, "0.0.1")
    exec(install_cell(), {})
    assert len(asked) == 1


def test_install_cell_says_what_to_do_where_no_index_has_the_release(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda _: SimpleNamespace(returncode=1))
    source = f"'diffusers-notes @ git+{REPOSITORY}@v{companion.__version__}'"
    with pytest.raises(SystemExit, match=re.escape(f"%pip install {source}")):
        exec(install_cell(), {})


def test_no_built_or_hidden_copy_lies_among_the_notebooks() -> None:
    assert not list(BOOK.glob("text/*.ipynb")), "a notebook lies in book/text: move it to book/"
