"""Make the book's PDF: all pages in one, printed by Chromium.

    python tools/make_pdf.py
    python tools/make_pdf.py --chromium google-chrome

The API reference stays on the web: it is there to be searched, not read. Folded cells are opened,
of a slider some states stand side by side, and the outline has the chapters. Writes
_build/diffusers-by-hand.pdf.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / "pdf"
PDF = ROOT / "_build" / "diffusers-by-hand.pdf"
ON_THE_WEB_ONLY = "book/api/index"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
# How many states of a slider are printed: the first, the last, and those between.
STATES = 6
# Lines of code that stay on one page; longer code may go over two.
SHORT = 24
# Beside the pages' own book/_static/print.css: a chapter begins a page.
STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm;
  @bottom-center { content: counter(page); font-size: 9pt; } }
html { font-size: 13px; print-color-adjust: exact; }
td:first-child { min-width: 30mm; }
.toctree-wrapper > section { break-before: page; }
"""


def build() -> Path:
    """All pages of the book in one, and where it lies."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    contents["chapters"] = [
        page for page in contents["chapters"] if page["file"] != ON_THE_WEB_ONLY
    ]
    toc = FOLDER / "_toc.yml"
    toc.write_text(yaml.safe_dump(contents), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(ROOT)]
    command += ["--path-output", str(FOLDER), "--toc", str(toc), "--builder", "singlehtml"]
    subprocess.run([*command, "-n", "-W", "--keep-going", "--quiet"], check=True)
    # Its links begin at the folder above: singlehtml takes the first page to lie there.
    site = FOLDER / "_build" / "singlehtml"
    return (site / f"{contents['root']}.html").rename(site / "book.html")


def put_chapters_last(page: BeautifulSoup) -> None:
    """Take the chapters out of the first page, where a list of them takes their place, and put them
    behind it, with headings of their own rank."""
    chapters = page.select_one("article div.toctree-wrapper")
    assert chapters
    assert page.article
    headings = chapters.find_all(["h2", "h3", "h4", "h5", "h6"])
    below = int(headings[0].name[1]) - 1  # how deep in the first page the chapters stand
    for heading in headings:
        heading.name = f"h{int(heading.name[1]) - below}"
    titles = page.new_tag("ul")
    for chapter in chapters.find_all("section", recursive=False):
        link = page.new_tag("a", href=f"#{chapter['id']}")
        assert chapter.h1
        link.string = chapter.h1.get_text().removesuffix("#")
        line = page.new_tag("li")
        line.append(link)
        titles.append(line)
    chapters.replace_with(titles)
    page.article.append(chapters)


def mark(tag: Tag, name: str) -> None:
    """Give a tag one more class."""
    tag["class"] = " ".join([*tag.get_attribute_list("class"), name])


def choose_states(page: BeautifulSoup) -> None:
    """Keep some states of each slider, side by side, and of an explorer its sheet: as where no
    script runs."""
    for slider in page.select(".companion-scrubber"):
        frames = slider.select(".frame")
        last = min(len(frames), STATES) - 1
        chosen = {round(i * (len(frames) - 1) / max(last, 1)) for i in range(last + 1)}
        for number, frame in enumerate(frames):
            if number in chosen:
                mark(frame, "printed")
            else:
                frame.decompose()
    for script in page.select(".companion-scrubber ~ script, .companion-explorer ~ script"):
        script.decompose()


def for_paper(html: str) -> str:
    """The page as it is printed: everything unfolded, nothing that only a screen has use for."""
    page = BeautifulSoup(html, "html.parser")
    put_chapters_last(page)
    for fold in page.find_all("details"):
        fold["open"] = ""
    choose_states(page)
    for code in page.select("div.highlight"):
        if code.get_text().strip().count("\n") < SHORT:
            mark(code.find_parent(class_="cell_input") or code, "whole")
    for script in page.find_all("script", src=True):
        if not re.search(r"katex|formulas\.js", str(script["src"])):
            script.decompose()
    assert page.html
    assert page.head
    page.html["data-theme"] = "light"
    style = page.new_tag("style")
    style.string = STYLE
    page.head.append(style)
    return str(page)


def find_chromium(wanted: str | None) -> str:
    """The browser's program."""
    for name in [wanted] if wanted else CHROMIUM:
        if found := shutil.which(name):
            return found
    raise SystemExit(
        f"No {wanted or 'Chromium'} found to print the PDF with: install it (Debian, Ubuntu: "
        "apt install chromium), or name one: make pdf CHROMIUM=/path/to/chrome"
    )


def print_page(chromium: str, page: Path, pdf: Path) -> None:
    """Print a page once its formulas are drawn."""
    # The browser's own files and the print are in a plain folder: it needs no home, and no path has
    # letters that the locale may not know.
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder, "page.pdf")
        # No sandbox: in a container Chromium has no rights to make one, and the page is our own.
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-pdf-header-footer",
        ]
        command += ["--generate-pdf-document-outline", "--virtual-time-budget=120000"]
        command += [f"--user-data-dir={folder}", f"--print-to-pdf={printed}", page.as_uri()]
        run = subprocess.run(command, capture_output=True, check=False, timeout=600)
        if not printed.is_file():
            said = run.stderr.decode(errors="replace")[-2000:]
            raise SystemExit(f"{chromium} printed nothing:\n{said}")
        shutil.copyfile(printed, pdf)


def main() -> None:
    """Build the page and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--chromium", help="the browser's program; by default it is looked for")
    chromium = find_chromium(parser.parse_args().chromium)
    page = build()
    page.write_text(for_paper(page.read_text(encoding="utf-8")), encoding="utf-8")
    print_page(chromium, page, PDF)
    print(PDF.relative_to(ROOT))


if __name__ == "__main__":
    main()
