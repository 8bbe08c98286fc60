"""What is drawn, scored and saved between two epochs."""

import json
from collections.abc import Callable

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from companion.training import (
    TrainingConfig,
    train,
)

Make = Callable[..., TrainingConfig]


def test_the_best_pipeline_is_the_one_of_the_lowest_score(tiny: Make) -> None:
    run = train(tiny(save_image_epochs=1, num_epochs=4))
    best = json.loads((run.folder / "best.json").read_text())
    epochs = [sum(run.losses[n : n + 3]) / 3 for n in range(0, 12, 3)]
    assert best["loss"] == run.best == pytest.approx(min(epochs))
    assert best["epoch"] == epochs.index(min(epochs))


def test_kid_is_measured_on_request_and_decides_which_is_best(tiny: Make) -> None:
    run = train(tiny(kid_samples=8, log_with="tensorboard"))
    board = EventAccumulator(str(run.folder / "logs" / "run"))
    board.Reload()
    measured = [event.value for event in board.Scalars("kid")]
    assert len(measured) == 2
    assert json.loads((run.folder / "best.json").read_text())["kid"] == run.best
    assert run.best == pytest.approx(min(measured))
