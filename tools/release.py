"""What a release asks of the repository; .github/workflows/release.yml runs it.

    python tools/release.py check v0.2.0   the tag, the package and CHANGELOG.md name one version
    python tools/release.py notes          the newest version's part of CHANGELOG.md

Needs Python's standard library only.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE)


def package_version(root: Path = ROOT) -> str:
    """The version that the package says it is, without importing it."""
    text = (root / "src" / "companion" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if not found:
        raise SystemExit("src/companion/__init__.py has no line: __version__ = ...")
    return found[1]


def released(changelog: str) -> list[tuple[str, str, str]]:
    """The versions of the changelog, newest first: number, date, and what is said of each."""
    pieces = HEADING.split(changelog)[1:]
    return [
        (number, date, text.partition("\n[Unreleased]:")[0].strip())
        for number, date, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)
    ]


def complaint(tag: str, version: str, changelog: str) -> str | None:
    """Say in a sentence why the tag cannot be released, or None when it can."""
    if tag != f"v{version}":
        return f"The tag is {tag}, but the package is {version}: tag v{version}."
    numbers = [number for number, _, _ in released(changelog)]
    if numbers[:1] != [version]:
        newest = numbers[0] if numbers else "none"
        return f"The package is {version}, but the newest version of CHANGELOG.md is {newest}."
    return None


def main() -> int:
    """Do what the command line asks."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    match sys.argv[1:]:
        case ["check", tag]:
            found = complaint(tag, package_version(), changelog)
            if found:
                print(found, file=sys.stderr)
            return 1 if found else 0
        case ["notes"]:
            print(released(changelog)[0][2])
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
