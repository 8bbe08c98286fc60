"""tools/pack_gpu_run.py: what travels to a machine without network, and what does not."""

import fnmatch
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import pack_gpu_run
from needs import clone
from pack_gpu_run import ROOT, Target, applies, check_size, listed, pack_tree

SETTINGS = tomllib.loads((ROOT / "tools" / "gpu_pack.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torch==2.11.0+cu130", {"torch": "2.11.0"}),
        (
            "Package  Version\n-------- -------\nhuggingface_hub   1.33.0",
            {"huggingface-hub": "1.33.0"},
        ),
        ("numpy\npytest", {"numpy": None, "pytest": None}),
        ("torch 2.11.0, triton 3.6.0.", {"torch": "2.11.0", "triton": "3.6.0"}),
        ("numpy 2.5.2\nnumpy", {"numpy": "2.5.2"}),
        ("# all of them\nnumpy", {"numpy": None}),
    ],
)
def test_a_list_of_packages_may_have_any_usual_form(
    text: str, expected: dict[str, str | None]
) -> None:
    assert listed(text) == {k: v and Version(v) for k, v in expected.items()}


def target(packages: str) -> Target:
    return Target("3.12", 39, listed(packages))


@pytest.mark.parametrize(
    ("packages", "need", "there"),
    [
        ("torch 2.11.0", "torch>=2.6", True),
        ("torch 2.5.0", "torch>=2.6", False),
        ("torch", "torch>=2.6", True),
        ("numpy", "torch>=2.6", False),
        ("huggingface_hub 1.33.0", "huggingface-hub>=1,<3", True),
    ],
)
def test_what_is_there_and_fits_is_left_out(packages: str, need: str, there: bool) -> None:
    assert target(packages).has(Requirement(need)) is there


@pytest.mark.parametrize(
    ("need", "holds"),
    [
        ("a", True),
        ("a; sys_platform == 'win32'", False),
        ("a; extra == 'test'", False),
        ("a; python_version < '3.12'", False),
        ("a; platform_machine == 'x86_64' and python_version >= '3.12'", True),
    ],
)
def test_only_what_a_linux_machine_needs_is_asked_for(need: str, holds: bool) -> None:
    assert applies(Requirement(need), "3.12") is holds


def test_its_platforms_begin_with_the_newest() -> None:
    tags = target("torch").platforms
    assert tags[0] == "manylinux_2_39_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"} <= set(tags)


@clone
def test_the_tree_is_what_git_knows_without_what_is_left_out(tmp_path: Path) -> None:
    archive = tmp_path / "tree.tar.xz"
    pack_tree(archive, [*SETTINGS["leave_out"], "src/companion/zoo/weights/*", "*.ipynb"])
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
    assert {"pyproject.toml", "src/companion/__init__.py", "tools/gpu_run.py"} <= names
    assert "tools/stand_ins/spacy/__init__.py" in names
    assert not any(name.startswith(("book/_static/", ".git/", ".venv/")) for name in names)


@clone
def test_nothing_that_the_run_reads_is_left_out() -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    gone = [
        name
        for name in listing.stdout.splitlines()
        if any(fnmatch.fnmatch(name, pattern) for pattern in SETTINGS["leave_out"])
    ]
    assert gone
    assert not [name for name in gone if name.endswith((".py", ".safetensors", ".toml", ".ipynb"))]


def test_a_pack_over_the_limit_is_refused_with_what_takes_most(tmp_path: Path) -> None:
    (tmp_path / "large.whl").write_bytes(bytes(3 * 2**20))
    (tmp_path / "small.whl").write_bytes(bytes(2**20))
    assert check_size(tmp_path, 4 * 2**20) == 4 * 2**20
    with pytest.raises(RuntimeError, match=r"4\.0 MiB, more than 3; most take: large\.whl 3\.0"):
        check_size(tmp_path, 3 * 2**20)


def test_a_list_without_torch_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("numpy\n")
    with pytest.raises(SystemExit):
        pack_gpu_run.main([str(tmp_path / "list.txt"), str(tmp_path / "pack")])
    assert "does not name torch" in capsys.readouterr().err


def test_a_folder_that_is_no_pack_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("torch\n")
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit):
        pack_gpu_run.main([str(tmp_path / "list.txt"), str(tmp_path / "mine")])
    assert "is no pack" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="the pack is for Linux")
def test_its_script_is_one_that_bash_reads(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text(pack_gpu_run.RUN)
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


@pytest.mark.slow
def test_daam_is_imported_without_spacy() -> None:
    stand_ins = ROOT / "tools" / "stand_ins"
    code = "import daam, spacy; assert 'stand_ins' in spacy.__file__; print(daam.trace.__name__)"
    environment = os.environ | {"PYTHONPATH": str(stand_ins), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert answer.returncode == 0, answer.stderr
