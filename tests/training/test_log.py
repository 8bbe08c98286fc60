"""What is written down of each step: the log and the tracker's curves."""

import csv
from collections.abc import Callable

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from companion.training import (
    TrainingConfig,
    train,
)

Make = Callable[..., TrainingConfig]


def test_the_log_says_the_loss_and_the_rate_of_every_step(tiny: Make) -> None:
    run = train(tiny(log_every=4))
    with (run.folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == run.steps == list(range(1, 10))
    assert [float(row["loss"]) for row in rows] == run.losses
    assert [float(row["learning_rate"]) for row in rows] == run.learning_rates


def test_tensorboard_shows_the_curves_and_the_samples(tiny: Make) -> None:
    run = train(tiny(log_with="tensorboard"))
    board = EventAccumulator(str(run.folder / "logs" / "run"))
    board.Reload()
    losses = [(event.step, event.value) for event in board.Scalars("loss")]
    assert losses == [
        (step, pytest.approx(loss)) for step, loss in zip(run.steps, run.losses, strict=True)
    ]
    assert {"learning_rate", "gradient_norm", "pictures_per_second"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Images("samples")] == [6, 9]
