"""The loop that trains every model of the zoo: resumable, with checkpoints, a log and sample grids.

All that is random in a step follows from (recipe.seed, step). So a run that was killed and goes on
from its
last checkpoint takes the very steps that it would have taken.
"""

import csv
import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from .attention_on_cpu import attention_on_cpu
from .recipe import Recipe

CHECKPOINT_SECONDS = 120
LOG_EVERY = 20


class Task(ABC):
    """What is trained and how a step's loss comes about. A subclass builds `trained` from the
    recipe."""

    trained: nn.Module

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        self.recipe = recipe
        self.device = device
        self.folder = folder

    @abstractmethod
    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step, a scalar; whatever is random comes from the CPU generator."""

    @abstractmethod
    def grid(self) -> Image.Image:
        """A picture of how far the model is."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model as `from_pretrained` reads it."""

    def seeds(self, step: int) -> range:
        """Seeds of the scenes of a step: every step sees new ones."""
        first = step * self.recipe.batch_size
        return range(first, first + self.recipe.batch_size)


def step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator whose state follows from the seed and the step alone."""
    return torch.Generator().manual_seed(seed * 100_000_007 + step)


def train(task: Task, *, minutes: float | None = None) -> int:
    """Train until the recipe's steps are done, or the minutes are over; go on from `checkpoint.pt`.

    Writes into the task's folder: `checkpoint.pt`, `log.csv` (step, loss, learning rate),
    `grid-STEP.png`, and `model/`,
    the averaged weights. Returns the number of steps done.
    """
    recipe, out = task.recipe, task.folder
    out.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in task.trained.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=recipe.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    ema = EMAModel(
        parameters, decay=recipe.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
    )
    start = _resume(task, optimizer, ema, out)
    log = _open_log(out / "log.csv", start)
    began = saved = time.monotonic()
    step, running = start, 0.0
    attention = attention_on_cpu if task.device.type == "cpu" else nullcontext
    bar = tqdm(total=recipe.steps, initial=start, desc=recipe.name, unit="step", mininterval=2)
    try:
        while step < recipe.steps:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            generator = step_generator(recipe.seed, step)
            with torch.autocast(task.device.type, torch.bfloat16), attention():
                loss = task.loss(step, generator)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"The loss of {recipe.name} is {loss.item()} at step {step}; the last good "
                    f"state is in {out / 'checkpoint.pt'}. Lower learning_rate in the recipe and "
                    f"go on from there."
                )
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if recipe.ema_decay:
                ema.step(parameters)
            running += loss.item()
            step += 1
            bar.update()
            if step % LOG_EVERY == 0:
                bar.set_postfix(loss=f"{running / LOG_EVERY:.4f}", refresh=False)
                log.writerow([step, f"{running / LOG_EVERY:.6f}", f"{recipe.rate(step - 1):.3e}"])
                running = 0.0
                # On a boundary of the log only: a resumed run then writes the same rows.
                over = minutes is not None and time.monotonic() - began > 60 * minutes
                if (
                    over
                    or time.monotonic() - saved > CHECKPOINT_SECONDS
                    or step % recipe.sample_every == 0
                ):
                    _checkpoint(task, optimizer, ema, out, step)
                    saved = time.monotonic()
                if step % recipe.sample_every == 0:
                    _publish(task, ema, parameters, out, step)
                if over:
                    break
    finally:
        bar.close()
    _checkpoint(task, optimizer, ema, out, step)
    _publish(task, ema, parameters, out, step)
    return step


class _Log:
    def __init__(self, path: Path, rows: list[list[str]]) -> None:
        self._path = path
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["step", "loss", "learning_rate"], *rows])

    def writerow(self, row: list[Any]) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(row)


def _open_log(path: Path, start: int) -> _Log:
    """The log, without the rows of steps that a kill undid."""
    rows: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if int(row[0]) <= start]
    return _Log(path, rows)


def _resume(task: Task, optimizer: torch.optim.Optimizer, ema: EMAModel, out: Path) -> int:
    path = out / "checkpoint.pt"
    if not path.exists():
        ema.to(task.device)
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    task.trained.load_state_dict(state["trained"])
    optimizer.load_state_dict(state["optimizer"])
    ema.load_state_dict(state["ema"])
    ema.to(task.device)
    return int(state["step"])


def _checkpoint(
    task: Task, optimizer: torch.optim.Optimizer, ema: EMAModel, out: Path, step: int
) -> None:
    state = {
        "step": step,
        "trained": task.trained.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": ema.state_dict(),
    }
    torch.save(state, out / "checkpoint.tmp")
    (out / "checkpoint.tmp").replace(out / "checkpoint.pt")  # never half a checkpoint


def _publish(
    task: Task, ema: EMAModel, parameters: list[nn.Parameter], out: Path, step: int
) -> None:
    """Write the sample grid and the model, with the averaged weights in place."""
    averaged = bool(task.recipe.ema_decay)
    if averaged:
        ema.store(parameters)
        ema.copy_to(parameters)
    task.trained.eval()
    with torch.no_grad():
        task.grid().save(out / f"grid-{step:06d}.png")
        task.save(out / "model")
    task.trained.train()
    if averaged:
        ema.restore(parameters)
