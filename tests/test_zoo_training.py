"""Recipes and the loop over them: resumable to the bit, honest about what it wrote."""

import csv
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from companion.zoo.recipe import Recipe, load_recipe, recipe_names
from companion.zoo.tasks import make_task
from companion.zoo.trainer import Task, train

CPU = torch.device("cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums then come in one order, and a forked child does not wait for threads that it lacks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Recipe:
    """The unconditional recipe, cut down to seconds, with a log row every second step."""
    monkeypatch.setattr("companion.zoo.trainer.LOG_EVERY", 2)
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


def _task(recipe: Recipe, folder: Path) -> Task:
    return make_task(recipe, CPU, folder)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "diffusion_pytorch_model.safetensors")


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


def test_a_run_that_was_killed_goes_on_to_the_very_same_weights(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.zoo.trainer.CHECKPOINT_SECONDS", 0)
    train(_task(tiny, tmp_path / "whole"))
    child = multiprocessing.get_context("fork").Process(
        target=_train_and_die, args=(tiny, tmp_path / "killed", 5)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"] == 4
    train(_task(tiny, tmp_path / "killed"))
    whole, killed = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def _train_and_die(recipe: Recipe, folder: Path, at: int) -> None:
    task = _task(recipe, folder)
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
        "checkpoint.pt",
        "log.csv",
        "model",
        "grid-000004.png",
        "grid-000008.png",
    }


def test_a_loss_that_is_not_a_number_stops_with_the_step_and_the_last_good_state(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_task(tiny, tmp_path), minutes=0)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    task = _task(tiny, tmp_path)
    monkeypatch.setattr(task, "loss", lambda step, generator: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match=r"nan at step 2.*checkpoint\.pt"):
        train(task)
    assert (tmp_path / "checkpoint.pt").read_bytes() == good


def test_training_lowers_the_loss(tiny: Recipe, tmp_path: Path) -> None:
    longer = replace(
        tiny, steps=150, batch_size=8, learning_rate=3e-3, warmup_steps=10, ema_decay=0.9
    )
    train(_task(longer, tmp_path))
    with (tmp_path / "log.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_learning_rate_warms_up_stays_and_ends_near_zero() -> None:
    recipe = load_recipe("ddpm")
    assert recipe.rate(0) == pytest.approx(recipe.learning_rate / recipe.warmup_steps)
    assert recipe.rate(recipe.steps // 2) == recipe.learning_rate
    assert 0 < recipe.rate(recipe.steps - 1) < recipe.learning_rate / 1000


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_read(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.steps > recipe.warmup_steps > 0


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of: classifier, vae, stable-diffusion, ddpm"):
        load_recipe("gan")
