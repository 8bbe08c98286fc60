"""Ask other hosts whether what the book and the repository's pages link to is still there.

    python tools/linkcheck.py

Sphinx's link checker does the asking: it tries again, waits where a host says "too many requests",
and looks for anchors. Links inside the book are followed by the tests, without a network.
"""

import ast
import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = ("*.md", ".github/**/*.md", "book/**/*.md", "src/companion/**/*.md", "benchmarks/**/*.md")
# This machine's, and those that stand for any host.
NOBODYS = re.compile(r"^(localhost|127\.|10\.|192\.168\.)|\.?example(\.\w+)?$|^[^.]*$")
CONFIGURATION = """\
project = "links"
linkcheck_timeout = 30
linkcheck_retries = 2
linkcheck_workers = 8
linkcheck_rate_limit_timeout = 120
# These pages make their anchors with scripts, or answer a program with "forbidden".
linkcheck_anchors_ignore_for_url = [r"https://github\\.com/.*", r"https://huggingface\\.co/.*"]
linkcheck_report_timeouts_as_broken = True
"""


def markdown_links(text: str) -> Iterator[str]:
    """The links of a Markdown text, also bare ones; what stands in code is none."""
    parser = MarkdownIt("commonmark", {"linkify": True}).enable("linkify").enable("table")
    for block in parser.parse(text):
        for token in block.children or []:
            if token.type == "link_open":
                yield str(token.attrs["href"])


def docstring_links(source: str) -> Iterator[str]:
    """The addresses in the docstrings of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for found in re.findall(r"https?://[^\s`'\"<>)]+", ast.get_docstring(node) or ""):
                yield found.rstrip(".,;:")


def outside_links(root: Path = ROOT) -> dict[str, list[str]]:
    """Each address of another host, with the files that link to it."""
    found: dict[str, set[str]] = defaultdict(set)

    def note(path: Path, links: Iterable[str]) -> None:
        for link in links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https") and not NOBODYS.search(parts.hostname or ""):
                found[link].add(path.relative_to(root).as_posix())

    for pattern in WRITTEN:
        for path in root.glob(pattern):
            note(path, markdown_links(path.read_text(encoding="utf-8")))
    for path in (root / "src").rglob("*.py"):
        note(path, docstring_links(path.read_text(encoding="utf-8")))
    return {link: sorted(files) for link, files in sorted(found.items())}


def reachable(host: str) -> bool:
    """Whether the host answers at all, whatever it says."""
    try:
        urllib.request.urlopen(f"https://{host}/", timeout=15).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def check(links: Iterable[str]) -> list[dict[str, str]]:
    """What Sphinx says of each link: its `uri`, `status` and `info`."""
    with tempfile.TemporaryDirectory() as folder:
        pages, output = Path(folder, "pages"), Path(folder, "output")
        pages.mkdir()
        (pages / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
        lines = [f"* `{number} <{link}>`__" for number, link in enumerate(links)]
        page = "\n".join(["Links", "=====", "", *lines, ""])
        (pages / "index.rst").write_text(page, encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "linkcheck", str(pages), str(output)]
        subprocess.run(command, check=False, capture_output=True)
        text = (output / "output.json").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def main() -> int:
    """Check all links and say what was found."""
    links = outside_links()
    hosts = Counter(urlsplit(link).hostname or "" for link in links)
    if not any(reachable(host) for host, _ in hosts.most_common(3)):
        print(f"No network here: {len(links)} links to {len(hosts)} other hosts were not followed.")
        return 0
    answers = check(links)
    for answer in answers:
        if answer["status"] in ("broken", "timeout"):
            print(f"{answer['uri']}: {answer['info']}", file=sys.stderr)
            print(f"  in {', '.join(links.get(answer['uri'], []))}", file=sys.stderr)
    counted = Counter(answer["status"] for answer in answers)
    said = ", ".join(f"{count} {status}" for status, count in counted.most_common())
    print(f"{len(links)} links to {len(hosts)} other hosts: {said}.")
    return 1 if counted["broken"] or counted["timeout"] else 0


if __name__ == "__main__":
    sys.exit(main())
