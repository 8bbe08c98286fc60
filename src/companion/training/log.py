"""What a run writes down of each step: `log.csv`, the tracker, the progress bar."""

import csv
import io
import json
import logging
import math
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm

from .checkpoint import Checkpoints, Progress
from .config import TrainingConfig
from .files import explained, replace_text

logger = logging.getLogger(__name__)

COLUMNS = ("step", "loss", "learning_rate")
_HEADER = ",".join(COLUMNS)
NO_TENSORFLOW = "tensorboard.compat.notf"
Row = tuple[int, float, float]


class Log:
    """Steps are noted without a look at their losses, and written in one go.

    A look at a number waits until the device has computed it: a loop that looks at each loss keeps
    the device waiting.

    Args:
        accelerator: has the trackers, and means over the processes.
        path: of the csv file.
        progress: how far the run is; rows after that, of steps that a kill undid, are cut.
        checkpoints: what there is to go on from, should a loss be no number.
        bar: the progress bar.
        pictures: pictures a step, over all processes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        path: Path,
        progress: Progress,
        checkpoints: Checkpoints,
        bar: tqdm,
        pictures: int,
    ) -> None:
        self._accelerator, self._path = accelerator, path
        self._progress, self._checkpoints = progress, checkpoints
        self._bar, self._pictures = bar, pictures
        done = progress.step
        self._waiting: list[tuple[int, str, float, Tensor]] = []
        self._looked = time.perf_counter()
        self.rows = read_log(path, done)
        accelerator.wait_for_everyone()  # until all have read it
        if accelerator.is_main_process:
            if len(self.rows) < done:
                warnings.warn(
                    f"The log {path} has {len(self.rows):,} of the {done:,} steps that were done: "
                    "the others are gone from it, the training itself is not touched.",
                    stacklevel=4,
                )
            text = io.StringIO()
            csv.writer(text).writerows([COLUMNS, *map(_text, self.rows)])
            with explained("log", path.parent, "the checkpoints are still there"):
                replace_text(path, text.getvalue())

    def note(self, rate: float, loss: Tensor, norm: Tensor) -> None:
        """Note the step that was just done: its learning rate, loss and gradient norm."""
        step, where = self._progress.step, self._progress.where
        self._waiting.append((step, where, float(rate), torch.stack([loss, norm])))

    def leave_out_time(self) -> None:
        """Let the speed not count the time since the last look: it went into something else."""
        self._looked = time.perf_counter()

    def write(self) -> None:
        """Write what was noted, and add its losses to those since the last evaluation.

        Raises:
            FloatingPointError: a loss or a gradient is not a number.
        """
        if not self._waiting:
            return
        values = torch.stack([values for *_, values in self._waiting])
        values = self._accelerator.reduce(values, reduction="mean").tolist()
        now = time.perf_counter()
        speed = len(values) * self._pictures / (now - self._looked)
        self._looked = now
        new: list[Row] = []
        for (step, where, rate, _), (loss, norm) in zip(self._waiting, values, strict=True):
            self.refuse_nonsense(loss, norm, f"at step {step} ({where})")
            new.append((step, loss, rate))
            self._accelerator.log(
                {"loss": loss, "learning_rate": rate, "gradient_norm": norm}, step=step
            )
        self._waiting.clear()
        self._accelerator.log({"pictures_per_second": speed}, step=new[-1][0])
        self.rows += new
        if self._accelerator.is_main_process:
            with (
                explained("log", self._path.parent, "the checkpoints are still there"),
                self._path.open("a", newline="", encoding="utf-8") as file,
            ):
                csv.writer(file).writerows(map(_text, new))
        losses = [loss for _, loss, _ in new]
        told = f"loss {sum(losses) / len(losses):.4f}, lr {new[-1][2]:.2e}, {speed:.1f} pictures/s"
        self._bar.set_postfix_str(told, refresh=False)
        if self._accelerator.is_main_process:
            logger.debug("step %d: %s", new[-1][0], told)
        self._bar.update(len(new))
        self._progress.loss_sum += sum(losses)
        self._progress.loss_count += len(losses)

    def refuse_nonsense(self, loss: float, norm: float, when: str) -> None:
        """Stop at a loss or a norm of the gradient that is not a number.

        Raises:
            FloatingPointError: one of them is not; the sentence says when, and what is left.
        """
        # With fp16 a norm that is not finite is a step that the scaler left out, by design.
        scaled = self._accelerator.scaler is not None
        if not math.isfinite(loss):
            what, value = "loss", loss
        elif not (scaled or math.isfinite(norm)):
            what, value = "norm of the gradient", norm
        else:
            return
        raise FloatingPointError(
            f"The {what} is {value} {when}; {self._checkpoints.last_good()}. Lower the learning "
            f"rate{', or train in bf16 or no mixed precision' if scaled else ''}, then resume."
        )


def begin_log(path: Path) -> None:
    """Write a log of no steps: from then on the folder is known as a run's."""
    path.write_text(f"{_HEADER}\n", encoding="utf-8", newline="\n")


def is_log(path: Path) -> bool:
    """Whether a file begins as a run's log does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(len(_HEADER) + 2).decode("ascii", "replace").strip() == _HEADER


def read_log(path: Path, done: int) -> list[Row]:
    """Rows (step, loss, learning rate) of a log, up to a step; none if there is no log.

    What is no such row is left out: a kill may have cut a line short, and disks fail.
    """
    if not path.is_file():
        return []
    rows: list[Row] = []
    for line in path.read_bytes().decode("ascii", "replace").splitlines():
        try:
            step, loss, rate = line.split(",")
            row = int(step), float(loss), float(rate)
        except ValueError:
            continue
        if (rows[-1][0] if rows else 0) < row[0] <= done:
            rows.append(row)
    return rows


def _text(row: Row) -> tuple[str, ...]:
    return tuple(map(repr, row))  # repr: read back to the same bits


def start_trackers(
    accelerator: Accelerator, config: TrainingConfig, folder: Path, done: int
) -> None:
    """Begin the curves of a run, or go on with them after the steps that are done."""
    if config.log_with is None:
        return
    # Where TensorFlow is installed, as on Colab, tensorboard takes it for its files: seconds, and
    # lines on stderr. With this name in place it takes the small stand-in that it brings along.
    sys.modules.setdefault(NO_TENSORFLOW, ModuleType(NO_TENSORFLOW))
    settings = {
        name: value if isinstance(value, (int, float, str)) else json.dumps(value)
        for name, value in asdict(config).items()
    }
    # Steps that a kill undid are taken out of the curves.
    extra = {"tensorboard": {"purge_step": done + 1}} if done else {}
    accelerator.init_trackers(folder.resolve().name, settings, extra)
