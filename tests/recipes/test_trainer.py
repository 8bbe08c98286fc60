"""Recipes and the loop over them: resumable to the bit, honest about what it wrote."""

import csv
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from companion.door import Untrusted
from companion.recipes.recipe import Recipe, load_recipe
from companion.recipes.stored import read, store
from companion.recipes.tasks import make_task
from companion.recipes.trainer import CHECKPOINT, Task, train
from exiftool import read_with_exiftool
from like_windows import held
from needs import fork_context, forks, unix

CPU = torch.device("cpu")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Recipe:
    """The unconditional recipe, cut down to seconds, with a log row every second step."""
    monkeypatch.setattr("companion.recipes.trainer.LOG_EVERY", 2)
    recipe = load_recipe("ddpm")
    model = {
        **recipe.settings["model"],
        "sample_size": 16,
        "block_out_channels": [8, 8],
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    }
    return replace(
        recipe, steps=8, batch_size=2, sample_every=4, settings={**recipe.settings, "model": model}
    )


def _task(recipe: Recipe, run: Path) -> Task:
    return make_task(recipe, CPU, run)


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "diffusion_pytorch_model.safetensors")


def test_a_run_that_was_stopped_goes_on_to_the_very_same_weights_and_log(
    tiny: Recipe, tmp_path: Path
) -> None:
    train(_task(tiny, tmp_path / "whole"))
    assert train(_task(tiny, tmp_path / "cut"), minutes=0) == 2
    train(_task(tiny, tmp_path / "cut"))
    whole, cut = _weights(tmp_path / "whole"), _weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    logs = [(tmp_path / run / "log.csv").read_text() for run in ("whole", "cut")]
    assert logs[0] == logs[1]


@forks
def test_a_run_that_was_killed_goes_on_to_the_very_same_weights(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.recipes.trainer.CHECKPOINT_SECONDS", 0)
    train(_task(tiny, tmp_path / "whole"))
    child = fork_context().Process(target=_train_and_die, args=(tiny, tmp_path / "killed", 5))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert read(tmp_path / "killed" / CHECKPOINT)[1]["step"] == "4"
    train(_task(tiny, tmp_path / "killed"))
    whole, killed = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def _train_and_die(recipe: Recipe, run: Path, at: int) -> None:
    task = _task(recipe, run)
    stock = task.loss

    def loss(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return stock(step, generator)

    task.loss = loss  # type: ignore[method-assign]
    train(task)


def test_rows_of_steps_that_a_kill_undid_leave_the_log(tiny: Recipe, tmp_path: Path) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    with (tmp_path / "log.csv").open("a", newline="") as file:
        csv.writer(file).writerow([4, "9.9", "1e-4"])  # logged, but killed before the checkpoint
    train(_task(tiny, tmp_path))
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert rows[1]["loss"] != "9.9"


def test_a_run_leaves_a_checkpoint_grids_and_a_model(tiny: Recipe, tmp_path: Path) -> None:
    assert train(_task(tiny, tmp_path)) == 8
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "checkpoint.safetensors",
        "log.csv",
        "model",
        "grid-000004.png",
        "grid-000008.png",
    }


def test_a_grid_says_that_a_model_drew_it(tiny: Recipe, tmp_path: Path) -> None:
    train(_task(tiny, tmp_path))
    source = read_with_exiftool(tmp_path / "grid-000008.png")["XMP-iptcExt:DigitalSourceType"]
    assert source.endswith("/trainedAlgorithmicMedia")


def test_a_loss_that_is_not_a_number_stops_with_the_step_and_the_last_good_state(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    good = (tmp_path / CHECKPOINT).read_bytes()
    task = _task(tiny, tmp_path)
    monkeypatch.setattr(task, "loss", lambda step, generator: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match=r"nan at step 2.*checkpoint\.safetensors"):
        train(task)
    assert (tmp_path / CHECKPOINT).read_bytes() == good


def test_an_earlier_version_s_checkpoint_is_a_pickle_and_is_not_read(
    tiny: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is a pickle.*remove it, and the run beg"):
        train(_task(tiny, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt"}


@pytest.mark.parametrize("where", [0.5, 0.999])
def test_a_flipped_bit_in_a_checkpoint_is_seen(tiny: Recipe, tmp_path: Path, where: float) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[int(where * len(content))] ^= 4
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged \(its checksum differs\)\. Remove it"):
        train(_task(tiny, tmp_path))
    assert (tmp_path / CHECKPOINT).read_bytes() == content


def test_a_checkpoint_of_another_model_is_told_from_a_damaged_one(
    tiny: Recipe, tmp_path: Path
) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    wider = {**tiny.settings["model"], "block_out_channels": [8, 16]}
    other = replace(tiny, settings={**tiny.settings, "model": wider})
    with pytest.raises(ValueError, match="does not fit the recipe ddpm: begin anew in another"):
        train(_task(other, tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer/0/exp_avg", torch.zeros(1)),
        ("optimizer/0/exp_avg", None),
        ("optimizer/0/step", torch.zeros(2)),
        ("optimizer/0/step", torch.tensor(float("nan"))),
        ("optimizer/9999/step", torch.tensor(2.0)),
        ("average/0", torch.zeros(3)),
        ("average/0", None),
        ("average/0", "half"),
        ("step", "9"),
        ("step", "-2"),
        ("step", "two"),
        ("averaged_steps", "1" * 400),
        ("averaged_steps", "9" * 5000),
    ],
)
def test_a_checkpoint_of_nonsense_whose_checksum_is_right_is_one_sentence(
    tiny: Recipe, tmp_path: Path, name: str, value: torch.Tensor | str | None
) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    tensors, told = read(tmp_path / CHECKPOINT)
    if isinstance(value, str) and value == "half":
        tensors[name] = tensors[name].half()
    elif isinstance(value, str):
        told[name] = value
    elif value is None:
        del tensors[name]
    else:
        tensors[name] = value
    store(tmp_path / CHECKPOINT, tensors, told)
    with pytest.raises(ValueError, match="does not fit the recipe ddpm: begin anew in another"):
        train(_task(tiny, tmp_path))


@pytest.mark.parametrize("gone", ["optimizer/", "optimizer/3/"])
def test_moments_that_are_gone_are_damage_and_no_new_beginning(
    tiny: Recipe, tmp_path: Path, gone: str
) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    tensors, told = read(tmp_path / CHECKPOINT)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}
    store(tmp_path / CHECKPOINT, kept, told)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=r"damaged \(it lacks moments of the optimiser\): remove"):
        train(_task(tiny, tmp_path))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_two_runs_in_one_folder_are_one_too_many(tiny: Recipe, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(BlockingIOError, match="Another run is at"):
        train(_task(tiny, tmp_path))
    train(_task(tiny, tmp_path), minutes=0)


def test_what_a_kill_left_half_written_is_cleared_and_nothing_else(
    tiny: Recipe, tmp_path: Path
) -> None:
    (tmp_path / ".new-model" / "unet").mkdir(parents=True)
    for name in (".new-grid-000004.png", ".new-checkpoint.safetensors", ".new-notes.txt"):
        (tmp_path / name).write_text("half")
    train(_task(tiny, tmp_path), minutes=0)
    hidden = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert hidden == {".new-notes.txt"}


def test_a_run_writes_through_no_link_and_over_no_other_file(tiny: Recipe, tmp_path: Path) -> None:
    run, thesis = tmp_path / "run", tmp_path / "thesis.txt"
    (run / "model").mkdir(parents=True)
    (run / "model" / "notes.txt").write_text("mine")
    thesis.write_text("mine")
    for name in ("grid-000004.png", "model/config.json", ".new-model"):
        (run / name).symlink_to(thesis)
    train(_task(tiny, run))
    assert thesis.read_text() == "mine"
    assert (run / "model" / "notes.txt").read_text() == "mine"
    assert not (run / "grid-000004.png").is_symlink()
    assert _weights(run)


def test_a_log_that_no_run_wrote_is_kept(tiny: Recipe, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("day,what\n1,my diary\n")
    with pytest.raises(ValueError, match=r"log\.csv is no log of such a run: move it away"):
        train(_task(tiny, tmp_path))
    assert "my diary" in (tmp_path / "log.csv").read_text()


@pytest.mark.parametrize(
    "content",
    [
        b"step,loss,learning_rate\r\n2,\xff,1\r\n",
        b"step,loss,learning_rate\r\n2," + b"1" * 2**18 + b",1\r\n",
        b"step,loss,learning_rate\r\n" + b"1" * 5000 + b",1,1\r\n",
        pytest.param(lambda path: os.mkfifo(path), marks=unix, id="pipe"),
        Path.mkdir,
        Path.touch,
    ],
)
def test_a_log_of_nonsense_is_one_sentence_and_kept(
    tiny: Recipe, tmp_path: Path, content: bytes | Callable[[Path], None]
) -> None:
    log = tmp_path / "log.csv"
    if isinstance(content, bytes):
        log.write_bytes(content)
    else:
        content(log)
    with pytest.raises(ValueError, match=r"log\.csv is no log of such a run: move it away"):
        train(_task(tiny, tmp_path))
    assert not isinstance(content, bytes) or log.read_bytes() == content


@pytest.mark.parametrize("name", ["grid-000004.png", "model", ".lock"])
def test_what_is_in_the_way_is_one_sentence_and_kept(
    tiny: Recipe, tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    if name == "model":
        (tmp_path / name).write_text("mine")
    elif name == ".lock":
        (tmp_path / name).symlink_to("mine.txt")
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(Untrusted, match=f"{name} is (in the way: move it|no file of ours: remove)"):
        train(_task(tiny, tmp_path))
    assert os.path.lexists(tmp_path / name)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_no_change_of_a_stored_file_goes_unseen(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        store(path, {"a": torch.arange(3.0), "b": torch.tensor(True)}, {"step": "4"})
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] ^= data.draw(st.integers(1, 255))
        else:
            del content[place:]
        path.write_bytes(content)
        with pytest.raises(Untrusted):
            read(path)


@unix
def test_what_was_read_does_not_hold_the_file_which_windows_lets_nobody_replace(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stored.safetensors"
    store(path, {"a": torch.zeros(1000)}, {})
    tensors, _ = read(path)
    assert str(path.resolve()) not in held()
    del tensors


def test_training_lowers_the_loss(tiny: Recipe, tmp_path: Path) -> None:
    longer = replace(
        tiny, steps=50, batch_size=8, learning_rate=3e-3, warmup_steps=10, ema_decay=0.9
    )
    train(_task(longer, tmp_path))
    with (tmp_path / "log.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
