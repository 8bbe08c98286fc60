"""One version everywhere: the package, the changelog, the citation, and the tag of a release."""

import datetime
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import companion
from release import complaint, package_version, released

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    assert package_version() == companion.__version__
    assert released(CHANGELOG)[0][0] == companion.__version__
    assert complaint(f"v{companion.__version__}", companion.__version__, CHANGELOG) is None


def test_the_changelog_has_its_form() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert len(released(CHANGELOG)) == len(headings) - 1
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= KINDS
    dates = [datetime.date.fromisoformat(date) for _, date, _ in released(CHANGELOG)]
    assert dates == sorted(dates, reverse=True)
    for name in ["Unreleased", *(number for number, _, _ in released(CHANGELOG))]:
        assert re.search(rf"^\[{re.escape(name)}\]: https://", CHANGELOG, re.MULTILINE), name


@pytest.mark.parametrize(
    ("tag", "version", "sentence"),
    [
        ("v9.9.9", "0.2.0", "The tag is v9.9.9, but the package is 0.2.0: tag v0.2.0."),
        ("0.2.0", "0.2.0", "The tag is 0.2.0, but the package is 0.2.0: tag v0.2.0."),
        (
            "v9.9.9",
            "9.9.9",
            "The package is 9.9.9, but the newest version of CHANGELOG.md is 1.0.0.",
        ),
    ],
)
def test_a_tag_that_fits_nothing_is_not_released(tag: str, version: str, sentence: str) -> None:
    changelog = "## [Unreleased]\n\n## [1.0.0] - 2026-01-01\n\nx\n"
    assert complaint(tag, version, changelog) == sentence


def test_the_notes_of_a_release_are_its_part_of_the_changelog() -> None:
    changelog = "## [Unreleased]\n\nnew\n\n## [1.0.0] - 2026-01-02\n\n### Added\n\n- a\n"
    changelog += "\n## [0.9.0] - 2026-01-01\n\nold\n\n[Unreleased]: https://x\n"
    assert released(changelog) == [
        ("1.0.0", "2026-01-02", "### Added\n\n- a"),
        ("0.9.0", "2026-01-01", "old"),
    ]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    required = {"cff-version", "title", "message", "authors"}  # by the format's schema, 1.2.0
    assert required <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == companion.__version__
    assert str(citation["date-released"]) == released(CHANGELOG)[0][1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in project["authors"]
    ]
