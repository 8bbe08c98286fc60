"""A run: the loop that fine-tunes, able to go on after any end."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from companion.door.labels import save_labelled
from companion.door.numbers import shown
from companion.figures import sheet
from companion.training.changes import SOURCE
from companion.training.checkpoint import Checkpoints, Progress
from companion.training.config import EVER
from companion.training.files import explained
from companion.training.log import Log, begin_log
from companion.training.order import generators_kept, processes
from companion.training.run_folder import check_folder, prepared, publish
from companion.training.setup import fresh_accelerator
from companion.training.state import as_json
from companion.zoo.registry import entries

from .config import FinetuneConfig
from .drawing import draw
from .examples import METADATA, Examples, in_folder, known_prompts, load_examples
from .learner import Learner
from .saving import SETTINGS, save_card, save_settings

VERSIONS, PRIOR, LOG = "steps", "prior", "log.csv"
SAMPLES = 8  # pictures on a sample grid at most
# What may be another when a run goes on: how often something is written, and where to.
_FREE = (
    "steps",
    "output_dir",
    "resume",
    "overwrite_output_dir",
    "progress_bar",
    "save_every",
    "sample_every",
    "checkpoint_every",
    "log_every",
)


@dataclass(frozen=True)
class FinetuneRun:
    """What a run leaves behind.

    Attributes:
        folder: its folder, for `load_finetuned` and for Diffusers' own loaders.
        steps: numbers of the optimiser steps, from 1.
        losses: loss of each step.
        learning_rates: learning rate of each step.
        weights: how many numbers were trained.
        seconds: of the processor, that this call's steps took: without what it drew and saved.
        versions: the folder of each version that was kept, by its step; the last is `folder`.
    """

    folder: Path
    steps: list[int]
    losses: list[float]
    learning_rates: list[float]
    weights: int
    seconds: float
    versions: dict[int, Path]


def finetune(config: FinetuneConfig) -> FinetuneRun:
    """Teach a Stable Diffusion something new; write what was learned, samples and checkpoints.

    All that is random in a step follows from the seed and the step. So a run that was killed and
    goes on from its last checkpoint ends with the bytes that it would have ended with, in all that
    it learned, drew and logged. Chapter 8, "The same, from the package".

    Args:
        config: the settings.

    Raises:
        ValueError: settings that do not fit together, the model, the pictures or the checkpoint.
        FileNotFoundError: there is no such model or folder of pictures.
        FileExistsError: `output_dir` holds a run, and neither `resume` nor `overwrite_output_dir`
            was set; or other files that a run would replace.
        BlockingIOError: another run is at work in `output_dir`.
        FloatingPointError: the loss is not a number any more.
        RuntimeError: the device has too little memory.
        OSError: something could not be written.
    """
    check_folder(config)
    _check_machine(config)
    examples = load_examples(config)
    _check_prior(config)
    device = processes().device
    with generators_kept(device), _memory_in_a_sentence(config):
        learner = Learner(config, device)  # before anything is written
        with prepared(config) as folder:
            prior = _prior(config, learner, folder) if config.prior_weight else None
            learner.look_at(examples, prior)
            return _train(config, learner, examples, prior, folder)


def _train(
    config: FinetuneConfig,
    learner: Learner,
    examples: Examples,
    prior: Examples | None,
    folder: Path,
) -> FinetuneRun:
    accelerator = fresh_accelerator(mixed_precision=config.mixed_precision)
    optimizer = AdamW(learner.weights, lr=config.rate, weight_decay=config.weight_decay)
    schedule = LambdaLR(optimizer, _constant)
    checkpoints = Checkpoints(
        accelerator,
        folder / "checkpoints",
        _describe(config, examples, prior),
        batches=1,
        unet=learner.trained,
        ema=None,
        optimizer=optimizer,
        lr_scheduler=schedule,
    )
    newest = checkpoints.newest() if config.resume else None
    if config.resume and not newest and (folder / SETTINGS).is_file():
        raise ValueError(
            f"The folder {folder} holds what was learned, but no checkpoint to go on from: use it "
            "as it is, or begin anew in another output_dir."
        )
    progress = checkpoints.load(newest) if newest else Progress()
    if progress.step > config.steps:
        raise ValueError(
            f"The checkpoint {newest} is of step {progress.step:,}, but steps is {config.steps:,}: "
            "raise it, or begin anew in another output_dir."
        )
    bar = tqdm(
        total=config.steps,
        initial=progress.step,
        desc=folder.name,
        unit="step",
        disable=not config.progress_bar,
    )
    stepper: Any = accelerator.prepare(optimizer)
    log = Log(accelerator, folder / LOG, progress, checkpoints, bar, config.train_batch_size)
    seconds = 0.0
    try:
        while progress.step < config.steps:
            began = time.process_time()
            with accelerator.autocast():
                loss = learner.loss(progress.step)
            accelerator.backward(loss)
            checkpoints.require_moments()
            norm = accelerator.clip_grad_norm_(learner.weights, config.max_grad_norm)
            stepper.step()
            stepper.zero_grad()
            seconds += time.process_time() - began
            schedule.step()
            # A step is an epoch here: what is random in it follows from its number.
            progress.step = progress.epoch = progress.step + 1
            log.note(config.rate, loss.detach(), norm)
            step, last = progress.step, progress.step == config.steps
            if last or step % config.log_every == 0:
                log.write()
            if _due(step, config.save_every) and not last:
                log.write()
                _keep(config, learner, folder, step)
            if _due(step, config.sample_every) and not last:
                log.write()
                _sample(config, learner, examples, folder, step)
            if _due(step, config.checkpoint_every) and not last:
                log.write()
                checkpoints.save(progress)
            if last:
                _sample(config, learner, examples, folder, step)
                _publish(config, learner, folder, step)
                checkpoints.save(progress)
    finally:
        bar.close()
    return FinetuneRun(
        folder,
        [step for step, _, _ in log.rows],
        [loss for _, loss, _ in log.rows],
        [rate for _, _, rate in log.rows],
        sum(weight.numel() for weight in learner.weights),
        seconds,
        versions(folder) | {config.steps: folder},
    )


def versions(folder: str | Path) -> dict[int, Path]:
    """The versions that a run kept on its way, by step: what `save_every` asked for."""
    place = Path(folder) / VERSIONS
    found = [path for path in place.iterdir() if path.name.isdecimal()] if place.is_dir() else []
    return {int(path.name): path for path in sorted(found)}


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _constant(step: int) -> float:
    return 1.0


def _check_machine(config: FinetuneConfig) -> None:
    if processes().num_processes > 1:
        raise ValueError(
            "Fine-tuning runs in one process: call it without accelerate launch or torchrun."
        )
    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ValueError(
            "mixed_precision 'fp16' needs a CUDA GPU; take 'bf16', or 'no', on this machine."
        )


def _check_prior(config: FinetuneConfig) -> None:
    if config.prior_weight and config.prior_prompt is None and config.model not in entries():
        raise ValueError(
            "Prior preservation draws what the model knows already: say with prior_prompt what, "
            'such as prior_prompt = "a photo of a dog", or set prior_weight to 0.'
        )


def _describe(config: FinetuneConfig, examples: Examples, prior: Examples | None) -> dict[str, Any]:
    """All that decides a run, as `companion.training.changes` compares it."""
    content = hashlib.sha256()
    for part in (examples, prior):
        if part is not None:
            content.update(json.dumps(part.captions).encode())
            content.update(part.pixels.numpy().tobytes())
    told = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}
    told = (
        dict.fromkeys(SOURCE)
        | told
        | {
            "learning_rate": config.rate,
            "content": content.hexdigest(),
            "lr_scheduler": LambdaLR.__name__,
            # What the settings of `companion.training` have besides.
            "num_epochs": EVER,
            "gradient_accumulation_steps": 1,
            "kid_samples": 0,
        }
    )
    return {name: as_json(value, name) for name, value in told.items()}


def _prior(config: FinetuneConfig, learner: Learner, folder: Path) -> Examples:
    """What the model draws of what it knows, before the first step; drawn once and kept as a folder
    of pictures with captions."""
    count, place = config.prior_pictures, folder / PRIOR
    prompts = known_prompts(count) if config.prior_prompt is None else [config.prior_prompt] * count
    names = [f"{number:04d}.png" for number in range(count)]
    rows = [{"file_name": name, "text": text} for name, text in zip(names, prompts, strict=True)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    metadata = place / METADATA
    if not (metadata.is_file() and metadata.read_text(encoding="utf-8") == text):
        images = draw(
            learner.pipeline(),
            prompts,
            [config.seed + number for number in range(count)],
            size=config.image_size,
            guidance_scale=config.guidance_scale,
        )

        def write(beside: Path) -> None:
            (beside / PRIOR).mkdir()
            for name, image in zip(names, images, strict=True):
                save_labelled(image, beside / PRIOR / name)
            (beside / PRIOR / METADATA).write_text(text, encoding="utf-8", newline="\n")
            if not (folder / LOG).exists():  # else a run killed now would not know its pictures
                begin_log(beside / LOG)

        publish(folder, "prior pictures", write)
    return in_folder(place, config.image_size)


def _save(config: FinetuneConfig, learner: Learner, step: int, place: Path, whole: bool) -> None:
    place.mkdir(parents=True, exist_ok=True)
    bad = [name for name, w in learner.trained.named_parameters() if not w.isfinite().all()]
    if bad:
        raise FloatingPointError(
            f"The weights {bad[0]} are no numbers after step {step}, and were not saved: lower the "
            "learning rate, then resume."
        )
    learner.save(place, whole=whole)
    save_settings(config, step, place)
    count = sum(weight.numel() for weight in learner.weights)
    save_card(config, step, count, place, learner.unknown_words)


def _publish(config: FinetuneConfig, learner: Learner, folder: Path, step: int) -> None:
    publish(folder, "model", lambda beside: _save(config, learner, step, beside, True))


def _keep(config: FinetuneConfig, learner: Learner, folder: Path, step: int) -> None:
    place = Path(VERSIONS, f"{step:06d}")
    publish(folder, "version", lambda beside: _save(config, learner, step, beside / place, False))


def _sample(
    config: FinetuneConfig, learner: Learner, examples: Examples, folder: Path, step: int
) -> None:
    prompts = list(examples.prompts)[:SAMPLES]
    images: list[Image.Image] = draw(
        learner.pipeline(),
        prompts,
        range(len(prompts)),
        size=config.image_size,
        guidance_scale=config.guidance_scale,
    )
    with explained("sample grid", folder, "the checkpoints are still there"):
        (folder / "samples").mkdir(exist_ok=True)
        columns = min(len(images), 4)
        save_labelled(sheet(images, columns), folder / "samples" / f"{step:06d}.png")


@contextmanager
def _memory_in_a_sentence(config: FinetuneConfig) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The memory of the device does not suffice for {shown(config.train_batch_size)} "
            "pictures at a time: lower train_batch_size or image_size, or train fewer weights."
        ) from error
