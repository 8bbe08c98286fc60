"""What is written down of each step: the log and the tracker's curves."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


TRACKED = """
import sys
from pathlib import Path
from accelerate import Accelerator
from companion.training import TrainingConfig
from companion.training.log import start_trackers
folder = Path(sys.argv[1])
accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=folder)
start_trackers(accelerator, TrainingConfig(output_dir=str(folder)), folder, done=0)
accelerator.log({"loss": 1.0}, step=1)
accelerator.end_training()
"""


def test_tensorboard_does_without_tensorflow_where_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('tensorflow was imported')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{TRACKED}"
    command = [sys.executable, "-c", code, tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))
