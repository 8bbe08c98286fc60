"""The loop that trains every model of the zoo: resumable, with checkpoints, a log and sample grids.

All that is random in a step follows from (recipe.seed, step). So a run that was killed and goes on
from its last checkpoint takes the very steps that it would have taken.
"""

import csv
import io
import os
import re
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.training_utils import EMAModel
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.door import Untrusted, append_to
from companion.door.labels import Origin, labelled
from companion.door.locks import acquire
from companion.door.places import is_ours
from companion.door.places import read as read_file
from companion.scenes import VALIDATION, Scene
from companion.training.attention_on_cpu import attention_on_cpu
from companion.training.ema import averaged, moving_average
from companion.training.state import DoesNotFit, lacks_state, put_optimizer_state

from .pictures import scene_batch
from .recipe import Recipe
from .stored import NEW, read, remove, replace, store

CHECKPOINT_SECONDS = 120
LOG_EVERY = 20
CHECKPOINT = "checkpoint.safetensors"
_COLUMNS = ["step", "loss", "learning_rate"]
_LONGEST_LOG = 2**26  # bytes: two million rows
_NUMBER = re.compile(r"[0-9]{1,15}")
_HALF_WRITTEN = re.compile(
    rf"{re.escape(NEW)}(checkpoint\.safetensors|log\.csv|grid-\d{{6}}\.png|model)"
)


class Task(ABC):
    """What is trained and how a step's loss comes about. A subclass builds `trained` from the
    recipe.

    Attributes:
        trained: the model.
        origin: how it has part in the picture of `grid`; None where that holds scenes only.
    """

    trained: nn.Module
    origin: ClassVar[Origin | None] = Origin.BESIDE

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

    def validation_scenes(self, count: int) -> tuple[Tensor, list[Scene]]:
        """Pictures to watch a run with, (count, 3, 64, 64) in -1..1, and their scenes: neither
        training sees them nor a model's card."""
        return scene_batch(range(VALIDATION, VALIDATION + count), self.recipe.subset, 64)

    def seeds(self, step: int) -> range:
        """Seeds of the scenes of a step: every step sees new ones."""
        first = step * self.recipe.batch_size
        return range(first, first + self.recipe.batch_size)


def make_run_folder(folder: Path) -> None:
    """Make the folder of a run, and see that it can be written before hours of work.

    Raises:
        ValueError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{folder} cannot hold the run ({error.strerror}): name another folder with --runs."
        ) from error


def step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator whose state follows from the seed and the step alone."""
    return torch.Generator().manual_seed(seed * 100_000_007 + step)


def train(task: Task, *, minutes: float | None = None) -> int:
    """Train until the recipe's steps are done, or the minutes are over; go on from the checkpoint.

    Writes into the task's folder: `checkpoint.safetensors`, `log.csv` (step, loss, learning rate),
    `grid-STEP.png`, and `model/`, the averaged weights. Returns the number of steps done.

    Raises:
        ValueError: the checkpoint or the log is damaged, of another recipe, or of an earlier
            version, whose checkpoints are pickles.
        BlockingIOError: another run is at work in the folder.
        FloatingPointError: the loss is not a number any more.
    """
    with _alone_in(task.folder):
        return _train(task, minutes)


def _train(task: Task, minutes: float | None) -> int:
    recipe, out = task.recipe, task.folder
    parameters = list(task.trained.parameters())
    optimizer = torch.optim.AdamW(
        parameters,
        lr=recipe.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    ema = moving_average(parameters, recipe.ema_decay)
    start = _resume(task, optimizer, ema, out)
    log = _Log(out / "log.csv", start)
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
                kept = out / CHECKPOINT
                last = f"the last good state is in {kept}" if kept.exists() else "nothing was saved"
                raise FloatingPointError(
                    f"The loss of {recipe.name} is {loss.item()} at step {step}; {last}. Lower "
                    "learning_rate in the recipe and run it again."
                )
            loss.backward()
            if step == start > 0 and lacks_state(optimizer):
                raise ValueError(
                    f"{out / CHECKPOINT} is damaged (it lacks moments of the optimiser): remove "
                    "it, and the run begins anew."
                )
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
                    _publish(task, ema, out, step)
                if over:
                    break
    finally:
        bar.close()
    _checkpoint(task, optimizer, ema, out, step)
    _publish(task, ema, out, step)
    return step


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out, and clear away what a killed one left half written."""
    lock = FileLock(folder / ".lock")
    if not is_ours(folder / ".lock"):
        raise Untrusted(f"{folder / '.lock'} is no file of ours: remove it, and run it again.")
    try:
        acquire(lock, blocking=False)
    except Timeout as error:
        raise BlockingIOError(
            f"Another run is at work in the folder {folder}: wait for its end or stop it, or name "
            "another folder."
        ) from error
    try:
        for path in folder.iterdir():
            if _HALF_WRITTEN.fullmatch(path.name):
                remove(path)
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # Windows removes it when it is free
                (folder / ".lock").unlink()  # while it is held: who waits for it looks again
            lock.release()


class _Log:
    """The log, a row at a time; rows of steps that a kill undid are dropped first."""

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        rows = [_COLUMNS, *(row for row in _rows(path) if int(row[0]) <= start)]
        replace(path, lambda new: new.write_bytes(b"".join(map(_line, rows))))

    def writerow(self, row: list[Any]) -> None:
        with append_to(self._path) as file:
            file.write(_line(row))


def _line(row: list[Any]) -> bytes:
    return f"{','.join(map(str, row))}\r\n".encode()


def _rows(path: Path) -> list[list[str]]:
    if not os.path.lexists(path):
        return []
    try:
        text = read_file(path, _LONGEST_LOG).decode()
        header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        if header == _COLUMNS and all(len(row) == 3 and _NUMBER.fullmatch(row[0]) for row in rows):
            return rows
        cause = None
    except (OSError, ValueError, csv.Error) as error:
        cause = error
    raise ValueError(f"{path} is no log of such a run: move it away, and run it again.") from cause


def _resume(task: Task, optimizer: torch.optim.Optimizer, ema: EMAModel, out: Path) -> int:
    path, earlier = out / CHECKPOINT, out / "checkpoint.pt"
    if not os.path.lexists(path):
        if os.path.lexists(earlier):
            raise ValueError(
                f"{earlier} is a pickle, as an earlier version wrote it, and a pickle could run "
                "code when it is read, so it was not: remove it, and the run begins anew."
            )
        ema.to(task.device)
        return 0
    try:
        tensors, told = read(path)
    except Untrusted as error:
        raise ValueError(f"{error} Remove it, and the run begins anew.") from error
    try:
        trained, average = _named(tensors, "trained/"), _named(tensors, "average/")
        moments = _named(tensors, "optimizer/")
        step = _number(told["step"], task.recipe.steps)
        averaged_steps = _number(told["averaged_steps"], step)
        shadows = [average[str(n)] for n in range(len(ema.shadow_params))]
        for shadow, own in zip(shadows, ema.shadow_params, strict=True):
            if (shadow.shape, shadow.dtype) != (own.shape, own.dtype):
                raise DoesNotFit(f"an average has the shape {tuple(shadow.shape)}")
        task.trained.load_state_dict(trained)
        put_optimizer_state(
            optimizer, {name.replace("/", ".", 1): moment for name, moment in moments.items()}, {}
        )
        ema.load_state_dict(
            {**ema.state_dict(), "optimization_step": averaged_steps, "shadow_params": shadows}
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not fit the recipe {task.recipe.name}: begin anew in another folder."
        ) from error
    ema.to(task.device)
    return step


def _number(text: str, most: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise DoesNotFit(f"{text[:20]} is no step of the run")
    return int(text)


def _named(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(group): tensor
        for name, tensor in tensors.items()
        if name.startswith(group)
    }


def _checkpoint(
    task: Task, optimizer: torch.optim.Optimizer, ema: EMAModel, out: Path, step: int
) -> None:
    tensors = {f"trained/{name}": weight for name, weight in task.trained.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{kind}": moment for kind, moment in moments.items()}
    tensors |= {f"average/{number}": shadow for number, shadow in enumerate(ema.shadow_params)}
    told = {"step": str(step), "averaged_steps": str(ema.optimization_step)}
    store(out / CHECKPOINT, tensors, told)


def _publish(task: Task, ema: EMAModel, out: Path, step: int) -> None:
    """Write the sample grid and the model, with the averaged weights in place."""
    with averaged(task.trained, ema if task.recipe.ema_decay else None), torch.no_grad():
        grid = task.grid()
        note = labelled(grid, task.origin) if task.origin else None
        replace(out / f"grid-{step:06d}.png", lambda new: grid.save(new, pnginfo=note))
        replace(out / "model", task.save)
