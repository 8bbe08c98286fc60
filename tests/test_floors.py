"""The plan of the house: which room may import which, and the picture of it."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import floors

ROOT = Path(__file__).parents[1]
FLOORS = "No room imports a higher one, and no chapter's room another's"


def lint(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of a package, by the contracts in pyproject.toml."""
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    return subprocess.run(
        [sys.executable, "-c", linter, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the package's code, to be spoiled."""
    for file in (ROOT / "src" / "companion").rglob("*.py"):
        copy = tmp_path / file.relative_to(ROOT / "src")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return tmp_path


def test_no_room_imports_a_higher_one_and_no_modules_go_in_a_circle(tmp_path: Path) -> None:
    said = lint(ROOT / "src", tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "Contracts: 3 kept, 0 broken." in said.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("sources.py", "def late() -> None:\n    from companion.hub import fetch", FLOORS),
        ("attention/layers.py", "from companion.autopipeline import draw", FLOORS),
        ("training/ema.py", "from companion import stable_diffusion", "nothing of chapter 3"),
        ("zoo/registry.py", "from .recognise import recognise", "in a circle"),
    ],
)
def test_an_import_that_breaks_the_plan_is_found(
    copied: Path, file: str, line: str, contract: str
) -> None:
    with (copied / "companion" / file).open("a", encoding="utf-8") as code:
        code.write(f"\n{line}\n")
    said = lint(copied, copied)
    assert said.returncode == 1
    assert f"{contract} BROKEN" in said.stdout


def test_imports_are_relative_inside_a_room_and_absolute_between_rooms() -> None:
    package, wrong = ROOT / "src" / "companion", []
    for file in package.rglob("*.py"):
        room = file.relative_to(package).parts[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and file.parent != package:
                depth = len(file.relative_to(package).parts) - 1
                inside = (node.module or "").split(".")[:2] == ["companion", room]
                if inside if node.level == 0 else node.level > depth:
                    wrong.append(f"{file.relative_to(package)}:{node.lineno}")
    assert not wrong


def test_the_picture_of_the_floors_is_the_code_s() -> None:
    assert floors.PICTURE.read_text(encoding="utf-8") == floors.draw(), "run `make floors`"
