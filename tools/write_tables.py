"""Write the tables of the pages from `benchmarks/results`, between their marks.

    python tools/write_tables.py            # make tables
    python tools/write_tables.py --check    # change nothing; the status is 1 where one is not right

A table stands in a page between `<!-- table NAME -->` and `<!-- end of table NAME -->`; the names
are those of `benchmarks/lib/tables.py`. Sentences that say a figure are listed in
`benchmarks/sentences.toml`, and their figures are written too.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from lib.results import Results  # noqa: E402
from lib.sentences import sentences  # noqa: E402
from lib.tables import TABLES, all_results  # noqa: E402

MARKED = re.compile(
    r"<!-- table (?P<name>[\w-]+) -->\n(?P<text>.*?)<!-- end of table (?P=name) -->", re.DOTALL
)


def pages() -> list[Path]:
    """Those that may hold tables; the notebooks follow from their texts."""
    here = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
    return [
        *here,
        *sorted((ROOT / "book").glob("*.md")),
        *sorted((ROOT / "book/text").glob("*.md")),
    ]


def written(text: str, page: str, results: dict[str, Results]) -> str:
    """The text of a page with its tables and sentences as the results have them.

    Args:
        text: of the page.
        page: its path in the repository.
        results: by device.

    Raises:
        ValueError: a table that does not exist, or a sentence that the page does not have.
    """

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in TABLES:
            raise ValueError(f"{page} asks for the table {name!r}, which there is not.")
        return f"<!-- table {name} -->\n\n{TABLES[name](results)}\n\n<!-- end of table {name} -->"

    text = MARKED.sub(table, text)
    for sentence in sentences():
        if sentence.page == page:
            text = sentence.written(text, results)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or say which are not right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    results = all_results()
    changed = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT).as_posix()
        after = written(before, name, results)
        if after != before:
            changed.append(name)
            if not options.check:
                page.write_text(after, encoding="utf-8")
    if changed:
        print(f"{'not as measured' if options.check else 'written'}: {', '.join(changed)}")
    else:
        print("all tables are as measured")
    return 1 if changed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
