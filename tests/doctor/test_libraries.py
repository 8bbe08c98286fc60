"""Versions against what the book is written for, and imports really tried."""

import importlib.util
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from companion.doctor import Verdict, libraries, torchvision

ROOT = Path(__file__).resolve().parents[2]
Stub = Callable[[str, str], Path]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What is installed, as tested; a test changes it."""
    table: dict[str, str | None] = {r.name: r.tested for r in libraries.requirements().values()}
    monkeypatch.setattr(libraries, "installed", table.get)
    return table


def test_the_table_in_the_package_is_that_of_pyproject_and_constraints() -> None:
    spec = importlib.util.spec_from_file_location("freeze", ROOT / "tools" / "freeze.py")
    assert spec
    assert spec.loader
    freeze = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(freeze)
    declaration = (ROOT / "pyproject.toml").read_text()
    constraints = (ROOT / "constraints.txt").read_text()
    written = libraries.REQUIREMENTS.read_text()
    assert written == freeze.requirements(declaration, constraints), (
        "run `python tools/freeze.py --requirements`"
    )


def test_every_tested_version_is_within_its_range() -> None:
    for requirement in libraries.requirements().values():
        assert SpecifierSet(requirement.range).contains(requirement.tested), requirement


def test_this_environment_fits_the_book() -> None:
    (finding,) = libraries.check_versions()
    assert finding.verdict is Verdict.GOOD
    count = len(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert finding.text.startswith(f"{count} libraries fit the book")


def test_a_missing_library_is_installed_by_the_remedy(versions: dict[str, str | None]) -> None:
    versions["diffusers"] = None
    (finding,) = libraries.check_versions()
    assert finding.verdict is Verdict.PROBLEM
    assert finding.text == "not installed: diffusers"
    assert finding.remedy.endswith("pip install 'diffusers>=0.42,<0.43'")


def test_a_version_outside_the_range_is_a_problem(versions: dict[str, str | None]) -> None:
    versions |= {"diffusers": "0.21.2", "transformers": "4.30.2"}
    (finding,) = libraries.check_versions()
    assert finding.verdict is Verdict.PROBLEM
    assert "diffusers 0.21.2 (needs >=0.42,<0.43)" in finding.text
    assert "transformers 4.30.2 (needs >=5.6,<6)" in finding.text
    assert "'diffusers>=0.42,<0.43' 'transformers>=5.6,<6'" in finding.remedy


def test_another_version_within_the_range_is_good_and_named(
    versions: dict[str, str | None],
) -> None:
    versions["numpy"] = "2.0.1"
    (finding,) = libraries.check_versions()
    assert finding.verdict is Verdict.GOOD
    assert "numpy 2.0.1 (tested: 2.4.6)" in finding.text


def test_the_imports_of_this_environment_work() -> None:
    (finding,) = libraries.check_imports()
    assert finding.verdict is Verdict.GOOD


def test_a_numpy_that_lies_about_its_version_is_found(stub: Stub) -> None:
    file = stub("numpy", "__version__ = '1.26.4'")
    finding = libraries.check_imports()[0]
    assert finding.verdict is Verdict.PROBLEM
    assert finding.text.startswith(f"numpy 1.26.4 is imported, from {file}")


def test_a_library_that_is_not_there_after_all_is_found(stub: Stub) -> None:
    stub("huggingface_hub", "raise ModuleNotFoundError('No module named huggingface_hub')")
    (finding,) = libraries.check_imports()
    assert "huggingface_hub cannot be imported: ModuleNotFoundError" in finding.text
    assert "'huggingface_hub>=1.32,<3'" in finding.remedy


def test_a_library_that_crashes_is_found(stub: Stub) -> None:
    stub("safetensors", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    (finding,) = libraries.check_imports()
    assert finding.text == "safetensors cannot be imported: it died of SIGSEGV"


def test_what_breaks_because_of_torch_names_torch(stub: Stub) -> None:
    stub("torch", "raise OSError('libcudart.so.13: cannot open shared object file')")
    (finding,) = libraries.check_heavy_imports()
    assert "because of torch: OSError: libcudart.so.13" in finding.text
    assert {"transformers", "diffusers", "accelerate"} <= set(
        finding.text.partition(" cannot")[0].split(", ")
    )
    assert finding.remedy.startswith("mend torch first")


def broken_torchvision(stub: Stub) -> None:
    file = stub("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    noted = file.parents[1] / "torchvision-0.28.0.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")


@pytest.mark.slow
def test_a_torchvision_that_does_not_fit_takes_diffusers_down_and_is_named(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_torchvision(stub)
    (finding,) = libraries.check_heavy_imports()
    assert finding.text.startswith("transformers, diffusers cannot be imported because of torchv")


def test_a_torchvision_that_does_not_fit_is_removed_by_the_remedy(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_torchvision(stub)
    monkeypatch.setattr(torchvision, "installed", lambda _: "0.28.0")
    (finding,) = torchvision.check_torchvision()
    assert finding.verdict is Verdict.PROBLEM
    assert "operator torchvision::nms does not exist" in finding.text
    assert "pip uninstall -y torchvision" in finding.remedy


def test_no_torchvision_is_good() -> None:
    (finding,) = torchvision.check_torchvision()
    assert finding.verdict is Verdict.GOOD
