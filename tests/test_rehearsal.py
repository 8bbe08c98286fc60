"""The rehearsals of Colab and AutoDL: their lists, and a check of the first cell that can fail."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rehearse

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(machine: str) -> dict[str, str]:
    """What a machine has, by name."""
    lines = (rehearse.LISTS / f"{machine}.txt").read_text(encoding="utf-8").splitlines()
    pinned = (line.split("==") for line in lines if line and line[0] != "#")
    return {key(name): version for name, version in pinned}


def test_what_a_fresh_colab_kernel_has_loaded_satisfies_the_declaration() -> None:
    colab = listed("colab")
    loaded = {key(name) for name in rehearse.machines()["colab"]["loaded"]}
    assert loaded <= set(colab)
    for text in PROJECT["dependencies"]:
        asked = Requirement(text)
        if key(asked.name) in loaded:
            assert colab[key(asked.name)] in asked.specifier, f"{text} replaces Colab's"


@pytest.mark.parametrize("machine", ["colab", "autodl"])
def test_the_torch_of_the_machine_stays(machine: str) -> None:
    (torch,) = (r for r in map(Requirement, PROJECT["dependencies"]) if r.name == "torch")
    assert listed(machine)["torch"] in torch.specifier


def test_a_newer_list_is_taken_from_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lists, clone = tmp_path / "lists", tmp_path / "clone"
    lists.mkdir()
    clone.mkdir()
    header = "# at commit a1b2 of 2026-01-01.\n"
    (lists / "colab.txt").write_text(header + "huggingface_hub==1\ngone==1\ntorch==2.0\n")
    (clone / "freeze.txt").write_text("# by pip\nhuggingface-hub==2\nother==1\ntorch==2.1+cu128\n")
    (clone / "system.txt").write_text("Python 3.99.1\n")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "A list"]):
        subprocess.run(["git", *arguments], cwd=clone, check=True)
    monkeypatch.setattr(rehearse, "LISTS", lists)
    rehearse.take("colab", clone, {"list": "freeze.txt", "system": "system.txt"})
    first, *versions = (lists / "colab.txt").read_text().splitlines()
    assert re.fullmatch(r"# at commit [0-9a-f]{40} of \d{4}-\d\d-\d\d\.", first)
    assert versions == ["huggingface-hub==2", "torch==2.1"]
    said = capsys.readouterr().out
    assert "['gone']" in said
    assert "Python 3.99 now" in said


SHADOW = """
import pathlib
shadow = pathlib.Path({folder!r})
"""
# A cell that installs something, and what the rehearsal says of it. A folder that comes first on
# the path stands for what pip writes.
CELLS = {
    "harmless": ("print('installing')", "the kernel starts again"),
    "replaces ipython": (
        """
info = shadow / "ipython-99.dist-info"
info.mkdir()
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: ipython\\nVersion: 99\\n")
""",
        r"replaces what the kernel has loaded: ipython [\d.]+ became 99",
    ),
    "breaks the kernel": (
        "(shadow / 'ipykernel_launcher.py').write_text('raise SystemExit(1)')",
        "the kernel does not start again",
    ),
    "fails": ("raise SystemExit('no such release')", "the cell fails:(?s:.*)no such release"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("code", "says"), CELLS.values(), ids=CELLS)
def test_a_first_cell_that_costs_the_reader_the_machine_is_found(
    tmp_path: Path, code: str, says: str
) -> None:
    source = SHADOW.format(folder=str(tmp_path)) + code
    notebook = tmp_path / "notebook.json"
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": [source]}]}))
    result = subprocess.run(
        [sys.executable, rehearse.LISTS / "first_cell.py", notebook, "ipython", "ipykernel"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert re.search(says, result.stdout + result.stderr), result.stdout + result.stderr
    assert (result.returncode == 0) == (code == CELLS["harmless"][0])
