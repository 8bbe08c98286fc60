"""Chapter 1 prints commands that it does not run, since a reader's machine may lack the programs.
Here they are run as they stand there, against a hub on this machine."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chapters import BOOK

from companion.local_hub import LocalHub

ADDRESS = "https://hf-mirror.com"
MODEL = "google/ddpm-cat-256"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CHAPTER = (BOOK / "text" / "01_setup.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- run: ([\w-]+) -->\n)?```bash\n(.*?)```", re.DOTALL)


def commands(program: str) -> str:
    """Give the block of the chapter that is marked with the program's name."""
    (block,) = [text for name, text in BLOCK.findall(CHAPTER) if name == program]
    assert ADDRESS in block
    return block


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The model's repository: small files, and the weights in two formats."""
    folder = tmp_path / "served" / MODEL
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for name in (WEIGHTS, "diffusion_pytorch_model.bin"):
        (folder / name).write_bytes(os.urandom(300_000))
    return folder


@pytest.fixture
def hub(repository: Path) -> Iterator[LocalHub]:
    with LocalHub(repository.parents[1]) as served:
        yield served


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own: Git writes its settings there. No proxy before this machine."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**kept, "HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1"}


def bash(lines: str, folder: Path, environment: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-euc", lines], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    ("mark", "program"), [("curl", "curl"), ("wget", "wget"), ("aria2", "aria2c")]
)
def test_the_command_of_the_chapter_brings_the_file(
    mark: str,
    program: str,
    hub: LocalHub,
    repository: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    bash(commands(mark).replace(ADDRESS, hub.address), tmp_path / "here", environment)
    assert (tmp_path / "here" / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()


def test_the_checksum_that_aria2_can_compare_is_the_one_the_hub_names(
    hub: LocalHub, repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("aria2c") is None:
        pytest.skip("aria2c is not installed")
    assert "`--checksum=sha-256=...`" in CHAPTER
    right = hashlib.sha256((repository / WEIGHTS).read_bytes()).hexdigest()
    for digest, status in ((right, 0), ("0" * 64, 32)):
        option = f"aria2c --allow-overwrite=true --checksum=sha-256={digest}"
        line = commands("aria2").replace("aria2c", option, 1).replace(ADDRESS, hub.address)
        here = tmp_path / str(status)
        here.mkdir()
        done = subprocess.run(
            ["bash", "-euc", line], cwd=here, env=environment, capture_output=True
        )
        assert done.returncode == status


def test_the_git_commands_bring_only_the_weights_asked_for(
    repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed")
    remotes = tmp_path / "remotes" / "google"
    remote, files = shlex.quote(f"{remotes}/ddpm-cat-256"), shlex.quote(str(repository))
    publish = f"""
        git init --quiet --bare {remote}
        git clone --quiet {remote} author
        cd author
        git lfs install --local
        git lfs track "*.safetensors" "*.bin"
        cp {files}/* .
        git add --all
        git -c user.name=a -c user.email=a@example.org commit --quiet --message weights
        git push --quiet origin HEAD:main
        git --git-dir={remote} symbolic-ref HEAD refs/heads/main
    """
    bash(publish, tmp_path / "elsewhere", environment)
    lines = commands("git-lfs").replace(ADDRESS, (tmp_path / "remotes").as_uri())
    bash(lines, tmp_path / "here", environment)
    clone = tmp_path / "here" / "ddpm-cat-256"
    assert (clone / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    assert (clone / "diffusion_pytorch_model.bin").stat().st_size < 200  # Git's note of it


def test_every_other_block_only_installs_or_sets_a_variable() -> None:
    for mark, text in BLOCK.findall(CHAPTER):
        if not mark:
            assert re.search(r"make lab|pip install|^export HF_ENDPOINT=\S+$", text), text
