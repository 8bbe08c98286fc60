"""The folder of a run: what is a run's is replaced, what is the reader's stays."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import companion.training.loop as loop
from companion.training import TrainingConfig, train
from companion.training.files import replace_text
from needs import few_rights, fork_context, forks

Make = Callable[..., TrainingConfig]


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(cut: Path, tiny: Make) -> None:
    folder = Path(tiny().output_dir)
    mine = [
        folder / "samples" / "mine.png",
        folder / "unet" / "notes.txt",
        folder / "best" / "mine.safetensors",
        folder / "checkpoints" / "checkpoint-keep" / "mine.txt",
        folder / "checkpoints" / ".git" / "mine.txt",
        folder / ".new-ideas" / "mine.txt",
    ]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    train(tiny(num_epochs=1, overwrite_output_dir=True))
    assert [path.read_text() for path in mine] == ["precious"] * len(mine)
    kept = sorted(path.name for path in (folder / "checkpoints").glob("checkpoint-0*"))
    assert kept == ["checkpoint-00000002", "checkpoint-00000003"]


@pytest.mark.parametrize("name", ["samples", "unet", "best", "checkpoints"])
def test_overwriting_follows_no_link_out_of_the_folder(
    cut: Path, tiny: Make, tmp_path: Path, name: str
) -> None:
    folder, elsewhere = Path(tiny().output_dir), tmp_path / "elsewhere"
    elsewhere.mkdir()
    for mine in ("0000.png", "config.json", "model_index.json"):
        (elsewhere / mine).write_text("precious")
    if (folder / name).is_dir():
        (folder / name).rename(tmp_path / "before")
    (folder / name).symlink_to(elsewhere)
    try:
        train(tiny(num_epochs=1, overwrite_output_dir=True))
    except FileExistsError as error:
        assert "behind a link" in str(error)  # noqa: PT017 - refused or kept, both are right
    for mine in ("0000.png", "config.json", "model_index.json"):
        assert (elsewhere / mine).read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["log.csv", "best.json", "model_index.json", "samples/0001.png", "unet/config.json"]
)
@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite_output_dir": True}])
def test_files_of_another_origin_are_not_replaced(
    tiny: Make, name: str, how: dict[str, Any]
) -> None:
    mine = Path(tiny().output_dir) / name
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(FileExistsError, match=f"holds {name}, which a run would replace"):
        train(tiny(**how))
    assert mine.read_text() == "precious"


def test_a_folder_with_other_files_can_be_used(tiny: Make, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "cat.png").write_text("precious")
    train(tiny(output_dir=str(tmp_path), num_epochs=1))
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert (tmp_path / "samples" / "cat.png").read_text() == "precious"


def test_what_a_kill_left_behind_is_cleared(cut: Path, tiny: Make) -> None:
    folder = Path(tiny().output_dir)
    left = [
        folder / ".new-roz9fyzk",
        folder / "best" / ".new-kv04zhnm",
        folder / "checkpoints" / ".checkpoint-00000008.new",
        folder / "checkpoints" / ".checkpoint-00000002.removed",
    ]
    for path in left:
        path.mkdir(parents=True)
        (path / "half").write_bytes(b"half")
    (folder / ".log.csv.new").write_text("half")
    (folder / "samples").mkdir(exist_ok=True)
    for place in (folder, folder / "samples"):
        (place / ".companion-0123456789abcdef.tmp").write_bytes(b"half")
    train(tiny(resume=True))
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def train_slowly(config: TrainingConfig, begun: Any) -> None:
    stock = loop.diffusion_loss

    def slow(*arguments: Any) -> torch.Tensor:
        begun.set()
        time.sleep(60)
        return stock(*arguments)

    loop.diffusion_loss = slow
    train(config)


@forks
def test_a_second_run_in_the_folder_is_refused_and_the_first_goes_on(tiny: Make) -> None:
    fork = fork_context()
    begun = fork.Event()
    first = fork.Process(target=train_slowly, args=(tiny(), begun))
    first.start()
    assert begun.wait(30)
    with pytest.raises(BlockingIOError, match="Another run is at work in the folder"):
        train(tiny(resume=True))
    assert first.is_alive()
    os.kill(int(first.pid or 0), signal.SIGKILL)
    first.join()
    assert len(train(tiny(resume=True)).losses) == 9  # a lock ends with its process


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("a file", "is no folder: choose another output_dir"),
        ("a dangling link", "is no folder: choose another output_dir"),
        ("a file/run", "cannot be looked into|could not be written to"),
        ("~nobody-of-this-name/run", "no such home"),
        ("x" * 300, "cannot be looked into"),
    ],
)
def test_what_can_be_no_folder_is_one_sentence(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("precious")
    Path("a dangling link").symlink_to("nowhere")
    with pytest.raises((ValueError, OSError), match=sentence):
        train(tiny(output_dir=place))
    assert Path("a file").read_text() == "precious"


@few_rights
def test_a_folder_that_may_not_be_written_to_is_one_sentence(tiny: Make, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OSError, match=r"could not be written to .*choose another output_dir"):
        train(tiny(output_dir=str(tmp_path / "locked")))


def test_a_path_with_spaces_and_chinese_and_the_home_are_folders(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "我的 家"))
    config = tiny(output_dir="~/训练 1", num_epochs=1)
    run = train(config)
    assert run.folder == tmp_path / "我的 家" / "训练 1"
    assert len(train(tiny(output_dir="~/训练 1", num_epochs=1, resume=True)).losses) == 3


@pytest.mark.parametrize("damage", [Path.unlink, lambda log: log.write_bytes(b"\xff,,\n1,a,b\n")])
def test_a_lost_log_is_said_and_the_training_goes_on(
    cut: Path, tiny: Make, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    whole = train(tiny(output_dir=str(tmp_path / "whole")))
    damage(Path(tiny().output_dir) / "log.csv")
    with pytest.warns(UserWarning, match=r"The log .* has 0 of the 6 steps"):
        run = train(tiny(resume=True))
    assert run.losses == whole.losses[6:]
    assert run.steps == [7, 8, 9]


def test_a_finished_run_without_its_log_ends_in_peace(tiny: Make) -> None:
    folder = train(tiny()).folder
    (folder / "log.csv").unlink()
    with pytest.warns(UserWarning, match="has 0 of the 9 steps"):
        assert train(tiny(resume=True)).losses == []
    assert Image.open(folder / "samples" / "0002.png").size[0] > 0


@pytest.mark.parametrize("name", ["log.csv", "best.json"])
def test_nothing_is_written_through_a_link_beside_a_file_of_ours(tmp_path: Path, name: str) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years")
    (tmp_path / f".{name}.new").symlink_to(thesis)
    replace_text(tmp_path / name, "ours")
    assert thesis.read_text() == "years"
    assert (tmp_path / name).read_text() == "ours"
