"""What a `pip install` brings."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import companion

ROOT = Path(__file__).resolve().parents[1]


PYPI_TAKES = 100 * 1000**2  # bytes a file, unless one asks for more


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=600)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_pypi_takes_the_wheel(wheel: Path) -> None:
    assert wheel.stat().st_size < PYPI_TAKES


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    held = {i.filename: i.file_size for i in zipfile.ZipFile(wheel).infolist()}
    source = ROOT / "src"
    files = {
        p.relative_to(source).as_posix(): p.stat().st_size
        for p in (source / "companion").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    missing = {name: size for name, size in files.items() if held.get(name) != size}
    assert not missing, f"not in the wheel, or another size: {missing}"
    assert not [name for name in held if name.startswith(("tests", "book"))]
    assert any(name.endswith("licenses/NOTICE") for name in held)


@pytest.mark.slow
def test_links_of_the_page_on_pypi_lead_to_this_release(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        page = archive.read(name).decode()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert not [link for link in links if not link.startswith(("https:", "#"))]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    site = config["repository"]["url"].removeprefix("https://github.com/")
    (picture,) = (link for link in links if link.endswith(".png"))
    assert picture.startswith(f"https://raw.githubusercontent.com/{site}/v{companion.__version__}/")
    assert f"https://github.com/{site}/blob/v{companion.__version__}/LICENSE" in links


def test_nothing_is_demanded_that_is_not_imported() -> None:
    """Two are by others: accelerate imports tensorboard for the tracker that `log_with` names by
    default, Diffusers peft for a LoRA."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=]", requirement)[0].replace("-", "_")
        if name not in ("tensorboard", "peft"):
            module = "PIL" if name == "pillow" else name
            assert re.search(rf"^\s*(?:import|from) {module}\b", sources, re.MULTILINE), name


def test_there_is_one_list_of_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, listed = environment["dependencies"]
    assert python.startswith("python=3.")
    assert pip == "pip"
    assert listed == {"pip": ["-c constraints.txt", "-e .[book,daam,test]"]}


def test_constraints_name_every_dependency_of_the_declaration() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["book"], *extras["daam"], *extras["test"]]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    names = {requirement.split(">")[0].split("=")[0].strip().lower() for requirement in asked}
    assert {name.replace("_", "-") for name in names} <= pinned
    assert "torch==2.13.0" in lines
    assert not [line for line in lines if line.startswith("torchvision")]
