"""The commands on a machine without what only Linux has: `like_windows.py` says what that is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import like_windows
from companion.local_hub import LocalHub

SETTINGS = """
image_size = 16
train_batch_size = 4
eval_batch_size = 4
num_epochs = 2
lr_warmup_steps = 1
checkpoint_every = 2
sample_steps = 2
num_scenes = 16
progress_bar = false
[model]
layers_per_block = 1
block_out_channels = [8, 8]
down_block_types = ["DownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "UpBlock2D"]
norm_num_groups = 4
"""


def companion(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "warn_default_encoding", "-W", "ignore"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COMPANION_PROFILE": "small", **variables}
    return subprocess.run(
        [*command, like_windows.__file__, "companion", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("doctor Python Disk Cache Zoo", "the embedded models' files are whole"),
        ("doctor --json Imports", '"verdict": "good"'),
        ("fetch 2 --plan", "it comes with the package"),
        ("zoo list", "files whole"),
        ("train --help", "usage: companion train"),
        ("attend --help", "usage: companion attend"),
    ],
)
def test_a_command_starts(tmp_path: Path, arguments: str, says: str) -> None:
    done = companion(tmp_path, *arguments.split())
    assert says in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_files_are_fetched_without_links_and_found_again(tmp_path: Path) -> None:
    repository = tmp_path / "served" / "somebody" / "model"
    repository.mkdir(parents=True)
    (repository / "config.json").write_text("{}", encoding="utf-8")
    (repository / "model.safetensors").write_bytes(os.urandom(200_000))
    with LocalHub(tmp_path / "served") as hub:
        where = {
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "home"),
            "no_proxy": "127.0.0.1",
        }
        first = companion(tmp_path, "fetch", "somebody/model", "--verify", **where)
        assert first.returncode == 0, first.stderr
        second = companion(tmp_path, "fetch", "somebody/model", "--plan", **where)
    assert second.returncode == 0, second.stderr
    (snapshot,) = tmp_path.glob("home/hub/models--somebody--model/snapshots/*")
    assert sorted(path.name for path in snapshot.iterdir()) == ["config.json", "model.safetensors"]
    assert not [path for path in snapshot.iterdir() if path.is_symlink()]
    fetched = (snapshot / "model.safetensors").read_bytes()
    assert fetched == (repository / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_and_replaces_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    train = ["train", "scenes:flowers", "--config", "settings.toml", "--output", "run"]
    begun = companion(tmp_path, *train)
    assert begun.stdout.startswith("8 steps done"), begun.stderr
    # It loads a checkpoint, goes on from its tensors, and removes its folder.
    ended = companion(tmp_path, *train, "--num-epochs", "3", "--resume")
    assert ended.stdout.startswith("12 steps done"), ended.stderr
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept[-1] == "checkpoint-00000012"
    assert "checkpoint-00000008" not in kept


@pytest.mark.slow
def test_a_picture_is_attributed(tmp_path: Path) -> None:
    done = companion(tmp_path, "attend", "a cat", "--out", "cat", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cat" / "index.html").is_file()


@pytest.mark.slow
def test_the_tests_themselves_are_found(tmp_path: Path) -> None:
    code = (
        "import like_windows, pytest, sys; like_windows.lack(); "
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider']))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "tests")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
