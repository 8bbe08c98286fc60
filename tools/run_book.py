"""Make the notebooks from their text twins: build, execute, store the outputs.

    python tools/run_book.py          every chapter, in order
    python tools/run_book.py 02 03    the chapters whose names begin so

book/text/NAME.md is the source; book/NAME.ipynb is the same notebook with its outputs. A
notebook comes out the same on every machine: no time stamps, no versions, ids made from what
the cells say. README.md's table of the chapters is written from _toc.yml and their titles, and
book/status.md from the seconds measured.
"""

import argparse
import hashlib
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from book_status import measured, record

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What Jupyter needs to colour and export the code, without the version of the machine's Python.
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def stable_ids(notebook: NotebookNode) -> None:
    """Give each cell an id made from its text: an edit changes the id of that cell alone."""
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def read_twin(twin: Path) -> NotebookNode:
    """Build the notebook that a text twin describes, without outputs."""
    notebook = jupytext.read(twin, fmt="md:myst")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    stable_ids(notebook)
    return notebook


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what one stream wrote in pieces: where the pieces break depends on timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def tidy(notebook: NotebookNode) -> None:
    """Drop what changes from run to run or from machine to machine."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data.pop("image/jpeg", None)  # PIL offers every picture twice


def complaints(notebook: NotebookNode) -> list[str]:
    """Say which cells wrote to stderr: a progress bar or a warning has no place on a page."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                first = cell.source.strip().splitlines()[0]
                found.append(f"the cell '{first}' writes to stderr: {output.text.strip()[:300]}")
    return found


def execute(notebook: NotebookNode, folder: Path, timeout: float) -> None:
    """Run all cells in a fresh kernel whose working directory is the folder."""
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()


def title_of(notebook: NotebookNode) -> str:
    """A chapter's title."""
    return next(
        cell.source.splitlines()[0].removeprefix("# ")
        for cell in notebook.cells
        if cell.source.startswith("# ") and cell.cell_type == "markdown"
    )


def run_chapter(
    twin: Path, folder: Path, timeout: float
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Execute one chapter and store it; give the complaints about it, and what it took."""
    notebook = read_twin(twin)
    start = time.perf_counter()
    try:
        execute(notebook, folder, timeout)
    except CellExecutionError as error:
        return [f"{twin.stem} failed and was not stored:\n{error}"], {}
    seconds = time.perf_counter() - start
    print(f"{twin.stem}: {seconds:.1f} s", flush=True)
    tidy(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, folder / f"{twin.stem}.ipynb")
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    taken = {twin.stem: measured(title_of(notebook), cells, seconds)}
    return [f"{twin.stem}: {sentence}" for sentence in complaints(notebook)], taken


def with_chapters(readme: str, root: Path = ROOT) -> str:
    """README.md's text with the table of the chapters as they are now, each with its Colab link."""
    repository = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    pages = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["chapters"]
    site = repository["url"].removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{site}/blob/{repository['branch']}"
    rows = ["| chapter | |", "|---|---|"]
    for page in pages:
        notebook = f"{page['file']}.ipynb"
        twin = root / "book" / "text" / f"{Path(page['file']).name}.md"
        if twin.exists():
            title = title_of(jupytext.read(twin, fmt="md:myst"))
            number = twin.name.partition("_")[0]
            said = f"{int(number)}. " if number.isdigit() else ""
            rows.append(f"| {said}[{title}]({notebook}) | [Colab]({colab}/{notebook}) |")
    table = "\n".join(rows)
    return re.sub(r"\| chapter \|.*?(?=\n\n)", lambda _: table, readme, count=1, flags=re.DOTALL)


def main() -> int:
    """Run the chapters that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("chapters", nargs="*", help="beginnings of names, such as 02; default: all")
    parser.add_argument("--book", type=Path, default=BOOK, help="folder of the notebooks")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a cell may take")
    options = parser.parse_args()

    # What the book shows is made from the small models, with nothing fetched.
    os.environ["COMPANION_PROFILE"] = "small"
    os.environ["HF_HUB_OFFLINE"] = "1"

    wanted = tuple(options.chapters) or ("",)
    twins = sorted(t for t in (options.book / "text").glob("*.md") if t.stem.startswith(wanted))
    if not twins:
        print(f"no text twin in {options.book / 'text'} begins with {wanted}", file=sys.stderr)
        return 1
    found: list[str] = []
    runs: dict[str, dict[str, Any]] = {}
    for twin in twins:
        sentences, taken = run_chapter(twin, options.book, options.timeout)
        found += sentences
        runs |= taken
    record(options.book, runs)
    if options.book == BOOK:
        readme = ROOT / "README.md"
        readme.write_text(with_chapters(readme.read_text(encoding="utf-8")), encoding="utf-8")
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
