"""The repository's address is one setting in _config.yml, and all else agrees with it."""

import re
import tomllib
from pathlib import Path

from chapters import (
    CHAPTERS,
    CONFIG,
    NOTEBOOKS,
    REPOSITORY,
    ROOT,
    code_cells,
    source_of,
    toc_entries,
    tracked_files,
)

from run_book import with_chapters

NAME = REPOSITORY.rsplit("/", 1)[1]
TEXT = {".md", ".ipynb", ".py", ".toml", ".yml", ".yaml", ".cff", ".cfg", ".txt", ""}
# https://github.com/OWNER/NAME, git+https://..., and Colab's .../github/OWNER/NAME/blob/...
ADDRESS = re.compile(rf"(?:github\.com|/github)/([\w.-]+)/({re.escape(NAME)})\b")


def test_the_address_is_one_that_the_buttons_can_use() -> None:
    assert re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", REPOSITORY)
    assert CONFIG["repository"]["path_to_book"] == ""
    assert CONFIG["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
    # jupyter-book drops the launch buttons when html_theme_options is set without it.
    assert CONFIG["sphinx"]["recursive_update"] is True


def test_no_file_names_another_address() -> None:
    owner = REPOSITORY.split("/")[-2]
    wrong = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in tracked_files()
        if path.suffix in TEXT and path.is_file()
        for found in ADDRESS.finditer(path.read_text(encoding="utf-8", errors="ignore"))
        if found[1] != owner
    ]
    assert not wrong


def test_the_packages_page_and_the_citation_name_the_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    branch, (owner, site) = CONFIG["repository"]["branch"], REPOSITORY.rsplit("/", 2)[1:]
    assert project["urls"] == {
        "Repository": REPOSITORY,
        "Documentation": f"https://{owner}.github.io/{site}/",
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{REPOSITORY}/blob/{branch}/CHANGELOG.md",
    }
    for name in ("CITATION.cff", "CHANGELOG.md", ".github/ISSUE_TEMPLATE/config.yml"):
        assert REPOSITORY in (ROOT / name).read_text(encoding="utf-8"), name


def test_readme_and_notebooks_name_the_address() -> None:
    assert REPOSITORY in (ROOT / "README.md").read_text()
    assert REPOSITORY in (ROOT / "CONTRIBUTING.md").read_text()
    assert REPOSITORY in source_of(toc_entries()[0]).read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f'"{REPOSITORY}"' in code_cells(path)[0].source, f"install cell of {path.name}"


def test_readme_lists_the_chapters_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_chapters(readme) == readme, "run `make run`"


def test_readme_links_each_chapter_on_colab() -> None:
    readme = (ROOT / "README.md").read_text()
    branch = CONFIG["repository"]["branch"]
    site = REPOSITORY.removeprefix("https://github.com/")
    base = f"https://colab.research.google.com/github/{site}/blob/{branch}/book"
    for path in CHAPTERS:
        assert f"{base}/{path.name}" in readme, f"README.md has no Colab link to {path.name}"
    for name in re.findall(rf"{re.escape(base)}/([\w.]+)", readme):
        assert (Path(ROOT) / "book" / name).exists(), f"README.md links {name}, which is not there"
